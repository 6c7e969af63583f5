import { WAYS, type WayId } from "../../ways";
import { Value } from "../value";

export interface Settings {
  /** Empty: the stack's default. */
  readonly model: string;
  /** Null: the stack's default. */
  readonly maxTokens: number | null;
  readonly system: string;
  /** The ways that run in the view of all: direct ones, queued ones or both. */
  readonly sideBySide: readonly WayId[];
  /** Answers as they were written, instead of as Markdown. */
  readonly plainText: boolean;
}

const KEY = "tokenstream.settings";

const DEFAULTS: Settings = {
  model: "",
  maxTokens: null,
  system: "",
  sideBySide: WAYS.map(({ id }) => id),
  plainText: false,
};

/** The settings, kept in the browser as far as it lets them be kept. */
export class SettingsStore extends Value<Settings> {
  readonly #storage: Storage | undefined;

  constructor(storage?: Storage) {
    super(restored(storage));
    this.#storage = storage;
  }

  readonly change = (changes: Partial<Settings>): void => {
    this.set({ ...this.getSnapshot(), ...changes });
    try {
      this.#storage?.setItem(KEY, JSON.stringify(this.getSnapshot()));
    } catch {
      // Full or forbidden: then they last until the page is left.
    }
  };
}

function restored(storage: Storage | undefined): Settings {
  try {
    const values: unknown = JSON.parse(storage?.getItem(KEY) ?? "{}");
    return read(typeof values === "object" && values !== null ? (values as Record<string, unknown>) : {});
  } catch {
    return DEFAULTS;
  }
}

/** What was stored may be of another version of this page: what doesn't fit is left out. */
function read({ model, maxTokens, system, sideBySide, plainText }: Record<string, unknown>): Settings {
  const ways = Array.isArray(sideBySide) ? WAYS.map(({ id }) => id).filter((id) => sideBySide.includes(id)) : [];
  return {
    model: typeof model === "string" ? model : DEFAULTS.model,
    maxTokens: Number.isSafeInteger(maxTokens) && (maxTokens as number) > 0 ? (maxTokens as number) : null,
    system: typeof system === "string" ? system : DEFAULTS.system,
    sideBySide: ways.length > 0 ? ways : DEFAULTS.sideBySide,
    plainText: plainText === true,
  };
}
