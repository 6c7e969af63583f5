/** Where a block that grew too long is cut, and what its rest needs in front to be read as the same kind of block. */

import { Lexer, type Token, type Tokens } from "marked";

export interface Cut {
  /** An offset in the source. */
  readonly at: number;
  readonly carry: string;
}

const FENCE = /^ {0,3}(?:`{3,}|~{3,})[^\n]*\n/;
const MARKER = /^ {0,3}(?:[*+-]|\d{1,9}[.)])/;
const INNER_FENCE = /^\s*(`{3,}|~{3,})/;

// A rest that begins with a letter, or with what ends a piece of plain text, can't be taken for a list or a heading.
const SENTENCE_END = /[.!?…。]["”»’)]*\s+(?=\p{L}|$)/gu;
const SPACE = /\s+(?=\p{L}|$)/gu;
/** What belongs to the character before it: marks, variants, skin tones, and what joins emoji. */
const JOINED = /\p{M}|\p{Emoji_Modifier}|\u200d/u;

/** Return where to cut a source that `token` begins; null while it is better left whole. */
export function cutOf(source: string, token: Token | undefined, limit: number, itemLimit: number): Cut | null {
  switch (token?.type) {
    case "code":
      return cutCode(source, limit);
    case "list":
      return cutList(source, (token as Tokens.List).items, itemLimit);
    case "table":
      return cutTable(source) ?? cutProse(source, limit);
    case "blockquote":
      return cutLine(source, "") ?? { at: safe(source, limit), carry: "> " };
    case "paragraph":
    case "text":
      return cutProse(source, limit);
    default:
      return cutLine(source, "") ?? { at: safe(source, limit), carry: "" };
  }
}

function cutCode(source: string, limit: number): Cut {
  const opening = FENCE.exec(source)?.[0] ?? "";
  const line = cutLine(source, opening);
  return line !== null && line.at > opening.length ? line : { at: safe(source, limit), carry: opening };
}

function cutList(source: string, items: readonly Tokens.ListItem[], itemLimit: number): Cut | null {
  const last = items.at(-1);
  if (items.length > 1 && last !== undefined) {
    const before = items.slice(0, -1).reduce((length, item) => length + item.raw.length, 0);
    return { at: before, carry: "" };
  }
  if (source.length <= itemLimit) {
    return null;
  }
  const marker = MARKER.exec(source)?.[0] ?? "-";
  const line = cutLine(source, `${marker}\n`);
  if (line !== null && line.at > marker.length + 1) {
    return { at: line.at, carry: line.carry + openFence(source.slice(0, line.at)) };
  }
  return { at: safe(source, itemLimit / 2), carry: `${marker}\n${" ".repeat(marker.length + 1)}` };
}

function cutTable(source: string): Cut | null {
  const heading = /^[^\n]*\n[^\n]*\n/.exec(source)?.[0] ?? "";
  const line = cutLine(source, heading);
  return line !== null && line.at > heading.length ? line : null;
}

function cutLine(source: string, carry: string): Cut | null {
  const at = source.lastIndexOf("\n") + 1;
  return at > carry.length ? { at, carry } : null;
}

/** Between two sentences if possible, else between two words, and not inside emphasis, code or a link. */
function cutProse(source: string, limit: number): Cut {
  const plain = plainParts(source);
  const at =
    lastMatch(SENTENCE_END, source, plain, limit) ??
    lastMatch(SPACE, source, plain, limit) ??
    lastMatch(SPACE, source, [[0, source.length]], limit) ??
    safe(source, limit);
  return { at, carry: "" };
}

/** The ranges of a source that are neither emphasis nor code nor link. */
function plainParts(source: string): [start: number, end: number][] {
  const parts: [number, number][] = [];
  let start = 0;
  for (const token of inlineTokens(source)) {
    const end = start + token.raw.length;
    if (token.type === "text") {
      parts.push([start, end]);
    }
    start = end;
  }
  return parts;
}

function inlineTokens(source: string): Token[] {
  try {
    return new Lexer({ gfm: true }).inlineTokens(source);
  } catch {
    return [];
  }
}

/** Return the end of the last match up to the limit that isn't in the first half of it, if there is one. */
function lastMatch(
  pattern: RegExp,
  source: string,
  parts: readonly (readonly [number, number])[],
  limit: number,
): number | null {
  let found: number | null = null;
  for (const [start, end] of parts) {
    for (const match of source.slice(start, end).matchAll(pattern)) {
      const at = start + match.index + match[0].length;
      if (at > limit / 2 && at <= limit && at < source.length) {
        found = at;
      }
    }
  }
  return found;
}

/** The nearest offset before `at` that doesn't cut a character or an emoji in two. */
function safe(source: string, at: number): number {
  for (let offset = at; offset > at - 40; offset -= 1) {
    const following = String.fromCodePoint(source.codePointAt(offset) ?? 0);
    const preceding = source.charAt(offset - 1);
    const inside = /[\udc00-\udfff]/.test(source.charAt(offset)) && /[\ud800-\udbff]/.test(preceding);
    if (!inside && !JOINED.test(following) && preceding !== "\u200d") {
      return offset;
    }
  }
  return at;
}

/** The line that opened a code block which isn't closed yet, or nothing. */
function openFence(text: string): string {
  let opening = "";
  let fence = "";
  for (const line of text.split("\n")) {
    const found = INNER_FENCE.exec(line)?.[1];
    if (found === undefined) {
      continue;
    }
    if (opening === "") {
      opening = `${line}\n`;
      fence = found;
    } else if (found.startsWith(fence)) {
      opening = "";
    }
  }
  return opening;
}
