/** HTTP statuses and error codes, each told by the other: what a rejection means is the same on every path. */

import { ConnectionFailed, RequestRejected } from "../errors";
import type { ErrorCode, ErrorDetail } from "../frames";

const GATEWAY_FAILURES: readonly number[] = [502, 503, 504];

const STATUSES: Readonly<Record<ErrorCode, number>> = {
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  too_large: 413,
  throttled: 429,
  invalid_request: 400,
  model_error: 502,
  model_timeout: 504,
  model_access: 502,
  internal: 500,
};

const CODES: ReadonlyMap<number, ErrorCode> = new Map([
  [401, "unauthorized"],
  [403, "forbidden"],
  [404, "not_found"],
  [409, "conflict"],
  [413, "too_large"],
  [429, "throttled"],
]);

/**
 * Return what an HTTP error means. Without `detail` it came from something in front of the function.
 *
 * `retryAfter` is the header's text.
 */
export function failureOfStatus(
  status: number,
  detail: ErrorDetail | null = null,
  retryAfter: string | null = null,
): RequestRejected | ConnectionFailed {
  const retryAfterMs = retryAfter !== null && /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined;
  if (detail === null && GATEWAY_FAILURES.includes(status)) {
    return new ConnectionFailed(`A gateway answered ${status} in the place of the function.`, { retryAfterMs });
  }
  return new RequestRejected(status, detail ?? detailOfStatus(status), retryAfterMs);
}

/** Return the rejection that came with an error object and no status. */
export function rejectionOf(detail: ErrorDetail): RequestRejected {
  return new RequestRejected(STATUSES[detail.code], detail);
}

function detailOfStatus(status: number): ErrorDetail {
  const serverSide = status >= 500;
  return {
    code: CODES.get(status) ?? (serverSide ? "internal" : "invalid_request"),
    message: `The server answered with HTTP status ${status}.`,
    retryable: serverSide || status === 429,
  };
}
