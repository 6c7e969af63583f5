import { expect, it } from "vitest";

import { ProtocolError } from "../../src/errors";
import { NdjsonDecoder } from "../../src/transports/ndjson";

const utf8 = new TextEncoder();

it("lines cut anywhere, within a character too, come out whole", () => {
  const text = '{"token":"é🌁"}\n\n  \n{"token":"b\u2028"}\n';
  const data = utf8.encode(text);
  for (let cut = 0; cut <= data.length; cut += 1) {
    const decoder = new NdjsonDecoder();
    const lines = [...decoder.feed(data.subarray(0, cut)), ...decoder.feed(data.subarray(cut))];
    expect(lines.map(({ message }) => message.token)).toEqual(["é🌁", "b\u2028"]);
  }
});

it("a line's bytes are those on the wire", () => {
  const [line] = new NdjsonDecoder().feed(utf8.encode('{"a":"é"}\n'));
  expect(line?.bytes).toBe(11);
});

it("a last line that was cut off is not given out", () => {
  expect(new NdjsonDecoder().feed(utf8.encode('{"token":"a"}'))).toEqual([]);
});

it("a line without an end doesn't fill the memory", () => {
  const decoder = new NdjsonDecoder(10);
  decoder.feed(utf8.encode("12345"));
  expect(() => decoder.feed(utf8.encode("678901"))).toThrow(ProtocolError);
});
