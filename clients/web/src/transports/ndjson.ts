/**
 * An incremental decoder of newline-delimited JSON: fed with bytes, gives objects.
 *
 * The client asks for NDJSON and not for server-sent events: every frame carries its own type and position, so the `id:`
 * and `event:` lines of an event stream would only repeat them; and `EventSource` can't send a header.
 */

import { ProtocolError } from "../errors";
import { decode, type JsonObject } from "../frames";

/** Bytes without a line's end after which the sender can't be tokenstream; its frames stay far below. */
const LINE_LIMIT = 1024 * 1024;

const NEWLINE = 0x0a;

/** A line's object, and its length with the newline. */
export interface Line {
  readonly message: JsonObject;
  readonly bytes: number;
}

/** Decodes one response. A last line without its newline was cut off and is never given out. */
export class NdjsonDecoder {
  readonly #utf8 = new TextDecoder();
  readonly #lineLimit: number;
  #parts: Uint8Array[] = [];
  #length = 0;

  constructor(lineLimit = LINE_LIMIT) {
    this.#lineLimit = lineLimit;
  }

  /** Take bytes in, cut anywhere; return what is now whole. Throws `ProtocolError`. */
  feed(data: Uint8Array): Line[] {
    const lines: Line[] = [];
    let begin = 0;
    for (let end = data.indexOf(NEWLINE); end !== -1; end = data.indexOf(NEWLINE, begin)) {
      this.#keep(data.subarray(begin, end));
      const text = this.#parts.map((part) => this.#utf8.decode(part, { stream: true })).join("") + this.#utf8.decode();
      if (text.trim() !== "") lines.push({ message: decode(text), bytes: this.#length + 1 });
      this.#parts = [];
      this.#length = 0;
      begin = end + 1;
    }
    this.#keep(data.subarray(begin));
    return lines;
  }

  #keep(part: Uint8Array): void {
    if (part.length === 0) return;
    this.#parts.push(part);
    this.#length += part.length;
    if (this.#length > this.#lineLimit) throw new ProtocolError("The server sends a line without an end.");
  }
}
