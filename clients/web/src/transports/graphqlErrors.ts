/**
 * GraphQL errors, as AppSync and this API's resolvers write them: pure.
 *
 * Sources: graphql/resolvers (`errorInfo` holds the error object); graphql-over-http #81 (AppSync's own errors);
 * aws-mobile-appsync-sdk-android #246 (those of a connection).
 */

import { ConnectionFailed, type RequestRejected } from "../errors";
import { ERROR_CODES, isObject, parseError, type ErrorCode, type ErrorDetail, type JsonObject } from "../frames";
import { failureOfStatus, rejectionOf } from "./statuses";

const CODES: ReadonlyMap<unknown, ErrorCode> = new Map([
  ...ERROR_CODES.map((code) => [pascal(code), code] as const),
  ["UnauthorizedException", "unauthorized"],
  ["ThrottlingException", "throttled"],
  ["TooManyRequestsException", "throttled"],
  ["RequestEntityTooLargeException", "too_large"],
  ["BadRequestException", "invalid_request"],
  ["MalformedHttpRequestException", "invalid_request"],
  ["ValidationError", "invalid_request"],
]);
const RETRYABLE: readonly ErrorCode[] = ["throttled", "internal"];

/** Return what the errors of an operation mean that was answered with HTTP status 200. */
export function operationFailure(errors: unknown): RequestRejected {
  return rejectionOf(detailOf(errors) ?? { code: "internal", message: told(errors), retryable: true });
}

/** Return what an HTTP error means. `errors` may be anything: not all that answers is AppSync. */
export function httpFailure(
  status: number,
  errors: unknown,
  retryAfter: string | null,
): RequestRejected | ConnectionFailed {
  // What AppSync says of failures of its own adds nothing to the status.
  return failureOfStatus(status, status < 500 ? detailOf(errors) : null, retryAfter);
}

/** Return why there is no connection or subscription, from the payload of an error message. */
export function realtimeFailure(payload: unknown, server: string): RequestRejected | ConnectionFailed {
  const errors = isObject(payload) ? payload.errors : undefined;
  const detail = detailOf(errors);
  if (detail !== null) return rejectionOf(detail);
  const { errorCode: status } = first(errors);
  if (typeof status === "number" && status >= 400 && status < 500) return failureOfStatus(status);
  return new ConnectionFailed(`${server}: ${told(errors)}`);
}

/** Read the first error; `null` when it doesn't tell whose fault it is. */
function detailOf(errors: unknown): ErrorDetail | null {
  const error = first(errors);
  if (isObject(error.errorInfo)) {
    const detail = parseError({ message: told(errors), ...error.errorInfo });
    if (detail !== null) return detail;
  }
  const { errorType: type, message } = error;
  let code = CODES.get(type);
  if (isAbsent(type) && isAbsent(error.path) && typeof message === "string" && !("errorCode" in error)) {
    // What is wrong with a request before any field is looked at has no path, and with AppSync no type.
    code = "invalid_request";
  }
  return code === undefined ? null : { code, message: told(errors), retryable: RETRYABLE.includes(code) };
}

function told(errors: unknown): string {
  const { message, errorType } = first(errors);
  if (typeof message === "string" && message !== "") return message.slice(0, 500);
  return `AppSync answered with ${typeof errorType === "string" ? errorType.slice(0, 100) : "an error"}.`;
}

function first(errors: unknown): JsonObject {
  const error: unknown = Array.isArray(errors) ? errors[0] : undefined;
  return isObject(error) ? error : {};
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null;
}

function pascal(code: string): string {
  return code.replace(/(?:^|_)([a-z])/g, (_match, letter: string) => letter.toUpperCase());
}
