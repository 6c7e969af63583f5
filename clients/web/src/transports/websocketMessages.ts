/** The messages of a WebSocket connection: pure. Sources: the design, "On the wire"; API Gateway's quotas. */

import { ConnectionFailed, RequestRejected } from "../errors";
import type { JsonObject } from "../frames";
import { byteLength } from "./bytes";
import { rejectionOf } from "./statuses";

/**
 * Bytes of a message that a browser can send on this path. The server takes 100,000; but API Gateway closes a connection,
 * with every stream on it, at a WebSocket frame beyond 32 KB, and a browser doesn't let a page say where to divide.
 */
export const MESSAGE_LIMIT = 32_000;

const THROTTLED = "Too Many Requests";

/** Return a message's JSON; throws `RequestRejected` for one that can't be sent. */
export function encode(message: JsonObject): string {
  const text = JSON.stringify(message);
  const bytes = byteLength(text);
  if (bytes <= MESSAGE_LIMIT) return text;
  throw rejectionOf({
    code: "too_large",
    message:
      `The request has ${bytes.toLocaleString("en")} bytes; a browser can send ${MESSAGE_LIMIT.toLocaleString("en")} ` +
      "over WebSocket. The other paths take more, and a new conversation is shorter.",
    retryable: false,
  });
}

/**
 * Return what API Gateway's own message means for each of the requests that wait for a reply.
 *
 * Such a message, `{"message": …, "connectionId", "requestId"}`, takes the place of a function's reply, but its
 * `requestId` is API Gateway's: it doesn't say whose. With several requests `waiting` one of them wasn't taken in and the
 * others may have been. So it counts as a broken connection for all: who asks again, under the same session id, finds
 * out. A single one that was throttled is told so.
 */
export function gatewayFailure(message: JsonObject, waiting: number): RequestRejected | ConnectionFailed {
  const text = typeof message.message === "string" ? message.message : "a message without text";
  if (text === THROTTLED && waiting === 1) {
    return rejectionOf({ code: "throttled", message: "The server is asked too often.", retryable: true });
  }
  return new ConnectionFailed(`A gateway answered in the place of the function: ${text.slice(0, 200)}`);
}
