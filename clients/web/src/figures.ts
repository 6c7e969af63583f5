/**
 * How an answer came, in figures: pure.
 *
 * A frame counts from the moment at which it can be read: its own arrival, or that of the last one before it where
 * frames overtook each other. Attempts that were given up count as well: a reader has seen them, and waited between them.
 */

/**
 * Milliseconds count from the moment at which the request was sent, signing in and connecting left out; `null` is what
 * there is no figure for (yet). A gap is the time between a frame with text and the next one.
 */
export interface Figures {
  /** From the run's beginning until the request was sent: the token, and the connection that the path has. */
  readonly connectionMs: number | null;
  readonly timeToFirstTokenMs: number | null;
  readonly medianGapMs: number | null;
  readonly p95GapMs: number | null;
  /** From the first text of the present attempt to the last. */
  readonly tokensPerSecond: number | null;
  /** Of the present attempt. `tokensEstimated`: by the text's length, for the model's own count hasn't come. */
  readonly tokens: number;
  readonly tokensEstimated: boolean;
  /** Until the terminal frame. */
  readonly totalMs: number | null;
  /** Frames that arrived, duplicates among them; no heartbeats. */
  readonly messages: number;
  /** Everything that arrived, heartbeats too, without the headers of HTTP and WebSocket. */
  readonly bytes: number;
  readonly duplicates: number;
  /** Times that frames were missing and came: late by themselves, or because they were asked for. */
  readonly gapsRepaired: number;
  /** Times that the connection was lost and made again, once for each loss. */
  readonly resumes: number;
}

/** What the figures are made from; moments by one clock. */
export interface Measured {
  readonly begunAtMs: number;
  readonly sentAtMs: number | null;
  /** When each frame with text could be read, in order, over all attempts. */
  readonly textAtMs: readonly number[];
  /** Where in `textAtMs` the present attempt begins. */
  readonly attemptFrom: number;
  /** UTF-16 units of text and reasoning in the present attempt. */
  readonly characters: number;
  /** The model's own count, once it is there. */
  readonly outputTokens: number | null;
  readonly endedAtMs: number | null;
  readonly messages: number;
  readonly bytes: number;
  readonly duplicates: number;
  readonly gapsRepaired: number;
  readonly resumes: number;
}

/** Characters of English text that make a token, by the models' makers. */
const CHARACTERS_PER_TOKEN = 4;

const SLOW_PERCENT = 95;

/** Return the figures of what was measured so far. */
export function figuresOf(measured: Measured): Figures {
  const { begunAtMs, sentAtMs, textAtMs, attemptFrom, endedAtMs, outputTokens } = measured;
  const gaps = gapsOf(textAtMs).sort();
  const since = (moment: number | null | undefined): number | null =>
    moment === null || moment === undefined || sentAtMs === null ? null : moment - sentAtMs;
  const tokens = outputTokens ?? Math.ceil(measured.characters / CHARACTERS_PER_TOKEN);
  const textMs = (textAtMs.at(-1) ?? 0) - (textAtMs[attemptFrom] ?? 0);
  return {
    connectionMs: sentAtMs === null ? null : sentAtMs - begunAtMs,
    timeToFirstTokenMs: since(textAtMs[0]),
    medianGapMs: median(gaps),
    p95GapMs: nearestRank(gaps, SLOW_PERCENT),
    tokensPerSecond: attemptFrom < textAtMs.length && textMs > 0 ? (tokens * 1000) / textMs : null,
    tokens,
    tokensEstimated: outputTokens === null,
    totalMs: since(endedAtMs),
    messages: measured.messages,
    bytes: measured.bytes,
    duplicates: measured.duplicates,
    gapsRepaired: measured.gapsRepaired,
    resumes: measured.resumes,
  };
}

/** The middle one of sorted values, or the mean of the two in the middle; `null` of nothing. */
export function median(sorted: ArrayLike<number>): number | null {
  const middle = (sorted.length - 1) / 2;
  const [low, high] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]];
  return low === undefined || high === undefined ? null : (low + high) / 2;
}

/** The smallest of sorted values that at least so many percent of them don't exceed; `null` of nothing. */
export function nearestRank(sorted: ArrayLike<number>, percent: number): number | null {
  const rank = Math.max(1, Math.ceil((percent * sorted.length) / 100));
  return sorted[rank - 1] ?? null;
}

function gapsOf(moments: readonly number[]): Float64Array {
  const gaps = new Float64Array(Math.max(0, moments.length - 1));
  let earlier = moments[0] ?? 0;
  for (let index = 1; index < moments.length; index += 1) {
    const later = moments[index] ?? earlier;
    gaps[index - 1] = later - earlier;
    earlier = later;
  }
  return gaps;
}
