const utf8 = new TextEncoder();

/** The length of a text in UTF-8, as it goes over the wire. */
export function byteLength(text: string): number {
  return utf8.encode(text).length;
}
