/** The runs of before, to compare: whole in memory, and without any text in the browser's storage. */

import type { Cost } from "./cost";
import type { Failure } from "./errors";
import type { Figures } from "./figures";
import { isObject } from "./frames";
import { isOver, textOf, type RunSnapshot } from "./run/run";
import type { Store } from "./store";
import { WAYS, type WayId } from "./ways";

export interface HistoryEntry {
  readonly id: string;
  /** The same for runs that were begun together, side by side. */
  readonly group: string;
  readonly wayId: WayId;
  readonly startedAt: number;
  readonly status: "done" | "failed" | "cancelled";
  readonly stopReason: RunSnapshot["stopReason"];
  readonly failureCode: Failure["code"] | null;
  readonly model: string | null;
  readonly figures: Figures;
  readonly cost: Cost;
  /** Only of runs since the page was loaded. */
  readonly texts?: { readonly prompt: string; readonly answer: string };
}

/** The entries, the latest first. */
export interface History extends Store<readonly HistoryEntry[]> {
  /** Keep a run that is over; one that goes on is none yet. Beyond the limit the oldest go. */
  add(run: RunSnapshot, group: string): void;
  clear(): void;
}

/** Where entries outlast the page; `localStorage` is one. Each method may throw. */
export type EntryStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

const KEY = "tokenstream.history.1";
const LIMIT = 100;

/** `storage` may be full, forbidden or hold nonsense: then the history is kept in memory alone. */
export function createHistory(storage?: EntryStorage, limit = LIMIT): History {
  let entries: readonly HistoryEntry[] = kept(storage).slice(0, limit);
  const listeners = new Set<() => void>();
  const change = (changed: readonly HistoryEntry[]): void => {
    entries = changed;
    keep(storage, entries);
    for (const listener of [...listeners]) listener();
  };
  return {
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    getSnapshot: () => entries,
    add(run, group) {
      const entry = entryOf(run, group);
      if (entry !== null) change([entry, ...entries.filter(({ id }) => id !== entry.id)].slice(0, limit));
    },
    clear() {
      change([]);
    },
  };
}

function entryOf(run: RunSnapshot, group: string): HistoryEntry | null {
  if (!isOver(run.status)) return null;
  return {
    id: run.id,
    group,
    wayId: run.way.id,
    startedAt: run.startedAt,
    status: run.status,
    stopReason: run.stopReason,
    failureCode: run.failure?.code ?? null,
    model: run.model,
    figures: run.figures,
    cost: run.cost,
    texts: { prompt: run.request.messages.at(-1)?.content ?? "", answer: textOf(run.text) },
  };
}

function keep(storage: EntryStorage | undefined, entries: readonly HistoryEntry[]): void {
  try {
    if (entries.length === 0) storage?.removeItem(KEY);
    else storage?.setItem(KEY, JSON.stringify(entries.map((entry) => ({ ...entry, texts: undefined }))));
  } catch {
    // Full, or forbidden: the history lasts as long as the page.
  }
}

function kept(storage: EntryStorage | undefined): readonly HistoryEntry[] {
  try {
    const values: unknown = JSON.parse(storage?.getItem(KEY) ?? "[]");
    return Array.isArray(values) ? values.filter(isEntry) : [];
  } catch {
    return [];
  }
}

/** What this page wrote is trusted in its details; what an older one or another page wrote fails by its outline. */
function isEntry(value: unknown): value is HistoryEntry {
  return (
    isObject(value) &&
    typeof value.id === "string" &&
    typeof value.group === "string" &&
    typeof value.startedAt === "number" &&
    WAYS.some(({ id }) => id === value.wayId) &&
    isObject(value.figures) &&
    isObject(value.cost) &&
    Array.isArray(value.cost.parts)
  );
}
