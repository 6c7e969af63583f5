/** Signing in to a Cognito user pool, by AWS Amplify: SRP, so that the password is proved and never sent. */

import { fetchAuthSession, signIn, signOut, type AuthSession } from "@aws-amplify/auth";
import { cognitoUserPoolsTokenProvider } from "@aws-amplify/auth/cognito";
import { Amplify, sessionStorage, type KeyValueStorageInterface } from "@aws-amplify/core";

import type { Config } from "../config";
import { ClientError, ConnectionFailed, SignInFailed, SignInRequired, WrongCredentials } from "../errors";
import { SharedAttempt } from "../transports/sharedAttempt";
import { within } from "../waiting";
import type { Auth, Session } from "./auth";

/** Milliseconds before its expiry at which a token is renewed; a tenth of its lifetime when that is shorter. */
const RENEW_BEFORE_MS = 60_000;

/** Milliseconds for Cognito to answer, Amplify's own tries included. */
const TIMEOUT_MS = 20_000;

const USER_AT_FAULT: Readonly<Record<string, string>> = {
  UserNotConfirmedException: "The user hasn't been confirmed yet.",
  CONFIRM_SIGN_UP: "The user hasn't been confirmed yet.",
  PasswordResetRequiredException: "The user has to reset the password first.",
  RESET_PASSWORD: "The user has to reset the password first.",
  CONFIRM_SIGN_IN_WITH_NEW_PASSWORD_REQUIRED:
    "The password is a temporary one: an administrator sets a permanent one with " +
    "`aws cognito-idp admin-set-user-password --permanent`.",
  ResourceNotFoundException: "The user pool or its client doesn't exist: is /config.json that of the stack?",
};
const WRONG_CREDENTIALS: readonly string[] = ["NotAuthorizedException", "UserNotFoundException"];
const SESSION_OVER: readonly string[] = [
  ...WRONG_CREDENTIALS,
  "TokenRevokedException",
  "RefreshTokenReuseException",
  "PasswordResetRequiredException",
  "UserNotConfirmedException",
];
const OUT_OF_REACH: readonly string[] = [
  "NetworkError",
  "InternalErrorException",
  "TooManyRequestsException",
  "LimitExceededException",
  "RequestLimitExceeded",
];

interface Token {
  readonly text: string;
  readonly username: string;
  /** By `performance.now()`. */
  readonly renewAtMs: number;
}

/**
 * Open a stack's user pool; Amplify's configuration is the page's own, so there is one at a time.
 *
 * The tokens are kept in the tab's storage: a reload goes on with them, closing the tab signs out.
 */
export function openAuth(config: Config, storage: KeyValueStorageInterface = sessionStorage): Auth {
  const { userPoolId, userPoolClientId, awsEndpointUrl } = config;
  const endpoint = awsEndpointUrl === undefined ? {} : { userPoolEndpoint: awsEndpointUrl };
  const userPool = { Cognito: { userPoolId, userPoolClientId, ...endpoint } };
  cognitoUserPoolsTokenProvider.setAuthConfig(userPool);
  cognitoUserPoolsTokenProvider.setKeyValueStorage(storage);
  Amplify.configure({ Auth: userPool }, { Auth: { tokenProvider: cognitoUserPoolsTokenProvider } });
  return new CognitoAuth();
}

class CognitoAuth implements Auth {
  readonly #listeners = new Set<() => void>();
  readonly #renewing = new SharedAttempt(() => this.#renew(true));
  #session: Session = { status: "unknown" };
  #token: Token | null = null;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly getSnapshot = (): Session => this.#session;

  async restore(): Promise<void> {
    try {
      // Renewed: how old the kept one is, only a clock could tell, and that may be wrong.
      const { username } = await this.#renew(true);
      this.#become({ status: "signedIn", username });
    } catch {
      // Whatever it is, signing in shows it.
      if (this.#session.status === "unknown") this.#become({ status: "signedOut", expired: false });
    }
  }

  async signIn(username: string, password: string): Promise<void> {
    try {
      // Of an earlier session, also one that couldn't be restored: Amplify signs in only where nobody is.
      await answered(signOut());
      const { isSignedIn, nextStep } = await answered(signIn({ username, password }));
      if (!isSignedIn) throw new SignInFailed(USER_AT_FAULT[nextStep.signInStep] ?? unknownStep(nextStep.signInStep));
    } catch (error) {
      throw failureOfSignIn(error);
    }
    const token = await this.#renew(false);
    this.#become({ status: "signedIn", username: token.username });
  }

  async token(refused?: string): Promise<string> {
    const token = this.#token;
    if (token === null) throw new SignInRequired("You aren't signed in.");
    if (token.text !== refused && performance.now() < token.renewAtMs) return token.text;
    return (await this.#renewing.result()).text;
  }

  async signOut(): Promise<void> {
    // Told first, while there still is a token: who leaves runs because of it has the server stop them.
    this.#become({ status: "signedOut", expired: false });
    this.#token = null;
    await answered(signOut()).catch(() => undefined);
  }

  /** Take the session's token over, a new one if `refresh`; without a session the state says so. */
  async #renew(refresh: boolean): Promise<Token> {
    const before = this.#token;
    let session: AuthSession;
    try {
      session = await answered(fetchAuthSession({ forceRefresh: refresh }));
    } catch (error) {
      const failure = failureOfSession(error);
      if (failure instanceof SignInRequired) this.#expire(before);
      throw failure;
    }
    const token = tokenOf(session);
    if (token === null) {
      this.#expire(before);
      throw new SignInRequired("Your session has expired: sign in again.");
    }
    // Who has signed out meanwhile stays so.
    if (this.#token === before) this.#token = token;
    return token;
  }

  #expire(before: Token | null): void {
    if (this.#token !== before || before === null) return;
    this.#token = null;
    this.#become({ status: "signedOut", expired: true });
  }

  #become(session: Session): void {
    this.#session = session;
    for (const listener of [...this.#listeners]) listener();
  }
}

function tokenOf({ tokens }: AuthSession): Token | null {
  const idToken = tokens?.idToken;
  if (idToken === undefined) return null;
  const { exp = 0, iat = 0, email, "cognito:username": name } = idToken.payload;
  // Where users sign in with their mail address, Cognito gives each a name of its own, which nobody would recognise.
  const username = [email, name].find((claim) => typeof claim === "string") ?? "";
  // By its own claims, for it is new: this machine's clock may be wrong.
  const lifetimeMs = (exp - iat) * 1000;
  const renewAtMs = performance.now() + lifetimeMs - Math.min(RENEW_BEFORE_MS, lifetimeMs / 10);
  return { text: idToken.toString(), username, renewAtMs };
}

async function answered<T>(promise: Promise<T>): Promise<T> {
  return within(TIMEOUT_MS, promise, () => unreachable(undefined));
}

function failureOfSignIn(error: unknown): ClientError {
  if (error instanceof ClientError) return error;
  const name = nameOf(error);
  if (OUT_OF_REACH.includes(name)) return unreachable(error);
  if (WRONG_CREDENTIALS.includes(name)) return new WrongCredentials("The user name or the password is wrong.");
  return new SignInFailed(USER_AT_FAULT[name] ?? `Cognito refused to sign in (${name}).`, { cause: error });
}

function failureOfSession(error: unknown): ClientError {
  if (error instanceof ClientError) return error;
  const name = nameOf(error);
  if (SESSION_OVER.includes(name))
    return new SignInRequired("Your session has expired: sign in again.", { cause: error });
  return unreachable(error);
}

function unreachable(cause: unknown): ConnectionFailed {
  return new ConnectionFailed("The sign-in service can't be reached.", { reached: false, cause });
}

function unknownStep(step: string): string {
  return `Cognito asks for ${step}, which this page can't answer: sign in once elsewhere.`;
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "";
}
