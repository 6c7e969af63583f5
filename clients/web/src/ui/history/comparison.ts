/** Runs of the history, compared: pure. */

import type { HistoryEntry } from "../../history";
import { WAYS, type WayId } from "../../ways";
import type { Column } from "../figures/columns";

export interface Summary {
  readonly wayId: WayId;
  /** Runs that got to their end. */
  readonly runs: number;
  readonly failed: number;
  readonly medians: ReadonlyMap<string, number | null>;
}

/** The median of each figure over the runs that got to their end, a line a way that has any run. */
export function summariesOf(entries: readonly HistoryEntry[], columns: readonly Column[]): Summary[] {
  return WAYS.flatMap(({ id: wayId }) => {
    const its = entries.filter((entry) => entry.wayId === wayId);
    if (its.length === 0) return [];
    const done = its.filter(({ status }) => status === "done");
    const failed = its.filter(({ status }) => status === "failed").length;
    return [
      {
        wayId,
        runs: done.length,
        failed,
        medians: new Map(columns.map(({ id, value }) => [id, median(done.map(value))])),
      },
    ];
  });
}

function median(values: readonly (number | null)[]): number | null {
  const sorted = values.filter((value) => value !== null).sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  const upper = sorted[middle];
  if (upper === undefined) return null;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}
