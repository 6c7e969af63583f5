/** The paths `url` and `rest`: one streamed HTTP response an answer. */

import type { TokenProvider } from "../auth/auth";
import { ProtocolError } from "../errors";
import { isObject, parseError, type Position } from "../frames";
import { authorized } from "./authorized";
import { bodyOf, jsonOf, send, serverOf } from "./fetching";
import { NdjsonDecoder } from "./ndjson";
import { failureOfStatus } from "./statuses";
import { IDLE_TIMEOUT_MS, type Arrival, type RequestBody, type Transport } from "./transport";

const NDJSON = "application/x-ndjson";
const CANCEL_TIMEOUT_MS = 10_000;

/** Talks to one address. */
export class HttpTransport implements Transport {
  readonly #url: string;
  readonly #tokens: TokenProvider;
  readonly #idleTimeoutMs: number;
  readonly #closing = new AbortController();

  constructor(url: string, tokens: TokenProvider, { idleTimeoutMs = IDLE_TIMEOUT_MS } = {}) {
    this.#url = url;
    this.#tokens = tokens;
    this.#idleTimeoutMs = idleTimeoutMs;
  }

  /** Fetch a token; a page can't connect without sending a request. */
  async prepare(): Promise<void> {
    await this.#tokens.token();
  }

  /** `POST` the request. */
  async start(body: RequestBody, signal: AbortSignal): Promise<AsyncIterable<Arrival>> {
    return this.#follow(this.#url, { method: "POST", body: JSON.stringify(body) }, signal);
  }

  /** `GET` the session. */
  async resume(sessionId: string, after: Position, signal: AbortSignal): Promise<AsyncIterable<Arrival>> {
    const place = `?after=${after.attempt}.${after.sequence}`;
    return this.#follow(this.#session(sessionId) + place, { method: "GET" }, signal);
  }

  /** `DELETE` the session. */
  async cancel(sessionId: string): Promise<void> {
    // `keepalive`: of a page that is being left as well.
    const init = { method: "DELETE", keepalive: true };
    const response = await this.#send(this.#session(sessionId), init, this.#closing.signal, CANCEL_TIMEOUT_MS);
    await response.body?.cancel();
  }

  close(): void {
    this.#closing.abort();
  }

  #session(sessionId: string): string {
    return `${this.#url}/sessions/${encodeURIComponent(sessionId)}`;
  }

  async #follow(url: string, init: RequestInit, signal: AbortSignal): Promise<AsyncIterable<Arrival>> {
    const either = AbortSignal.any([signal, this.#closing.signal]);
    const response = await this.#send(url, init, either, this.#idleTimeoutMs);
    const [mediaType = ""] = (response.headers.get("Content-Type") ?? "")
      .toLowerCase()
      .split(";", 1)
      .map((type) => type.trim());
    if (mediaType !== NDJSON) {
      await response.body?.cancel();
      throw new ProtocolError(
        `${serverOf(url)} answered with ${mediaType === "" ? "no content type" : mediaType}, not with frames.`,
      );
    }
    return messagesOf(response, either, this.#idleTimeoutMs);
  }

  async #send(url: string, init: RequestInit, signal: AbortSignal, timeoutMs: number): Promise<Response> {
    return authorized(this.#tokens, async (token) => {
      const headers = {
        Accept: NDJSON,
        Authorization: `Bearer ${token}`,
        ...(init.body === undefined ? {} : { "Content-Type": "application/json" }),
      };
      const response = await send(url, { ...init, headers, signal }, timeoutMs);
      if (!response.ok) throw await rejectionOf(response, timeoutMs);
      return response;
    });
  }
}

async function* messagesOf(response: Response, signal: AbortSignal, idleTimeoutMs: number): AsyncGenerator<Arrival> {
  const decoder = new NdjsonDecoder();
  for await (const data of bodyOf(response, signal, idleTimeoutMs)) {
    const atMs = performance.now();
    for (const line of decoder.feed(data)) yield { ...line, atMs };
  }
}

async function rejectionOf(response: Response, timeoutMs: number): Promise<Error> {
  const answer: unknown = await jsonOf(response, timeoutMs);
  const detail = isObject(answer) ? parseError(answer.error) : null;
  return failureOfStatus(response.status, detail, response.headers.get("Retry-After"));
}
