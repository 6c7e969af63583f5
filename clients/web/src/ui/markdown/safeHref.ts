const SCHEMES = new Set(["http:", "https:", "mailto:"]);

/** Return the address of a link that a model wrote if it leads to the web or to a mailbox, else null. */
export function safeHref(address: string): string | null {
  try {
    const url = new URL(address);
    return SCHEMES.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}
