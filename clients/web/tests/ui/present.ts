/** A value that has to be there. */
export function present<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw new Error("it isn't there");
  return value;
}
