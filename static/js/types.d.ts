// The types that the scripts share. Only the type checker loads this file.

/** An entry published, edited or restored. */
export interface Put {
  op: 'put';
  id: string;
  offset: number;
  /** The offset of the entry's first publication, which sorts the feed. */
  order: number;
  /** `revision` and the members below come only in frames, not in changes read from a page. */
  revision?: number;
  key?: boolean;
  pinned?: boolean;
  /** Only of pinned entries: an editor's number that sorts them; null: after those with one. */
  pin_order?: number | null;
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

/** The data that a rendered page contains. Timeline explains `lowest` and `below`. */
export interface Page {
  position: string;
  changes?: Change[];
  lowest?: number | null;
  below?: number | null;
}

/**
 * The result of applying a frame. Only "applied" advances the timeline. "ignored": the frame has
 * nothing new. The others make the stream reconnect. "gap": changes before the frame are missing;
 * "foreign": the frame has another epoch; "rejected": a change has no valid markup.
 */
export type Outcome = 'applied' | 'ignored' | 'gap' | 'foreign' | 'rejected';

/** The loaded part of a blog's state at a position. No function alters a timeline. */
export interface Timeline {
  readonly position: string;
  /**
   * The last change of every entry, deletions included, by id. The header's change has the key
   * #blog.
   */
  readonly latest: ReadonlyMap<string, Change>;
  /** `order` of the oldest loaded entry; null: all older entries are loaded. */
  readonly lowest: number | null;
  /** All loaded entries have a lower `order` than this; null: the newest entries are loaded. */
  readonly below: number | null;
}

export interface Applied {
  outcome: Outcome;
  timeline: Timeline;
  /** The changes of the frame that were new, in the frame's order. */
  changes: Change[];
  /** Ids of entries first published after the offset of the timeline before the frame. */
  fresh: string[];
}

/** The state of the stream, for the status line. */
export interface State {
  name: 'live' | 'lost' | 'offline' | 'paused' | 'ended';
  /**
   * When the stream next tries to connect, milliseconds since 1970; null: show no time; 0: now,
   * because the reader has looked at the page again.
   */
  retry_at: number | null;
}

/** The object that receives the frames and pages of a stream, and keeps the timeline. */
export interface Reader {
  position(): string;
  /** Whether the blog's status is "ended". */
  hasEnded(): boolean;
  receive(frame: Frame): Outcome;
  /**
   * Show a page fetched after a `reset` frame. Return false when the page must not replace the
   * timeline (see `isAcceptable`). `reset` is the position in that frame.
   */
  replace(page: string, reset: string): boolean;
  correctClock(server_now: string | null | undefined): void;
  /** Compare the release's version that a `hello` names with the page's. */
  compare(version: string | undefined): void;
  show(state: State): void;
}

/**
 * The addresses of a blog's streams and pages. `since` is the reader's position; `at` is the
 * position that a fetched page must have reached.
 */
export interface Urls {
  live(since: string): string;
  events(since: string): string;
  changes(since: string): string;
  /** The address of this page, or of the blog's page when this page `isGone` (404 or 410). */
  page(at: string, isGone: boolean): string;
}

/** The part of a browser that a stream uses: `window`, or a test's stand-in. */
export interface World {
  WebSocket: new (url: string, protocols: string[]) => WebSocket;
  EventSource: new (url: string) => EventSource;
  fetch(url: string, options?: { signal: AbortSignal }): Promise<{
    status: number;
    redirected?: boolean;
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

/** The bounds of a random wait, in milliseconds. */
export type Window = [number, number];

export interface Wait {
  /**
   * The server asked for this wait, so nothing ends the wait early: not even a browser that is
   * online again.
   */
  isBinding?: boolean;
  /** Whether the status line shows a lost connection during the wait; false while polling works. */
  isLost?: boolean;
  /** Runs after the wait, instead of connecting. */
  then?: () => void;
}

/** The part of a browser that an open page uses. */
export interface LiveWorld extends World {
  setInterval(run: () => void, every_ms: number): any;
}

/** The part of a browser that loads a page again after a deploy. */
export interface ReleaseWorld {
  Date: { now(): number };
  Math: { random(): number };
  location: { reload(): void };
}

export interface Hello {
  t: 'hello';
  heartbeat_s: number;
  /** The server's time, RFC 3339. */
  now?: string;
  /** The version of the server's markup, styles and scripts. */
  version?: string;
}

/**
 * How the stream reacts to a frame: not at all (ok), by a reconnect (cut), or as a frame `hello`,
 * `reset` or `bye` asks.
 */
export type Verdict =
  | { t: 'ok' | 'cut' }
  | Hello
  | { t: 'reset'; position: string; after_ms: Window }
  | { t: 'bye'; after_ms: Window | null };

/** New entries that the reader has not seen. No function alters an Arrivals object. */
export interface Arrivals {
  /**
   * The new entries that this page lacks, because it shows only older entries: `order` (the offset
   * of first publication) by id.
   */
  readonly missing: ReadonlyMap<string, number>;
  /**
   * The page may lack further entries, first published at this offset or later; 0: `missing` lists
   * all entries that the page lacks.
   */
  readonly from: number;
  /** Ids of entries that are not yet announced to screen readers. */
  readonly unannounced: ReadonlySet<string>;
}
