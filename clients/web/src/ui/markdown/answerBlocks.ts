/**
 * Splits an answer that is still coming into blocks of Markdown, so that a page renders each finished block once.
 *
 * Only the last block changes while text is appended, and it is never longer than about `LIVE_LIMIT` characters
 * (a single list item: `ITEM_LIMIT`): a longer paragraph, list, table or code block is cut and goes on in a block of
 * its own. The work for a piece of text therefore doesn't grow with the answer. Pure but for its own state.
 */

import { Lexer, type Token } from "marked";
import { type Cut, cutOf } from "./cut";

/** From this length on the last block is cut where it can be. */
export const LIVE_LIMIT = 3000;

/** A list item isn't cut before it has this length: what is nested in it would come apart. */
export const ITEM_LIMIT = 8000;

/** Blocks on a page: what React has to compare for each change is one page and the list of pages. */
const PAGE_SIZE = 32;

/** Appended at most at once, so that an answer that comes whole isn't read as one block. */
const STEP = 1000;

export interface Block {
  readonly key: number;
  /** What the block needs before its text to be read alone: the fence of a code block that was cut, say. */
  readonly carry: string;
  /** The block's own part of the answer; the texts of all blocks in a row are the answer, to the character. */
  readonly text: string;
  /** Whether it goes on with what the block before it began. */
  readonly continues: boolean;
}

export type Page = readonly Block[];

export class AnswerBlocks {
  #pages: readonly Page[] = [];
  #page: Block[] = [];
  #live: Block = { key: 0, carry: "", text: "", continues: false };
  #shown: readonly Page[] | null = null;
  /** Up to where the live block's lines have been read, and from which length on it is to be cut. */
  #read = 0;
  #cutFrom = LIVE_LIMIT;

  /** All blocks, the last one perhaps unfinished. Pages that didn't change keep their identity. */
  get pages(): readonly Page[] {
    this.#shown ??= this.#show();
    return this.#shown;
  }

  #show(): readonly Page[] {
    const last = this.#live.text === "" ? [...this.#page] : [...this.#page, this.#live];
    return last.length === 0 ? this.#pages : [...this.#pages, last];
  }

  append(text: string): void {
    // Carriage returns mean nothing in Markdown but as part of a line's end, which may be cut in two.
    const plain = text.replaceAll("\r", "");
    this.#shown = null;
    for (let start = 0; start < plain.length; start += STEP) {
      this.#live = { ...this.#live, text: this.#live.text + plain.slice(start, start + STEP) };
      this.#settle();
    }
  }

  #settle(): void {
    const { carry, text } = this.#live;
    // An unfinished line may yet turn into anything: it decides nothing.
    const complete = text.lastIndexOf("\n") + 1;
    const tokens = complete > this.#read ? blockTokens(carry + text.slice(0, complete)) : [];
    this.#read = complete;
    const last = tokens.findLastIndex((token) => token.type !== "space");
    let end = -carry.length;
    let before = 0;
    for (const [index, token] of tokens.slice(0, Math.max(last, 0)).entries()) {
      end += token.raw.length;
      // The blank lines behind a block are its own.
      if (tokens[index + 1]?.type !== "space" && end >= before) {
        this.#finish(end - before);
        before = end;
      }
    }
    this.#shorten();
  }

  #shorten(): void {
    while (this.#live.text.length > this.#cutFrom) {
      const source = this.#live.carry + this.#live.text;
      const cut = cutOf(source, blockTokens(source)[0], LIVE_LIMIT, ITEM_LIMIT);
      if (cut === null) {
        this.#cutFrom += STEP;
        return;
      }
      this.#finish(cut.at - this.#live.carry.length, cut);
    }
  }

  /** Make the first characters of the live block a block of their own. */
  #finish(length: number, cut?: Cut): void {
    const { key, carry, text, continues } = this.#live;
    if (length > 0) {
      this.#page.push({ key, carry, text: text.slice(0, length), continues });
    }
    this.#live = { key: key + 1, carry: cut?.carry ?? "", text: text.slice(length), continues: cut !== undefined };
    this.#read = Math.max(0, this.#read - length);
    this.#cutFrom = LIVE_LIMIT;
    if (this.#page.length >= PAGE_SIZE) {
      this.#pages = [...this.#pages, this.#page];
      this.#page = [];
    }
  }
}

/** Read a text's blocks, not what is in them; a text that is nested too deeply to be read is one block. */
function blockTokens(source: string): Token[] {
  try {
    return new Lexer({ gfm: true }).blockTokens(source);
  } catch {
    return [{ type: "text", raw: source, text: source }];
  }
}
