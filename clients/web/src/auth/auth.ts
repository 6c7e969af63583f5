/** Who is signed in, and the token of each request: Cognito's *ID* token, on every path. */

import type { Store } from "../store";

/** Gives tokens; may be asked by several runs at once. */
export interface TokenProvider {
  /**
   * A token to send, renewed when it is about to expire. `refused` is one that the server has just turned down: give
   * another if there is one; the same again means that there is none.
   *
   * Rejects with `SignInRequired` when nobody is signed in or the session is over, and with `ConnectionFailed` when
   * Cognito isn't reached.
   */
  token(refused?: string): Promise<string>;
  /** Forget the tokens and have Cognito revoke them, as far as it can be reached. Never rejects. */
  signOut(): Promise<void>;
}

/**
 * `unknown` until `restore` has looked. `expired` tells a session that has just ended by itself, also in the midst of a
 * run, from a user who hasn't signed in yet: it is `signedOut` with the reason to be shown.
 */
export type Session =
  | { readonly status: "unknown" }
  | { readonly status: "signedOut"; readonly expired: boolean }
  | { readonly status: "signedIn"; readonly username: string };

/** Signing in to one stack's user pool, and a store of who is. */
export interface Auth extends TokenProvider, Store<Session> {
  /** Take up the session of before the page was reloaded, if there is one. Once, at the start. Never rejects. */
  restore(): Promise<void>;
  /**
   * Sign in by SRP: the password is proved, never sent. Rejects with `WrongCredentials`, `SignInFailed` (its message
   * says what to do) and `ConnectionFailed`; `failureOf` makes a `Failure` of each.
   */
  signIn(username: string, password: string): Promise<void>;
}
