// The types that the scripts share. Only the type checker loads this file.

/** An entry published, edited or restored. */
export interface Put {
  op: 'put';
  id: string;
  offset: number;
  order: number;
  /** This member and those below are in frames, not in changes read from a page. */
  revision?: number;
  key?: boolean;
  pinned?: boolean;
  html?: string;
}
export interface Del {
  op: 'del';
  id: string;
  offset: number;
}
export interface Header {
  op: 'blog';
  offset: number;
  status: string;
  html?: string;
}
export type Change = Put | Del | Header;

export interface Frame {
  t: 'changes';
  from: number;
  position: string;
  changes: Change[];
}

/** The content of a rendered page. `lowest` and `below` as in Timeline. */
export interface Page {
  position: string;
  changes?: Change[];
  lowest?: number | null;
  below?: number | null;
}

/** The result of a frame. Only "applied" moves a timeline; the last three make the stream reconnect. */
export type Outcome = 'applied' | 'ignored' | 'gap' | 'foreign' | 'rejected';

/** The loaded part of a blog's state at a position. No function alters a timeline. */
export interface Timeline {
  readonly position: string;
  /** The last change of every entry, and of the header (#blog). Deletions stay. */
  readonly latest: ReadonlyMap<string, Change>;
  /** Order of the oldest loaded entry; null: everything older is loaded. */
  readonly lowest: number | null;
  /** All loaded entries have a lower order than this; null: loaded up to the newest. */
  readonly below: number | null;
}

export interface Applied {
  outcome: Outcome;
  timeline: Timeline;
  /** The changes of the frame that were new, in the frame's order. */
  changes: Change[];
  /** Ids of entries first published after the timeline's own offset (not the frame's `from`). */
  fresh: string[];
}

/** The state of the stream, for the status line. */
export interface State {
  name: 'live' | 'lost' | 'offline' | 'paused' | 'ended';
  /** When the next try is due, milliseconds since 1970; null: no try will follow. */
  retry_at: number | null;
}

/** The user of a stream; holds the timeline and its position. */
export interface Reader {
  position(): string;
  /** Whether the blog's status is "ended". */
  hasEnded(): boolean;
  receive(frame: Frame): Outcome;
  /** Show a page fetched after a reset to a position. False: the page is too old. */
  replace(page: string, reset: string): boolean;
  correctClock(server_now: string | null | undefined): void;
  show(state: State): void;
}

/** The addresses of a blog, each for a position. */
export interface Urls {
  live(since: string): string;
  events(since: string): string;
  changes(since: string): string;
  /** This page; the blog's page when this one `isGone` (410). */
  page(at: string, isGone: boolean): string;
}

/** The part of a browser that a stream uses: `window`, or a test's stand-in. */
export interface World {
  WebSocket: new (url: string, protocols: string[]) => WebSocket;
  EventSource: new (url: string) => EventSource;
  fetch(url: string, options?: { signal: AbortSignal }): Promise<{
    status: number;
    headers?: { get(name: string): string | null };
    text(): Promise<string>;
  }>;
  setTimeout(run: () => void, wait_ms: number): any;
  clearTimeout(timer: any): void;
  Date: { now(): number };
  Math: { random(): number };
  navigator: { onLine: boolean };
  console: { warn(text: string): void };
}

/** Bounds of a random wait, milliseconds. */
export type Window = [number, number];

export interface Wait {
  /** The server asked for this wait, so no event ends the wait early. */
  isBinding?: boolean;
  /** Whether the status line shows a lost connection; not while polling works. */
  isLost?: boolean;
  /** Runs after the wait, instead of connecting. */
  then?: () => void;
}

/** The part of a browser that an open page uses. */
export interface LiveWorld extends World {
  setInterval(run: () => void, every_ms: number): any;
  performance: { now(): number };
}

/** What a frame asks of the stream: nothing (ok), a reconnect (cut), or what the frame says. */
export type Verdict =
  | { t: 'ok' | 'cut' }
  | { t: 'hello'; heartbeat_s: number }
  | { t: 'reset'; position: string; after_ms: Window }
  | { t: 'bye'; after_ms: Window | null };

/** New entries that the reader has not seen. No function alters an Arrivals. */
export interface Arrivals {
  /** New entries that this page cannot show because it shows older ones: id to order. */
  readonly missing: ReadonlyMap<string, number>;
  /** Unknown entries may be missing from this order on; 0: all missing ones are known. */
  readonly from: number;
  /** Ids of entries that were not announced to screen readers. */
  readonly unannounced: ReadonlySet<string>;
}
