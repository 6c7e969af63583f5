import type { Auth, TokenProvider } from "../../auth/auth";
import type { Config } from "../../config";
import type { History } from "../../history";
import type { Stack } from "../../stack";

/** What the page is made of besides itself; tests have their own. */
export interface Services {
  loadConfig(): Promise<Config>;
  openAuth(config: Config): Auth;
  openStack(config: Config, tokens: TokenProvider): Stack;
  createHistory(): History;
  /** The browser's, if it lets the page have it. */
  readonly storage?: Storage | undefined;
}
