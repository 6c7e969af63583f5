/** Figures as people read them. What there is no figure for is a dash. */

const NOTHING = "–";
const COUNT = new Intl.NumberFormat("en");

export function milliseconds(value: number | null): string {
  if (value === null) return NOTHING;
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(value < 10_000 ? 2 : 1)} s`;
}

/** For gaps, which are often below a millisecond's tenfold. */
export function fineMilliseconds(value: number | null): string {
  return value === null || value >= 10 ? milliseconds(value) : `${value.toFixed(1)} ms`;
}

export function count(value: number | null): string {
  return value === null ? NOTHING : COUNT.format(value);
}

export function rate(value: number | null): string {
  return value === null ? NOTHING : `${value.toFixed(value < 10 ? 1 : 0)} tokens/s`;
}

export function bytes(value: number): string {
  if (value < 1000) return `${value} B`;
  return value < 1e6 ? `${(value / 1000).toFixed(1)} kB` : `${(value / 1e6).toFixed(1)} MB`;
}

/** Two digits that mean something: an answer costs some millionths of a dollar. */
export function dollars(value: number): string {
  if (value === 0) return "$0";
  const digits = Math.min(10, Math.max(2, 1 - Math.floor(Math.log10(value))));
  return `$${value.toFixed(digits)}`;
}

export function timeOfDay(epochMs: number): string {
  return new Date(epochMs).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
}
