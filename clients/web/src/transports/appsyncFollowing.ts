/**
 * Follows one session's frames by a subscription, and by looking at what is stored of them.
 *
 * AppSync loses events: right after it has confirmed a subscription, and when there are too many. And what was published
 * just before a subscription is stored up to half a second later: who reads what is stored in between lacks it. A frame
 * that is missing between others shows. That the first ones or the last one are missing shows in nothing but silence, and
 * so does a model that thinks.
 */

import { Assembler } from "../assembler";
import { ClientError, ConnectionFailed, ProtocolError } from "../errors";
import { compare, parse, type JsonObject, type Position } from "../frames";
import type { Subscription } from "./appsyncConnection";
import { NOTHING, type Page } from "./appsyncMessages";
import type { Arrival } from "./transport";

/** Times that frames are found which no event has brought, before the subscription counts as dead. */
const FINDS_LIMIT = 2;

/** Times that looking fails before the server counts as silent. Until then events may come all the same. */
const FAILURES_LIMIT = 4;

/** Milliseconds before a look: of silence, at first and at most, doubling while nothing is found; and of a gap. */
export interface Pauses {
  readonly firstMs: number;
  readonly longestMs: number;
  readonly gapMs: number;
}

type Live = Pick<Subscription, "inbox" | "distrust">;

/** Looks, by `look`, at what is stored behind a position, while nothing comes from `live`. */
export class Following {
  readonly #live: Live;
  readonly #look: (after: Position) => Promise<Page>;
  readonly #seen: Assembler;
  readonly #pauses: Pauses;
  #pauseMs: number;
  #gapSince: number | undefined;
  #finds = 0;
  #failures = 0;

  constructor(live: Live, look: (after: Position) => Promise<Page>, after: Position, pauses: Pauses) {
    this.#live = live;
    this.#look = look;
    this.#seen = new Assembler(after);
    this.#pauses = pauses;
    this.#pauseMs = pauses.firstMs;
  }

  /**
   * Give frames as they come, not in order and some of them twice; `page` are those that are known to be stored.
   *
   * Rejects as `live` does; as `look` does only where that is final, or fails time after time.
   */
  async *arrivals(page: Page): AsyncGenerator<Arrival> {
    yield* this.#pages(page);
    for (;;) {
      const arrival = await this.#live.inbox.take(this.#patienceMs());
      if (arrival === undefined) {
        yield* this.#pages(await this.#missed());
      } else {
        this.#pauseMs = this.#pauses.firstMs;
        this.#finds = this.#failures = 0;
        this.#note(arrival.message);
        yield arrival;
      }
    }
  }

  async *#pages(page: Page): AsyncGenerator<Arrival> {
    for (let after = this.#seen.position; ; page = await this.#stored(after)) {
      const begin = after;
      const atMs = performance.now();
      for (const frame of page.frames) {
        after = this.#note(frame.message) ?? after;
        yield { ...frame, atMs };
      }
      if (!page.more || compare(after, begin) <= 0) return;
    }
  }

  /** The milliseconds for which an event is waited for. */
  #patienceMs(): number {
    if (!this.#seen.gap) {
      this.#gapSince = undefined;
      return this.#pauseMs;
    }
    const now = performance.now();
    this.#gapSince ??= now;
    return Math.max(0, Math.min(this.#pauseMs, this.#gapSince + this.#pauses.gapMs - now));
  }

  async #missed(): Promise<Page> {
    if (this.#finds === FINDS_LIMIT) {
      this.#live.distrust();
      throw new ConnectionFailed("The events of the answer have stopped coming.");
    }
    this.#gapSince = undefined;
    const page = await this.#stored(this.#seen.position);
    const found = page.frames.length > 0;
    if (found) this.#finds += 1;
    this.#pauseMs = found ? this.#pauses.firstMs : Math.min(2 * this.#pauseMs, this.#pauses.longestMs);
    return page;
  }

  async #stored(after: Position): Promise<Page> {
    try {
      const page = await this.#look(after);
      this.#failures = 0;
      return page;
    } catch (error) {
      if (!(error instanceof ClientError) || error instanceof ProtocolError) throw error;
      this.#failures += 1;
      if (error.code === "not_found" || this.#failures === FAILURES_LIMIT) throw error;
      return NOTHING;
    }
  }

  #note(message: JsonObject): Position | null {
    const received = parse(message);
    if (received.type === "heartbeat") return null;
    this.#seen.add(received);
    return received;
  }
}
