/** Answers as models write them, and such as nobody should. */

export const ORDINARY: Readonly<Record<string, string>> = {
  prose:
    "First paragraph, with *emphasis*, **weight**, `code` and a [link](https://example.org).\nStill the first.\n\nSecond.\n",
  headings: "# One\ntext\n\n## Two\n\nSetext\n======\n\nmore\n---\n\n***\n\nend",
  lists:
    "Steps:\n\n1. one\n2. two\n   - nested\n   - again\n\n     with a paragraph\n3. three\n\n- [x] done\n- [ ] open\n\ntext\n",
  "loose list": "- a\n\n- b\n\n- c\n\n10. ten\n\n11. eleven\n\nafter",
  code: "Look:\n\n```python\ndef f():\n\n    return 1\n\n\n# not a heading\n- not a list\n```\n\nand\n\n    indented\n\n    twice\n\nend",
  "code in a list": "1. run\n\n   ```sh\n   make run\n\n   make test\n   ```\n\n2. look\n",
  table: "| a | b |\n|---|:-:|\n| 1 | 2<br>3 |\n| **x** | `y|z` |\n\nbehind it\n",
  quote: "> said\n> twice\n\n> again\n\nnot said",
  html: "<div>\n\n**bold**\n\n</div>\n\na <b>c</b> &amp; &lt;d&gt; & e\n",
  references: "see [that][1]\n\n[1]: https://example.org\n\nend",
  "other scripts": "東京の朝 👩‍🚀 — مرحبا.\n\n* Ünïcödé\n* 🙂🌧️\n\n“quoted” …\n\n- ",
  unfinished: "text\n\n```js\nlet a = 1;\n",
};

const sentence = "The river remembers the shape of the question. ";
const repeated = (text: string, length: number): string => text.repeat(Math.ceil(length / text.length));

/** Each one block, of about so many characters. */
export const oneBlock = (length: number): Readonly<Record<string, string>> => ({
  paragraph: repeated(sentence, length),
  "paragraph full of markup": repeated("*a* `b` [c](https://d.example/e) **f _g_** ", length),
  "paragraph without spaces": repeated("東京の朝は早い", length),
  "one word": repeated("a", length),
  emoji: repeated("👩‍🚀", length),
  "code block": "```python\n" + repeated("print('a line of code')\n", length),
  "code block of one line": "```\n" + repeated("x = 1; ", length),
  list: repeated(`- ${sentence}\n`, length),
  "loose list": repeated(`- ${sentence}\n\n`, length),
  "nested list": "- outer\n" + repeated(`    - ${sentence}\n`, length),
  "list of one item": "- " + repeated(sentence, length),
  "code in a list": "1. look\n\n   ```py\n" + repeated("   print(1)\n", length),
  table: "| a | b |\n|---|---|\n" + repeated("| cell | another |\n", length),
  quote: repeated(`> ${sentence}\n`, length),
  "quote of one line": "> " + repeated(sentence, length),
  html: "<div>\n" + repeated("<b>bold</b>\n", length),
  "blank lines": repeated("\n", length),
  "deep quote": repeated("> ", length),
  "deep list": repeated("- a ", length) + repeated("1. ", length),
  brackets: repeated("[", length),
});
