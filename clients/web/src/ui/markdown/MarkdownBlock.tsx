import { Lexer, type Token } from "marked";
import { memo } from "react";
import { classes } from "../classes";
import { elementsOf } from "./elements";
import styles from "./Markdown.module.css";

interface MarkdownBlockProps {
  readonly source: string;
  readonly continues: boolean;
}

/** One block of an answer; rendered anew only when its text has changed. */
export const MarkdownBlock = memo(function MarkdownBlock({ source, continues }: MarkdownBlockProps) {
  return <div className={classes(styles.block, continues && styles.continues)}>{elementsOf(tokensOf(source))}</div>;
});

function tokensOf(source: string): Token[] {
  try {
    return new Lexer({ gfm: true }).lex(source);
  } catch {
    // Nested too deeply to be read: then it is shown as it was written.
    return [{ type: "html", raw: source, text: source }];
  }
}
