import { isOver, type RunSnapshot } from "../../run/run";
import { count, milliseconds } from "./amounts";
import { statusWords, stopWords } from "./statusWords";
import { WAY_NAMES } from "./wayNames";

/**
 * What a screen reader says of a change: states, never tokens. Of one run among `several` it leaves out what all of
 * them go through. Null for nothing.
 */
export function announcementOf(before: RunSnapshot, after: RunSnapshot, several: boolean): string | null {
  const stop = stopWords(after);
  if (stop !== null && stop !== stopWords(before)) return say(after, stop);
  if (before.status === after.status) return null;
  if (isOver(after.status)) return say(after, statusWords(after).words + extent(after));
  if (after.status === "reconnecting") return say(after, statusWords(after).words);
  if (before.status === "reconnecting") return say(after, "Resumed.");
  if (several || after.stopping) return null;
  return after.status === "waiting" || after.status === "streaming" ? say(after, statusWords(after).words) : null;
}

function say({ way }: RunSnapshot, words: string): string {
  return `${WAY_NAMES[way.id]}: ${words}`;
}

function extent({ status, figures }: RunSnapshot): string {
  return status === "done" ? ` ${count(figures.tokens)} tokens in ${milliseconds(figures.totalMs)}.` : "";
}
