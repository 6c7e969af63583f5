const NAMED: Readonly<Record<string, string>> = {
  amp: "&",
  apos: "'",
  copy: "©",
  deg: "°",
  euro: "€",
  gt: ">",
  hellip: "…",
  laquo: "«",
  ldquo: "“",
  lsquo: "‘",
  lt: "<",
  mdash: "—",
  middot: "·",
  nbsp: "\u00a0",
  ndash: "–",
  quot: '"',
  raquo: "»",
  rarr: "→",
  rdquo: "”",
  rsquo: "’",
  times: "×",
};

const ENTITY = /&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-z]{2,8}));/g;

/** Write the character references that models use as characters; others stay as they are. */
export function decodeEntities(text: string): string {
  return text.includes("&")
    ? text.replace(ENTITY, (whole, decimal?: string, hexadecimal?: string, name?: string) => {
        if (name !== undefined) {
          return NAMED[name] ?? whole;
        }
        return character(decimal === undefined ? parseInt(hexadecimal ?? "", 16) : parseInt(decimal, 10)) ?? whole;
      })
    : text;
}

function character(code: number): string | null {
  const surrogate = code >= 0xd800 && code <= 0xdfff;
  return code > 0 && code <= 0x10ffff && !surrogate ? String.fromCodePoint(code) : null;
}
