import type { Failure, FailureCode } from "../../errors";

const FIELDS: Readonly<Record<string, string>> = {
  "options.maxTokens": "Change Max tokens in the settings.",
  model: "Change the model in the settings.",
  system: "Change the system prompt in the settings.",
};

const CODES: Readonly<Record<FailureCode, string>> = {
  invalid_request: "Change the prompt or the settings.",
  too_large: "Shorten the prompt, or begin a new conversation.",
  unauthorized: "Sign out and in again. If that doesn't help, this page and its stack don't belong together.",
  forbidden: "Ask whoever runs this stack to allow it.",
  not_found: "Ask again.",
  conflict: "Ask again.",
  throttled: "Wait a moment, then try again.",
  model_error: "Try again, or choose another model in the settings.",
  model_timeout: "Try again, or choose another model in the settings.",
  model_access: "Choose another model in the settings, or ask whoever runs this stack for access to this one.",
  internal: "Try again. If it keeps failing, the stack's logs say more.",
  connection_failed: "Check your network and that the stack is running, then try again.",
  stream_lost: "Check your network, then try again.",
  protocol_error: "Check that /config.json names a tokenstream stack of this page's version.",
  sign_in_required: "Sign in again.",
  sign_in_failed: "Try again, or ask whoever runs this stack.",
  wrong_credentials: "Check both and try again.",
  config: "Correct the file, then try again.",
};

const FIELD_NAMES: Readonly<Record<string, string>> = {
  "options.maxTokens": "Max tokens",
  model: "Model",
  system: "System prompt",
};

/** Say what is wrong, and with what: the server's messages don't name the field. */
export function complaintOf({ message, field }: Failure): string {
  const name = field === undefined ? undefined : FIELD_NAMES[field];
  return name === undefined ? message : `${name}: ${message}`;
}

/** Say what to do about a failure: a sentence. */
export function adviceOn({ code, field }: Failure): string {
  return (field === undefined ? undefined : FIELDS[field]) ?? CODES[code];
}
