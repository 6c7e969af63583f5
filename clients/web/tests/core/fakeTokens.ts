import type { TokenProvider } from "../../src/auth/auth";

/** Gives one token until it is refused, then the next, as long as there are any. */
export class FakeTokens implements TokenProvider {
  readonly refused: string[] = [];
  readonly #tokens: string[];

  constructor(...tokens: readonly string[]) {
    this.#tokens = [...tokens];
  }

  token(refused?: string): Promise<string> {
    if (refused !== undefined) this.refused.push(refused);
    if (refused === this.#tokens[0] && this.#tokens.length > 1) this.#tokens.shift();
    return Promise.resolve(this.#tokens[0] ?? "");
  }

  signOut(): Promise<void> {
    return Promise.resolve();
  }
}
