/** Where lines and marks of a chart are: pure. */

import type { RunSnapshot } from "../../run/run";
import type { WayId } from "../../ways";

/** Points that a line is drawn with at most; more can't be told apart on a screen. */
export const MAX_POINTS = 240;

/** What a token has of characters on average, where the model hasn't told its count. */
const CHARACTERS_PER_TOKEN = 4;

const INTERVALS_WANTED = 4;

export interface Point {
  readonly seconds: number;
  readonly tokens: number;
}

export interface Line {
  readonly id: string;
  readonly wayId: WayId;
  readonly points: readonly Point[];
}

export interface Chart {
  readonly lines: readonly Line[];
  /** Marks on the axes, from 0; the last one is the axis' end. */
  readonly seconds: readonly number[];
  readonly tokens: readonly number[];
}

/** Tokens over time since each request was sent. */
export function chartOf(snapshots: readonly RunSnapshot[]): Chart {
  const longest = Math.max(0, ...snapshots.map(({ elapsedMs }) => elapsedMs)) / 1000;
  const lines = snapshots.map((snapshot) => ({
    id: snapshot.id,
    wayId: snapshot.way.id,
    points: pointsOf(snapshot, longest),
  }));
  const most = Math.max(0, ...lines.flatMap(({ points }) => points.map(({ tokens }) => tokens)));
  return { lines, seconds: marks(longest), tokens: marks(most) };
}

/** The last point of each of as many slices of time as can be told apart. */
function pointsOf({ series, text, figures, elapsedMs }: RunSnapshot, longest: number): Point[] {
  const perCharacter = text.length > 0 && figures.tokens > 0 ? figures.tokens / text.length : 1 / CHARACTERS_PER_TOKEN;
  const points: Point[] = [];
  let slice = -1;
  for (let index = 0; index < series.count; index += 1) {
    const seconds = (series.atMs[index] ?? 0) / 1000;
    const tokens = (series.characters[index] ?? 0) * perCharacter;
    const its = longest > 0 ? Math.floor((seconds / longest) * (MAX_POINTS - 3)) : 0;
    if (points.length === 0) points.push({ seconds, tokens: 0 });
    if (its === slice) points.pop();
    points.push({ seconds, tokens });
    slice = its;
  }
  const last = points.at(-1);
  // A line that stands still shows that nothing came.
  if (last !== undefined && elapsedMs / 1000 > last.seconds) points.push({ ...last, seconds: elapsedMs / 1000 });
  return points;
}

/** Round numbers from 0 to the first that isn't below `most`. */
export function marks(most: number): number[] {
  const step = roundUp(Math.max(most, 1e-3) / INTERVALS_WANTED);
  const result = [0];
  while ((result.at(-1) ?? 0) < most || result.length < 2) result.push(step * result.length);
  return result;
}

function roundUp(value: number): number {
  const magnitude = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5].find((factor) => factor * magnitude >= value * 0.999) ?? 10) * magnitude;
}
