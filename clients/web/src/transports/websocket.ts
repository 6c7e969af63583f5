/** The path `websocket`: all streams of a page on one connection. */

import type { TokenProvider } from "../auth/auth";
import { ConnectionFailed, RequestRejected } from "../errors";
import type { JsonObject, Position } from "../frames";
import { unlessAborted } from "../waiting";
import { SharedAttempt } from "./sharedAttempt";
import { openSocket } from "./socket";
import { IDLE_TIMEOUT_MS, type Arrival, type RequestBody, type Transport } from "./transport";
import { WebSocketConnection } from "./websocketConnection";

const SUBPROTOCOL = "tokenstream";

/** Milliseconds without a message after which one is sent; API Gateway closes a connection that is idle for ten minutes. */
const PING_INTERVAL_MS = 300_000;

/**
 * Talks to one address.
 *
 * The connection is opened by the first use. One that ended, by API Gateway after two hours at the latest, is replaced by
 * the next use; the streams on it are resumed by their runs.
 */
export class WebSocketTransport implements Transport {
  readonly #url: string;
  readonly #tokens: TokenProvider;
  readonly #times: { readonly idleTimeoutMs: number; readonly pingIntervalMs: number };
  readonly #opening = new SharedAttempt(() => this.#open());
  readonly #connections = new Set<WebSocketConnection>();
  #current: WebSocketConnection | undefined;
  #suspected: string | undefined;
  #closed = false;

  constructor(
    url: string,
    tokens: TokenProvider,
    { idleTimeoutMs = IDLE_TIMEOUT_MS, pingIntervalMs = PING_INTERVAL_MS } = {},
  ) {
    this.#url = url;
    this.#tokens = tokens;
    this.#times = { idleTimeoutMs, pingIntervalMs };
  }

  async prepare(signal: AbortSignal): Promise<void> {
    await unlessAborted(signal, this.#connection());
  }

  /** Send `stream`. */
  async start(body: RequestBody, signal: AbortSignal): Promise<AsyncIterable<Arrival>> {
    return this.#ask(body.sessionId, { action: "stream", ...body }, signal);
  }

  /** Send `resume`: from then on the session's frames come on this connection. */
  async resume(sessionId: string, after: Position, signal: AbortSignal): Promise<AsyncIterable<Arrival>> {
    return this.#ask(sessionId, { action: "resume", sessionId, after }, signal);
  }

  /** Send `cancel`. */
  async cancel(sessionId: string): Promise<void> {
    const asking = new AbortController();
    try {
      await this.#ask(sessionId, { action: "cancel", sessionId }, asking.signal);
    } finally {
      asking.abort();
    }
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#connections) connection.close();
  }

  async #ask(sessionId: string, message: JsonObject, signal: AbortSignal): Promise<AsyncIterable<Arrival>> {
    const connection = await unlessAborted(signal, this.#connection());
    try {
      return await this.#askOn(connection, sessionId, message, signal);
    } catch (error) {
      const successor = await this.#successor(connection, error);
      return await this.#askOn(successor, sessionId, message, signal);
    }
  }

  async #askOn(
    connection: WebSocketConnection,
    sessionId: string,
    message: JsonObject,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Arrival>> {
    signal.throwIfAborted();
    // Before the request: its first frames may come at once.
    const inbox = connection.listen(sessionId, signal);
    await unlessAborted(signal, connection.request(message));
    return connection.follow(inbox);
  }

  /**
   * Return a connection with a new token when the old one's has expired, which starts no streams any more; otherwise
   * throw the error. The streams on the old connection go on to their end.
   */
  async #successor(connection: WebSocketConnection, error: unknown): Promise<WebSocketConnection> {
    if (!(error instanceof RequestRejected) || error.code !== "unauthorized") throw error;
    if ((await this.#tokens.token(connection.token)) === connection.token) throw error;
    if (this.#current === connection) this.#current = undefined;
    connection.retire();
    return this.#connection();
  }

  /** The open connection; one is opened, for all who wait for it, where there is none. */
  async #connection(): Promise<WebSocketConnection> {
    if (this.#closed) throw new ConnectionFailed("The connection was closed.", { reached: false });
    if (this.#current === undefined || this.#current.ended) return this.#opening.result();
    return this.#current;
  }

  async #open(): Promise<WebSocketConnection> {
    let token = await this.#tokens.token();
    let socket: WebSocket;
    try {
      socket = await openSocket(this.#url, SUBPROTOCOL, token);
    } catch (error) {
      // It may be the token that was refused: a browser doesn't say. Each is suspected once.
      if (!(error instanceof ConnectionFailed) || token === this.#suspected) throw error;
      const renewed = await this.#tokens.token(token);
      this.#suspected = renewed;
      if (renewed === token) throw error;
      token = renewed;
      socket = await openSocket(this.#url, SUBPROTOCOL, token);
    }
    const connection = new WebSocketConnection(socket, token, this.#times);
    socket.addEventListener("close", () => this.#connections.delete(connection));
    this.#connections.add(connection);
    this.#current = connection;
    if (this.#closed) connection.close();
    return connection;
  }
}
