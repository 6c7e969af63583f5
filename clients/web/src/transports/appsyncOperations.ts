/** The API's queries and mutations, each one HTTP request. */

import { ProtocolError } from "../errors";
import { isObject, type JsonObject, type Position } from "../frames";
import { CANCEL_STREAM, GET_STREAM, START_STREAM, pageOf, type Page } from "./appsyncMessages";
import { jsonOf, send, serverOf } from "./fetching";
import { httpFailure, operationFailure } from "./graphqlErrors";
import type { RequestBody } from "./transport";

/** Sends them to one address. Each rejects with `RequestRejected`, `ConnectionFailed` and `ProtocolError`. */
export class Operations {
  readonly #url: string;
  readonly #timeoutMs: number;

  constructor(url: string, timeoutMs: number) {
    this.#url = url;
    this.#timeoutMs = timeoutMs;
  }

  /** Have an answer generated. */
  async start(token: string, body: RequestBody, signal: AbortSignal): Promise<void> {
    await this.#run(token, START_STREAM, body, { signal });
  }

  /** Have a generation stopped. */
  async cancel(token: string, sessionId: string, signal: AbortSignal): Promise<void> {
    // `keepalive`: of a page that is being left as well.
    await this.#run(token, CANCEL_STREAM, { sessionId }, { signal, keepalive: true });
  }

  /** Read what is stored behind a position: of the session's present attempt, as much as fits. */
  async stored(token: string, sessionId: string, after: Position, signal: AbortSignal): Promise<Page> {
    const variables = { sessionId, afterAttempt: after.attempt, afterSequence: after.sequence };
    const data = await this.#run(token, GET_STREAM, variables, { signal });
    return pageOf(data.getStream);
  }

  async #run(
    token: string,
    query: string,
    variables: JsonObject,
    init: { signal: AbortSignal; keepalive?: boolean },
  ): Promise<JsonObject> {
    const body = JSON.stringify({ query, variables });
    const headers = { Authorization: token, "Content-Type": "application/json", Accept: "application/json" };
    const response = await send(this.#url, { ...init, method: "POST", body, headers }, this.#timeoutMs);
    const answer = await jsonOf(response, this.#timeoutMs);
    const errors = isObject(answer) ? answer.errors : undefined;
    if (response.status !== 200) throw httpFailure(response.status, errors, response.headers.get("Retry-After"));
    if (Array.isArray(errors) && errors.length > 0) throw operationFailure(errors);
    if (isObject(answer) && isObject(answer.data)) return answer.data;
    throw new ProtocolError(`${serverOf(this.#url)} answered with something other than GraphQL.`);
  }
}
