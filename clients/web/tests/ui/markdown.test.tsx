import { cleanup, render, screen } from "@testing-library/react";
import { Lexer } from "marked";
import { afterEach, describe, expect, test, vi } from "vitest";
import { AnswerBlocks } from "../../src/ui/markdown/answerBlocks";
import { MarkdownAnswer } from "../../src/ui/markdown/MarkdownAnswer";
import { oneBlock, ORDINARY } from "./answers";

afterEach(cleanup);

function show(text: string): HTMLElement {
  const blocks = new AnswerBlocks();
  blocks.append(text);
  return render(<MarkdownAnswer pages={blocks.pages} />).container;
}

/** What a model could write to do harm. */
const HOSTILE: readonly string[] = [
  "<script>alert(1)</script>",
  "text <script src=https://evil.example/x.js></script> text",
  '<img src="x" onerror="alert(1)">',
  '<iframe src="https://evil.example"></iframe>',
  "<svg onload=alert(1)>",
  '<a href="javascript:alert(1)">click</a>',
  '<form action="https://evil.example"><input name=password></form>',
  "<style>* { display: none }</style>",
  "<details open ontoggle=alert(1)>",
  "[click](javascript:alert(1))",
  "[click](JaVaScRiPt:alert(1))",
  "[click](\u0001javascript:alert(1))",
  "[click](java&#115;cript:alert(1))",
  "[click](data:text/html,<script>alert(1)</script>)",
  "[click](vbscript:x)",
  "[click](file:///etc/passwd)",
  "[click](//evil.example)",
  "<javascript:alert(1)>",
  "![huge](https://evil.example/100000x100000.png)",
  "![](javascript:alert(1))",
  '[x](https://a.example "onmouseover=alert(1)")',
  '[x](https://a.example/"onmouseover="alert(1))',
  "[click][1]\n\n[1]: javascript:alert(1)",
  "&lt;script&gt;alert(1)&lt;/script&gt;",
  "`<script>alert(1)</script>`",
  "```html\n<script>alert(1)</script>\n```",
  "| <script>alert(1)</script> |\n|---|\n| ![x](https://evil.example/x.png) |",
];

const HARMLESS_ELEMENTS =
  "div,p,span,h4,h5,h6,ul,ol,li,blockquote,pre,code,table,thead,tbody,tr,th,td,hr,br,strong,em,del,a";

describe("an answer as Markdown", () => {
  test.each(HOSTILE)("can't do anything to the page or its user: %s", (text) => {
    const container = show(text);
    for (const element of container.querySelectorAll("*")) {
      expect(element.matches(HARMLESS_ELEMENTS), element.outerHTML).toBe(true);
      const allowed = /^(?:class|href|target|rel|role|aria-label|tabindex|start|scope)$/;
      for (const name of element.getAttributeNames()) expect(name).toMatch(allowed);
    }
    for (const link of container.querySelectorAll("a")) {
      expect(link.getAttribute("href")).toMatch(/^(?:https?|mailto):/);
      expect(link.getAttribute("rel")).toContain("noopener");
    }
  });

  test.each(HOSTILE.slice(0, 9))("shows HTML as the text that the model wrote: %s", (text) => {
    expect(show(text).textContent).toBe(text);
  });

  test("shows a link that leads nowhere good as it was written, with its address", () => {
    expect(show("[click](javascript:alert(1))").textContent).toBe("[click](javascript:alert(1))");
  });

  test("names an image and its address instead of loading it", () => {
    const container = show("![A map](https://maps.example/1.png)");
    expect(container.textContent).toBe("Image: A map (https://maps.example/1.png)");
    expect(screen.getByRole("link").getAttribute("href")).toBe("https://maps.example/1.png");
  });

  test("has lists, tables, code, quotes and headings below the page's own", () => {
    const container = show(Object.values(ORDINARY).join("\n\n"));
    for (const kind of ["ol > li ul", "table td", "pre code", "blockquote p", "h4", "strong", "em", "a", "hr"]) {
      expect(container.querySelector(kind), kind).not.toBeNull();
    }
    expect(container.querySelector("h1, h2, h3")).toBeNull();
  });

  test("shows code to the character", () => {
    expect(show("```py\nif a < b && c:\n\n    &amp; = '\\n'\n```").querySelector("code")?.textContent).toBe(
      "if a < b && c:\n\n    &amp; = '\\n'",
    );
  });

  test("writes character references and escapes as what they stand for", () => {
    expect(show("a &amp; b &lt;c&gt; &#8212; &#x2014; \\*d\\* &nonsense;").textContent).toBe(
      "a & b <c> — — *d* &nonsense;",
    );
  });

  test("numbers a list on where it was cut", () => {
    const items = Array.from({ length: 200 }, (_, index) => `${index + 1}. ${"word ".repeat(10)}`).join("\n");
    const container = show(items);
    const lists = [...container.querySelectorAll("ol")];
    expect(lists.length).toBeGreaterThan(1);
    let next = 1;
    for (const list of lists) {
      expect(Number(list.getAttribute("start"))).toBe(next);
      next += list.children.length;
    }
    expect(next).toBe(201);
  });

  test.each(Object.entries(ORDINARY))(
    "looks the same whether it came at once or a character at a time: %s",
    (_, text) => {
      const whole = show(text).innerHTML;
      cleanup();
      const blocks = new AnswerBlocks();
      const { container, rerender } = render(<MarkdownAnswer pages={blocks.pages} />);
      for (const character of text) {
        blocks.append(character);
        rerender(<MarkdownAnswer pages={blocks.pages} />);
      }
      expect(container.innerHTML).toBe(whole);
    },
  );

  test("renders with each piece of text only the block that it belongs to, however long the answer is", () => {
    const lex = vi.spyOn(Lexer.prototype, "lex");
    const blocks = new AnswerBlocks();
    const { rerender } = render(<MarkdownAnswer pages={blocks.pages} />);
    let most = 0;
    for (let piece = 0; piece < 300; piece += 1) {
      blocks.append(`Piece ${piece} of it.\n\nAnother `);
      lex.mockClear();
      rerender(<MarkdownAnswer pages={blocks.pages} />);
      most = Math.max(most, lex.mock.calls.length);
    }
    expect(blocks.pages.flat()).toHaveLength(300);
    expect(most).toBe(2);
  });

  test.each(Object.entries(oneBlock(10_000)))("survives what nobody should write: %s", (_, text) => {
    expect(show(text).textContent.trim() === "").toBe(text.trim() === "");
  });
});
