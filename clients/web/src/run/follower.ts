/** Follows one answer to its end over as many connections as it takes, and tells what happens. */

import { Assembler } from "../assembler";
import { ClientError, ConnectionFailed, RequestRejected, StreamLost, failureOf } from "../errors";
import { compare, parse } from "../frames";
import type { Arrival, RequestBody, Transport } from "../transports/transport";
import { pause, unlessAborted, within } from "../waiting";
import type { RunEvent } from "./events";
import { Backoff, type RetryPolicy } from "./retry";

/** Milliseconds that a missing frame is waited for before it is fetched by resuming. */
const GAP_TIMEOUT_MS = 5_000;

/** Milliseconds within which a cancel has to reach the server. */
const CANCEL_TIMEOUT_MS = 5_000;
const CANCEL_RETRY_DELAY_MS = 200;

/** What is known of the session on the server: `possible` while a request is on its way, or lost with its response. */
type SessionState = "none" | "possible" | "exists";

type Untimed<Event> = Event extends unknown ? Omit<Event, "atMs"> : never;

export interface Following {
  readonly transport: Transport;
  readonly body: RequestBody;
  readonly retry: RetryPolicy;
  /** Called for each event, in order; the last one makes the run's state one that is over. */
  readonly tell: (event: RunEvent) => void;
}

/** One answer. `follow` is called once. */
export class Follower {
  readonly #transport: Transport;
  readonly #body: RequestBody;
  readonly #retry: RetryPolicy;
  readonly #tell: (event: RunEvent) => void;
  readonly #assembler = new Assembler();
  readonly #backoff: Backoff;
  readonly #leaving = new AbortController();
  #session: SessionState = "none";
  #connected = false;
  #resuming = false;
  #cancelWanted = false;
  #cancelling: Promise<void> | null = null;
  #over = false;

  constructor({ transport, body, retry, tell }: Following) {
    this.#transport = transport;
    this.#body = body;
    this.#retry = retry;
    this.#tell = tell;
    this.#backoff = new Backoff(retry);
  }

  /** Ask for the answer and follow it. Resolves when it is over, however; never rejects. */
  async follow(): Promise<void> {
    const { signal } = this.#leaving;
    try {
      for (;;) {
        const before = this.#session;
        let failure: ConnectionFailed | RequestRejected;
        try {
          await this.#connection();
          if (this.#assembler.ended) return;
          failure = new ConnectionFailed("The connection ended before the answer did.");
        } catch (error) {
          if (!(error instanceof ConnectionFailed || error instanceof RequestRejected)) throw error;
          failure = error;
        }
        signal.throwIfAborted();
        await pause(this.#delayAfter(failure, before), signal);
      }
    } catch (error) {
      this.#over = true;
      if (this.#assembler.ended) return;
      const wanted = signal.aborted || this.#cancelWanted;
      if (!wanted && !(error instanceof ClientError)) console.error(error);
      this.#event(wanted ? { type: "abandoned" } : { type: "failed", failure: failureOf(error) });
      // A worker may be at it all the same.
      void this.#stopOnce().catch(() => undefined);
    } finally {
      this.#over = true;
    }
  }

  /** Have the server stop generating; the terminal frame follows on the stream. */
  cancel(): void {
    if (this.#over || this.#cancelWanted) return;
    this.#cancelWanted = true;
    if (this.#session === "none") {
      this.#leaving.abort();
      return;
    }
    this.#event({ type: "stopping" });
    void this.#stop();
  }

  /** Leave at once; the server is told, as far as it can be reached. */
  leave(): void {
    if (this.#over) return;
    this.#cancelWanted = true;
    // At once, in this turn: a page that goes has no other.
    void this.#stopOnce().catch(() => undefined);
    this.#leaving.abort();
  }

  /** Resolves when the server has been told to stop, where it had to be, or couldn't be told. */
  async told(): Promise<void> {
    await this.#cancelling?.catch(() => undefined);
  }

  /** Follow the answer on one connection, to the connection's end or the answer's. */
  async #connection(): Promise<void> {
    const connecting = new AbortController();
    const signal = AbortSignal.any([this.#leaving.signal, connecting.signal]);
    try {
      const arrivals = await unlessAborted(signal, this.#connect(signal));
      this.#session = "exists";
      this.#connected = true;
      this.#event({ type: "accepted" });
      await this.#take(arrivals[Symbol.asyncIterator]());
    } finally {
      this.#connected = false;
      connecting.abort();
    }
  }

  async #connect(signal: AbortSignal): Promise<AsyncIterable<Arrival>> {
    if (this.#session === "exists") {
      return this.#transport.resume(this.#body.sessionId, this.#assembler.position, signal);
    }
    await this.#transport.prepare(signal);
    signal.throwIfAborted();
    this.#session = "possible";
    this.#event({ type: "sending" });
    return this.#transport.start(this.#body, signal);
  }

  async #take(arrivals: AsyncIterator<Arrival>): Promise<void> {
    let gapDeadlineMs: number | null = null;
    const missing = (): ConnectionFailed => new ConnectionFailed("A frame is missing.");
    while (!this.#assembler.ended) {
      const now = performance.now();
      gapDeadlineMs = this.#assembler.gap ? (gapDeadlineMs ?? now + GAP_TIMEOUT_MS) : null;
      const next = arrivals.next();
      // A frame that stays missing counts as a broken connection.
      const result = await (gapDeadlineMs === null ? next : within(gapDeadlineMs - now, next, missing));
      if (result.done === true) return;
      this.#add(result.value);
    }
  }

  #add({ message, bytes, atMs }: Arrival): void {
    const received = parse(message);
    const heartbeat = received.type === "heartbeat";
    const before = this.#assembler.position;
    const frames = heartbeat ? [] : this.#assembler.add(received);
    if (compare(this.#assembler.position, before) > 0) {
      this.#backoff.progress();
      this.#resuming = false;
    }
    const { duplicates } = this.#assembler.arrivals;
    const delivered = { duplicates, gapsRepaired: this.#assembler.gapsRepaired };
    this.#tell({ type: "arrived", atMs, bytes, heartbeat, frames, delivered });
  }

  /** Return the milliseconds until the next try; throw when there is to be none. `before` is the state before it. */
  #delayAfter(failure: ConnectionFailed | RequestRejected, before: SessionState): number {
    if (failure instanceof RequestRejected) {
      if (this.#session !== "exists") {
        // The session id was used before: by the try whose response never came.
        if (failure.code === "conflict" && before === "possible") {
          this.#session = "exists";
          return 0;
        }
        this.#session = before;
        throw failure;
      }
      if (!failure.retryable) {
        const message = `The connection broke, and the rest of the answer can't be fetched: ${failure.message}`;
        throw new StreamLost(message, { code: failure.code, cause: failure });
      }
    } else if (!failure.reached) {
      this.#session = before;
    }
    const exists = this.#session === "exists";
    if (!exists && this.#cancelWanted) throw failure;
    const budgetMs = exists ? this.#retry.resumeBudgetMs : this.#retry.startBudgetMs;
    const delay = this.#backoff.nextDelayMs(performance.now(), budgetMs, failure.retryAfterMs);
    if (delay !== null) {
      if (exists) {
        this.#event({ type: "lost", again: this.#resuming });
        this.#resuming = true;
      }
      return delay;
    }
    if (!exists) throw failure;
    const message = `The connection broke and couldn't be made again within ${budgetMs / 1000} s: ${failure.message}`;
    throw new StreamLost(message, { retryable: true, cause: failure });
  }

  async #stop(): Promise<void> {
    try {
      await this.#stopOnce();
    } catch (error) {
      this.#event({ type: "stopFailed", failure: failureOf(error) });
      // Where neither the answer nor the Stop gets through there is nothing to wait for.
      if (this.#connected) this.#cancelWanted = false;
      else this.#leaving.abort();
    }
  }

  /** The cancel that is under way, or a new one; after one that failed another may be tried. */
  #stopOnce(): Promise<void> {
    this.#cancelling ??= this.#sendCancel().catch((error: unknown) => {
      this.#cancelling = null;
      throw error;
    });
    return this.#cancelling;
  }

  async #sendCancel(): Promise<void> {
    const needed = (): boolean => this.#session !== "none" && !this.#assembler.ended;
    const deadline = performance.now() + CANCEL_TIMEOUT_MS;
    let failure: ClientError = new ConnectionFailed("The server didn't take the Stop in.");
    for (let left = CANCEL_TIMEOUT_MS; left > 0 && needed(); left = deadline - performance.now()) {
      const late = failure;
      // The request may still be on its way to where its session is made.
      const unborn = this.#session === "possible";
      try {
        await within(left, this.#transport.cancel(this.#body.sessionId), () => late);
        return;
      } catch (error) {
        if (!(error instanceof ClientError)) throw error;
        failure = error;
        if (!error.retryable && !(unborn && error.code === "not_found")) throw error;
      }
      await pause(CANCEL_RETRY_DELAY_MS, new AbortController().signal);
    }
    if (needed()) throw failure;
  }

  #event(event: Untimed<RunEvent>): void {
    this.#tell({ ...event, atMs: performance.now() });
  }
}
