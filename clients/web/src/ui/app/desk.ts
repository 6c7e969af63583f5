import type { Auth } from "../../auth/auth";
import { type Config, waysOf } from "../../config";
import type { History } from "../../history";
import type { Stack } from "../../stack";
import type { Way } from "../../ways";
import { Conversations, type TabId } from "../conversation/conversations";
import { SettingsStore } from "../settings/settings";
import { Value } from "../value";
import { Announcer } from "./announcer";
import type { Services } from "./services";

export type View = TabId | "history";

/**
 * All that one user works with at one stack. It outlasts an expired session: whoever signs in again as the same user
 * finds the conversations as they were.
 */
export interface Desk {
  readonly config: Config;
  readonly ways: readonly Way[];
  readonly auth: Auth;
  readonly history: History;
  readonly settings: SettingsStore;
  readonly announcer: Announcer;
  readonly conversations: Conversations;
  readonly stack: Stack;
  /** What is open. */
  readonly view: Value<View>;
  /** The prompt that is being written. */
  readonly draft: Value<string>;
}

export function openDesk(config: Config, auth: Auth, services: Services): Desk {
  const stack = services.openStack(config, auth);
  const history = services.createHistory();
  const settings = new SettingsStore(services.storage);
  const announcer = new Announcer();
  const conversations = new Conversations({
    stack,
    history,
    settings: settings.getSnapshot,
    announce: announcer.say,
  });
  return {
    config,
    ways: waysOf(config),
    auth,
    history,
    settings,
    announcer,
    conversations,
    stack,
    view: new Value<View>("all"),
    draft: new Value(""),
  };
}

export function closeDesk({ conversations, stack }: Desk): void {
  conversations.leave();
  stack.close();
}
