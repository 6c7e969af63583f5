/**
 * The path `appsync`: requests over HTTP, answers as events of GraphQL subscriptions.
 *
 * A small implementation of its own of AppSync's real-time protocol: AWS's client turns every address into `wss://`, and
 * a local stack's certificate is trusted by no browser.
 */

import type { TokenProvider } from "../auth/auth";
import { ConnectionFailed } from "../errors";
import { BEGINNING, type Position } from "../frames";
import { unlessAborted } from "../waiting";
import { AppSyncConnection, type Subscription } from "./appsyncConnection";
import { Following, type Pauses } from "./appsyncFollowing";
import { NOTHING, credentialOf, type Authorization, type Page } from "./appsyncMessages";
import { Operations } from "./appsyncOperations";
import { authorized } from "./authorized";
import { SharedAttempt } from "./sharedAttempt";
import { openSocket } from "./socket";
import { IDLE_TIMEOUT_MS, type Arrival, type RequestBody, type Transport } from "./transport";

const SUBPROTOCOL = "graphql-ws";

/** For AppSync to confirm a connection or a subscription. */
const ACK_TIMEOUT_MS = 15_000;

const PAUSES: Pauses = { firstMs: 5_000, longestMs: 30_000, gapMs: 1_000 };

/**
 * Talks to one API.
 *
 * A connection is opened by the first use, and another where those there are have no room for a further stream. One that
 * ended is replaced by the next use; the streams on it are resumed by their runs. A model's silence is nothing unusual
 * here: after `pauses` what is stored is looked at.
 */
export class AppSyncTransport implements Transport {
  readonly #realtimeUrl: string;
  readonly #host: string;
  readonly #operations: Operations;
  readonly #tokens: TokenProvider;
  readonly #ackTimeoutMs: number;
  readonly #pauses: Pauses;
  readonly #opening = new SharedAttempt(() => this.#open());
  readonly #connections = new Set<AppSyncConnection>();
  readonly #closing = new AbortController();

  constructor(
    url: string,
    realtimeUrl: string,
    tokens: TokenProvider,
    { idleTimeoutMs = IDLE_TIMEOUT_MS, ackTimeoutMs = ACK_TIMEOUT_MS, pauses = PAUSES } = {},
  ) {
    this.#realtimeUrl = realtimeUrl;
    this.#host = new URL(url).host;
    this.#operations = new Operations(url, idleTimeoutMs);
    this.#tokens = tokens;
    this.#ackTimeoutMs = ackTimeoutMs;
    this.#pauses = pauses;
  }

  async prepare(signal: AbortSignal): Promise<void> {
    await unlessAborted(signal, this.#connection());
  }

  /** Subscribe, and only then send `startStream`: an event that nobody has subscribed to is lost. */
  async start(body: RequestBody, signal: AbortSignal): Promise<AsyncIterable<Arrival>> {
    let live: Subscription;
    try {
      live = await this.#subscribed(body.sessionId, signal);
    } catch (error) {
      if (!(error instanceof ConnectionFailed)) throw error;
      // Whatever it reached, it wasn't the request.
      throw new ConnectionFailed(error.message, { reached: false, retryAfterMs: error.retryAfterMs, cause: error });
    }
    await authorized(this.#tokens, (token) => this.#operations.start(token, body, signal));
    return this.#follow(live, body.sessionId, BEGINNING, NOTHING, signal);
  }

  /** Subscribe, and only then read what is stored: nothing falls in between. */
  async resume(sessionId: string, after: Position, signal: AbortSignal): Promise<AsyncIterable<Arrival>> {
    const live = await this.#subscribed(sessionId, signal);
    const page = await this.#stored(sessionId, after, signal);
    return this.#follow(live, sessionId, after, page, signal);
  }

  /** Send `cancelStream`. */
  async cancel(sessionId: string): Promise<void> {
    const { signal } = this.#closing;
    await authorized(this.#tokens, (token) => this.#operations.cancel(token, sessionId, signal));
  }

  close(): void {
    this.#closing.abort();
    for (const connection of this.#connections) connection.close();
  }

  #follow(live: Subscription, sessionId: string, after: Position, page: Page, signal: AbortSignal) {
    const look = (behind: Position): Promise<Page> => this.#stored(sessionId, behind, signal);
    return new Following(live, look, after, this.#pauses).arrivals(page);
  }

  async #stored(sessionId: string, after: Position, signal: AbortSignal): Promise<Page> {
    return authorized(this.#tokens, (token) => this.#operations.stored(token, sessionId, after, signal));
  }

  /** Subscribe until the signal is aborted. */
  async #subscribed(sessionId: string, signal: AbortSignal): Promise<Subscription> {
    await unlessAborted(signal, this.#connection()); // whose own refusals are not to be taken for the subscription's
    const live = await authorized(this.#tokens, async (token) => {
      const connection = await unlessAborted(signal, this.#connection());
      return connection.subscribe(sessionId, this.#authorization(token));
    });
    const leave = (): void => {
      live.inbox.fail(signal.reason);
      live.close();
    };
    signal.addEventListener("abort", leave, { once: true });
    if (signal.aborted) leave();
    signal.throwIfAborted();
    return live;
  }

  /** An open connection with room for a subscription, to be used at once. */
  async #connection(): Promise<AppSyncConnection> {
    for (;;) {
      if (this.#closing.signal.aborted) throw new ConnectionFailed("The connection was closed.", { reached: false });
      for (const connection of this.#connections) if (connection.hasRoom) return connection;
      await this.#opening.result();
    }
  }

  async #open(): Promise<void> {
    await authorized(this.#tokens, async (token) => {
      const credential = credentialOf(this.#authorization(token));
      const socket = await openSocket(this.#realtimeUrl, SUBPROTOCOL, credential);
      const connection = new AppSyncConnection(socket, this.#ackTimeoutMs);
      await connection.initialized();
      socket.addEventListener("close", () => this.#connections.delete(connection));
      this.#connections.add(connection);
    });
  }

  #authorization(token: string): Authorization {
    return { host: this.#host, Authorization: token };
  }
}
