// The shapes that the reader's scripts share: for people and the type checker, and never loaded.

/** An entry published, edited or restored. */
export interface Put {
  op: 'put';
  id: string;
  offset: number;
  order: number;
  /** From here on: in frames only, not in what a page is found to hold. */
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

/** What a rendered page is found to hold. `lowest` and `below` as in Timeline. */
export interface Page {
  position: string;
  changes?: Change[];
  lowest?: number | null;
  below?: number | null;
}

/** What became of a frame; only "applied" moves a timeline, after the last three one reconnects. */
export type Outcome = 'applied' | 'ignored' | 'gap' | 'foreign' | 'refused';

/** A blog at a position, as far as it is loaded. Never altered, only succeeded. */
export interface Timeline {
  readonly position: string;
  /** The last change of every id, deletions and the header (id #blog) included. */
  readonly latest: ReadonlyMap<string, Change>;
  /** Order of the oldest loaded entry; null: there are no older pages, so no lower end. */
  readonly lowest: number | null;
  /** All loaded entries have a lower order than this; null: loaded up to the newest. */
  readonly below: number | null;
}

export interface Applied {
  outcome: Outcome;
  timeline: Timeline;
  /** Those of the frame that told something new, in its order. */
  changes: Change[];
  /** Ids of entries first published after the timeline's own offset (not the frame's `from`). */
  fresh: string[];
}

/** What to tell people about the stream. */
export interface State {
  name: 'live' | 'lost' | 'offline' | 'paused' | 'ended';
  /** When the next try is due, milliseconds since 1970; null: there will be none. */
  retry_at: number | null;
}

/** Whom a stream serves: it holds the timeline, and with it the position. */
export interface Reader {
  position(): string;
  /** Whether the blog's status is "ended". */
  hasEnded(): boolean;
  take(frame: Frame): Outcome;
  /** Take over a page fetched after the reset to that position; false when it must not be. */
  replace(page: string, reset: string): boolean;
  correctClock(server_now: string | null | undefined): void;
  show(state: State): void;
}

/** Addresses, each for a position. */
export interface Urls {
  live(since: string): string;
  events(since: string): string;
  changes(since: string): string;
  /** This page; with `isGone` (it was answered 410) the blog's instead. */
  page(at: string, isGone: boolean): string;
}

/** What a stream needs of a browser: `window`, or a test's stand-in. */
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
  /** The server asked for it: whatever wakes the stream, it is not cut short. */
  isBinding?: boolean;
  /** Whether people are told that there is no connection; they are unless polling works. */
  isLost?: boolean;
  /** Instead of connecting. */
  then?: () => void;
}

/** What a view is given. */
export interface ViewParts {
  /** Adds what needs a script to what is to be shown. */
  decorate(root: Element): void;
  /** Called when lists have changed. */
  settled(): void;
  /** Without it every entry is shown as it comes. */
  arrivals?: import('./arrivals.js').Arrivals;
}

/** How a page differs from others that are live. */
export interface LiveParts {
  arrivals?: import('./arrivals.js').Arrivals;
  decorate?: (root: Element) => void;
  /** Told of a page that takes the place of what is held, and of the position held. */
  startOver?: (page: HTMLElement, held: string) => void;
  /** Called when the lists have changed. */
  settled?: () => void;
}
