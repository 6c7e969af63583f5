/** One open WebSocket connection: hands what arrives to whom it concerns. */

import { ConnectionFailed, type ClientError } from "../errors";
import { decode, parseError, type JsonObject } from "../frames";
import { within } from "../waiting";
import { byteLength } from "./bytes";
import { serverOf } from "./fetching";
import { Inbox } from "./inbox";
import { rejectionOf } from "./statuses";
import type { Arrival } from "./transport";
import { encode, gatewayFailure } from "./websocketMessages";

const PING = encode({ action: "ping" });

interface Times {
  readonly idleTimeoutMs: number;
  readonly pingIntervalMs: number;
}

type Reply = (failure: ClientError | null) => void;

/**
 * Reads until the connection ends; `token` is the one that it was opened with.
 *
 * On a connection that is idle for `pingIntervalMs` a ping asks for a sign of life: API Gateway closes it after ten idle
 * minutes.
 */
export class WebSocketConnection {
  readonly token: string;
  readonly #socket: WebSocket;
  readonly #server: string;
  readonly #times: Times;
  readonly #listeners = new Map<string, Set<Inbox<Arrival>>>();
  readonly #replies = new Map<string, Reply>();
  #failure: (() => ClientError) | undefined;
  #retired = false;
  #requests = 0;
  #heardAt = performance.now();
  #pinging: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: WebSocket, token: string, times: Times) {
    this.token = token;
    this.#socket = socket;
    this.#server = serverOf(socket.url);
    this.#times = times;
    socket.addEventListener("message", (event: MessageEvent<unknown>) => {
      this.#receive(event.data);
    });
    socket.addEventListener("close", () => {
      this.#end(this.#broken);
    });
    this.#pingLater();
  }

  /** Whether it can't be used any more. */
  get ended(): boolean {
    return this.#failure !== undefined || this.#socket.readyState !== WebSocket.OPEN;
  }

  /** Gather the frames and heartbeats of a session until the signal is aborted; those of others are dropped. */
  listen(sessionId: string, signal: AbortSignal): Inbox<Arrival> {
    const inbox = new Inbox<Arrival>();
    const listeners = this.#listeners.get(sessionId) ?? new Set();
    this.#listeners.set(sessionId, listeners.add(inbox));
    signal.addEventListener(
      "abort",
      () => {
        inbox.fail(signal.reason);
        listeners.delete(inbox);
        if (listeners.size === 0 && this.#listeners.get(sessionId) === listeners) this.#listeners.delete(sessionId);
        this.#closeIfDone();
      },
      { once: true },
    );
    if (this.#failure !== undefined) inbox.fail(this.#failure());
    return inbox;
  }

  /**
   * Send a message and wait until the server has taken it in.
   *
   * Rejects with `RequestRejected` when the server turns it down and `ConnectionFailed` when no reply comes.
   */
  async request(message: JsonObject): Promise<void> {
    this.#requests += 1;
    const requestId = String(this.#requests);
    const text = encode({ ...message, requestId });
    if (this.#failure !== undefined) throw this.#failure();
    const since = performance.now();
    const reply = new Promise<ClientError | null>((resolve) => this.#replies.set(requestId, resolve));
    this.#socket.send(text);
    let failure: ClientError | null;
    try {
      failure = await within(this.#times.idleTimeoutMs, reply, this.#silent);
    } catch (error) {
      this.#doubt(since);
      throw error;
    } finally {
      this.#replies.delete(requestId);
      this.#closeIfDone();
    }
    if (failure !== null) throw failure;
  }

  /** Give what arrives, until it ends or nothing has come for the idle timeout. */
  async *follow(inbox: Inbox<Arrival>): AsyncGenerator<Arrival> {
    for (;;) {
      const since = performance.now();
      const arrival = await inbox.take(this.#times.idleTimeoutMs);
      if (arrival === undefined) {
        this.#doubt(since);
        throw this.#silent();
      }
      yield arrival;
    }
  }

  /** Close once the streams and requests that use it are done. */
  retire(): void {
    this.#retired = true;
    this.#closeIfDone();
  }

  /** Close, whatever uses it. */
  close(): void {
    this.#end(this.#broken);
  }

  readonly #broken = (): ClientError => new ConnectionFailed(`The connection to ${this.#server} broke.`);
  readonly #silent = (): ClientError => new ConnectionFailed(`${this.#server} has gone silent.`);

  /** Give up a connection on which nothing at all has come. */
  #doubt(since: number): void {
    if (this.#heardAt <= since) this.#end(this.#silent);
  }

  #closeIfDone(): void {
    if (this.#retired && this.#listeners.size === 0 && this.#replies.size === 0) this.close();
  }

  /** Tell everyone who waits; the first reason counts. */
  #end(failure: () => ClientError): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    clearTimeout(this.#pinging);
    for (const inbox of [...this.#listeners.values()].flatMap((inboxes) => [...inboxes])) inbox.fail(failure());
    this.#settle(failure);
    this.#socket.close();
  }

  #pingLater(): void {
    clearTimeout(this.#pinging);
    this.#pinging = setTimeout(() => {
      this.#socket.send(PING);
      // A pong, or anything else.
      this.#pinging = setTimeout(() => {
        this.#end(this.#silent);
      }, this.#times.idleTimeoutMs);
    }, this.#times.pingIntervalMs);
  }

  #receive(data: unknown): void {
    if (this.#failure !== undefined) return;
    const atMs = (this.#heardAt = performance.now());
    this.#pingLater();
    try {
      const text = String(data);
      this.#dispatch({ message: decode(text), bytes: byteLength(text), atMs });
    } catch (error) {
      this.#end(() => error as ClientError);
    }
  }

  #dispatch(arrival: Arrival): void {
    const { message } = arrival;
    const { type, sessionId } = message;
    if (type === "accepted" || type === "pong") {
      this.#reply(message, null);
    } else if (type === "rejected") {
      const unnamed = { code: "internal", message: "The server rejected the request.", retryable: false } as const;
      const rejection = rejectionOf(parseError(message.error) ?? unnamed);
      // Without a request that waits for it, what was accepted could not be begun after all.
      if (!this.#reply(message, rejection))
        this.#listening(sessionId, (inbox) => {
          inbox.fail(rejection);
        });
    } else if (typeof type === "string") {
      this.#listening(sessionId, (inbox) => {
        inbox.put(arrival);
      });
    } else if (type === undefined && "message" in message) {
      const waiting = this.#replies.size;
      this.#settle(() => gatewayFailure(message, waiting));
    }
  }

  #listening(sessionId: unknown, tell: (inbox: Inbox<Arrival>) => void): void {
    if (typeof sessionId === "string") this.#listeners.get(sessionId)?.forEach(tell);
  }

  /** Give a request its reply; false if none waits for it. */
  #reply(message: JsonObject, failure: ClientError | null): boolean {
    const reply = typeof message.requestId === "string" ? this.#replies.get(message.requestId) : undefined;
    reply?.(failure);
    return reply !== undefined;
  }

  #settle(failure: () => ClientError): void {
    for (const reply of this.#replies.values()) reply(failure());
  }
}
