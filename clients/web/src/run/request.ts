/** What is asked of the model. The server validates it. */

import type { RequestBody } from "../transports/transport";
import type { Way } from "../ways";

export interface Turn {
  readonly role: "user" | "assistant";
  readonly content: string;
}

/** What isn't given is left to the server's defaults. `messages`: a conversation, oldest first, the prompt last. */
export interface RunRequest {
  readonly messages: readonly Turn[];
  readonly system?: string;
  readonly model?: string;
  readonly maxTokens?: number;
}

/**
 * Return the JSON to send. `sessionId` is made here and not by the server: a request whose response was lost can then be
 * sent again without a second generation.
 */
export function bodyOf({ messages, system, model, maxTokens }: RunRequest, way: Way, sessionId: string): RequestBody {
  return {
    messages: messages.map(({ role, content }) => ({ role, content })),
    ...(system === undefined ? {} : { system }),
    ...(model === undefined ? {} : { model }),
    ...(maxTokens === undefined ? {} : { options: { maxTokens } }),
    sessionId,
    // Not asked for otherwise: the stack's own setting decides.
    ...(way.delivery === "queued" ? { delivery: way.delivery } : {}),
  };
}
