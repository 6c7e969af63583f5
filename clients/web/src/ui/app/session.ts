/** From the page's first moment to a user at a desk, and back. */

import type { Auth, Session } from "../../auth/auth";
import type { Config } from "../../config";
import { type Failure, failureOf } from "../../errors";
import { Value } from "../value";
import { closeDesk, type Desk, openDesk } from "./desk";
import type { Services } from "./services";

export type Stage =
  | { readonly name: "loading" }
  | { readonly name: "failed"; readonly failure: Failure }
  /** The configuration is there, but it isn't known yet who is signed in. */
  | { readonly name: "restoring" }
  | { readonly name: "signIn"; readonly config: Config; readonly auth: Auth; readonly expired: boolean }
  | { readonly name: "desk"; readonly desk: Desk; readonly username: string };

export class PageSession extends Value<Stage> {
  readonly #services: Services;
  #desk: { readonly desk: Desk; readonly username: string } | null = null;

  constructor(services: Services) {
    super({ name: "loading" });
    this.#services = services;
  }

  /** Begin, or begin again after the configuration couldn't be had. */
  readonly begin = async (): Promise<void> => {
    this.set({ name: "loading" });
    try {
      const config = await this.#services.loadConfig();
      const auth = this.#services.openAuth(config);
      auth.subscribe(() => {
        this.#follow(config, auth, auth.getSnapshot());
      });
      this.#follow(config, auth, auth.getSnapshot());
      await auth.restore();
    } catch (error) {
      this.set({ name: "failed", failure: failureOf(error) });
    }
  };

  /** Stop what runs: nobody would be there to read it. */
  readonly leave = (): void => {
    this.#desk?.desk.conversations.leave();
  };

  #follow(config: Config, auth: Auth, session: Session): void {
    switch (session.status) {
      case "unknown":
        this.set({ name: "restoring" });
        return;
      case "signedOut":
        // An expired session keeps its desk, for the same user.
        if (!session.expired) this.#clear();
        this.set({ name: "signIn", config, auth, expired: session.expired });
        return;
      case "signedIn": {
        const { username } = session;
        if (this.#desk?.username !== username) {
          this.#clear();
          this.#desk = { desk: openDesk(config, auth, this.#services), username };
        }
        if (this.getSnapshot().name !== "desk") this.set({ name: "desk", ...this.#desk });
      }
    }
  }

  #clear(): void {
    if (this.#desk !== null) closeDesk(this.#desk.desk);
    this.#desk = null;
  }
}
