/**
 * What can go wrong, as the page meets it.
 *
 * ClientError
 * ├── RequestRejected     the server turned the request down: no answer begins (`status`)
 * ├── StreamLost          the connection broke and the rest of the answer can't be fetched any more
 * ├── ConnectionFailed    the server wasn't reached, or the connection broke; runs retry it by themselves
 * ├── ProtocolError       something answered that doesn't speak tokenstream
 * ├── SignInRequired      nobody is signed in, or the session has expired
 * ├── SignInFailed        Cognito refused the user
 * │   └── WrongCredentials    for the user name or the password
 * └── ConfigError         /config.json is missing or incomplete (`key`)
 */

import type { ErrorCode, ErrorDetail } from "./frames.generated";

/** The server's error code where the server named one, otherwise the code of the class. */
export type FailureCode =
  | ErrorCode
  | "connection_failed"
  | "stream_lost"
  | "protocol_error"
  | "sign_in_required"
  | "sign_in_failed"
  | "wrong_credentials"
  | "config";

/** What an error says, as a plain value. `message` is a sentence for a user. */
export interface Failure {
  readonly code: FailureCode;
  readonly message: string;
  /** Whether the same call can succeed later. */
  readonly retryable: boolean;
  /** The part of the request at fault (`options.maxTokens`), where the server named one. */
  readonly field?: string;
}

/** Base of every error that this client throws on purpose. */
export abstract class ClientError extends Error {
  abstract readonly code: FailureCode;
  readonly retryable: boolean = false;

  get failure(): Failure {
    return { code: this.code, message: this.message, retryable: this.retryable };
  }
}

/** The server turned a request down. `status` is the HTTP status, elsewhere the one of its like over HTTP. */
export class RequestRejected extends ClientError {
  readonly code: ErrorCode;
  override readonly retryable: boolean;
  readonly field: string | undefined;

  constructor(
    readonly status: number,
    detail: ErrorDetail,
    readonly retryAfterMs?: number,
  ) {
    super(detail.message);
    this.code = detail.code;
    this.retryable = detail.retryable;
    this.field = detail.field;
  }

  override get failure(): Failure {
    return { ...super.failure, ...(this.field === undefined ? {} : { field: this.field }) };
  }
}

/** No connection, or a broken one. `reached` is false only when the server can't have seen the request. */
export class ConnectionFailed extends ClientError {
  readonly code = "connection_failed";
  override readonly retryable = true;
  readonly reached: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    options: { reached?: boolean; retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.reached = options.reached ?? true;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** The answer can't be followed to its end; the cause is in `cause`. `code` is the server's where it refused. */
export class StreamLost extends ClientError {
  readonly code: FailureCode;
  override readonly retryable: boolean;

  constructor(message: string, options: { code?: FailureCode; retryable?: boolean; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.code = options.code ?? "stream_lost";
    this.retryable = options.retryable ?? false;
  }
}

/** What arrived is neither a frame nor an error of tokenstream. */
export class ProtocolError extends ClientError {
  readonly code = "protocol_error";
}

/** Nobody is signed in, or the session has expired or was revoked: the user has to sign in. */
export class SignInRequired extends ClientError {
  readonly code = "sign_in_required";
}

/** Cognito didn't give a token for the user name and password. */
export class SignInFailed extends ClientError {
  readonly code: FailureCode = "sign_in_failed";
}

/** The user name or the password is wrong; Cognito doesn't tell which. */
export class WrongCredentials extends SignInFailed {
  override readonly code = "wrong_credentials";
}

/** `/config.json` is missing, unreadable or lacks something; `key` names what. */
export class ConfigError extends ClientError {
  readonly code = "config";

  constructor(
    message: string,
    readonly key?: string,
    cause?: unknown,
  ) {
    super(message, { cause });
  }
}

/** Say what went wrong, of anything that was thrown; what this client doesn't know is its own fault. */
export function failureOf(error: unknown): Failure {
  if (error instanceof ClientError) return error.failure;
  return { code: "internal", message: "The page itself has failed: this is a defect.", retryable: false };
}
