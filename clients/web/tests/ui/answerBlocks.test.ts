import { describe, expect, test } from "vitest";
import { AnswerBlocks, type Block, ITEM_LIMIT, LIVE_LIMIT, type Page } from "../../src/ui/markdown/answerBlocks";
import { oneBlock, ORDINARY } from "./answers";

const LONG = oneBlock(20_000);

function inPieces(text: string, size: number): AnswerBlocks {
  const blocks = new AnswerBlocks();
  for (let start = 0; start < text.length; start += size) blocks.append(text.slice(start, start + size));
  return blocks;
}

function blocksOf({ pages }: AnswerBlocks): Block[] {
  return pages.flat();
}

describe("the blocks of an answer", () => {
  test.each(Object.entries({ ...ORDINARY, ...LONG }))("lose nothing and add nothing: %s", (_, text) => {
    const texts = blocksOf(inPieces(text, 70)).map((block) => block.text);
    expect(texts.join("")).toBe(text);
  });

  test.each(Object.entries(ORDINARY))("are the same however the text is cut on its way: %s", (_, text) => {
    const whole = blocksOf(inPieces(text, text.length));
    expect(blocksOf(inPieces(text, 1))).toEqual(whole);
    expect(blocksOf(inPieces(text, 5))).toEqual(whole);
  });

  test.each(Object.entries(LONG))(
    "don't let the one that is read with every token grow with the answer: %s",
    (_, text) => {
      const blocks = new AnswerBlocks();
      let longest = 0;
      for (let start = 0; start < text.length; start += 500) {
        blocks.append(text.slice(start, start + 500));
        const last = blocks.pages.at(-1)?.at(-1);
        longest = Math.max(longest, (last?.carry.length ?? 0) + (last?.text.length ?? 0));
      }
      expect(longest).toBeLessThanOrEqual(ITEM_LIMIT + 1000);
      expect(blocksOf(blocks).length).toBeGreaterThan(text.length / ITEM_LIMIT - 1);
    },
  );

  test("of prose are cut at the end of a sentence, so that no word falls apart", () => {
    const [first] = blocksOf(inPieces(LONG.paragraph ?? "", 13));
    expect(first?.text).toMatch(/question\. $/);
    expect(first?.text.length).toBeGreaterThan(LIVE_LIMIT / 2);
  });

  test("of prose are cut outside of emphasis, code and links, which would show their marks", () => {
    for (const { text } of blocksOf(inPieces(LONG["paragraph full of markup"] ?? "", 13)).slice(0, -1)) {
      expect(text).toMatch(/^(?:\*a\*|`b`|\[c\]|\*\*f).* $/s);
    }
  });

  test("don't tear an emoji apart", () => {
    for (const { text } of blocksOf(inPieces(LONG.emoji ?? "", 13)).slice(0, -1)) {
      expect(text).toMatch(/^(?:👩‍🚀)+$/u);
    }
  });

  test("of long code go on as code in the same language, of a long table with its heading", () => {
    const code = blocksOf(inPieces(LONG["code block"] ?? "", 100));
    expect(code.slice(1).every(({ carry, continues }) => carry === "```python\n" && continues)).toBe(true);
    const table = blocksOf(inPieces(LONG.table ?? "", 100));
    expect(table.slice(1).every(({ carry }) => carry === "| a | b |\n|---|---|\n")).toBe(true);
  });

  test("of long code in a list's item go on as code in an item", () => {
    const [, ...rest] = blocksOf(inPieces(LONG["code in a list"] ?? "", 100));
    expect(rest.length).toBeGreaterThan(0);
    expect(rest.every(({ carry }) => carry === "1.\n   ```py\n")).toBe(true);
  });

  test("that are finished stay the same objects, so that they aren't rendered again", () => {
    const blocks = new AnswerBlocks();
    blocks.append("paragraph\n\n".repeat(100));
    const before: readonly Page[] = blocks.pages;
    blocks.append("more");
    expect(before.length).toBeGreaterThan(2);
    expect(blocks.pages.slice(0, -1)).toEqual(before.slice(0, -1));
    for (const [index, page] of before.slice(0, -1).entries()) expect(blocks.pages[index]).toBe(page);
  });

  test("are the same object as long as nothing comes, or React would render for ever", () => {
    const blocks = new AnswerBlocks();
    blocks.append("a");
    expect(blocks.pages).toBe(blocks.pages);
  });

  test("keep a line's end that is cut in two: no empty line comes out of it", () => {
    const blocks = new AnswerBlocks();
    blocks.append("a\r");
    blocks.append("\nb\r\n");
    expect(blocksOf(blocks).map(({ text }) => text)).toEqual(["a\nb\n"]);
  });
});
