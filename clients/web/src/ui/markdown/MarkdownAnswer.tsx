import { memo } from "react";
import type { Page } from "./answerBlocks";
import { MarkdownBlock } from "./MarkdownBlock";
import styles from "./Markdown.module.css";

interface MarkdownAnswerProps {
  readonly pages: readonly Page[];
}

/** An answer, finished or not. Of all its blocks React looks only at those on the last page. */
export function MarkdownAnswer({ pages }: MarkdownAnswerProps) {
  return (
    <div className={styles.answer}>
      {pages.map((page, index) => (
        // Pages are only ever appended.
        <MarkdownPage key={index} page={page} />
      ))}
    </div>
  );
}

const MarkdownPage = memo(function MarkdownPage({ page }: { readonly page: Page }) {
  return (
    <div className={styles.page}>
      {page.map(({ key, carry, text, continues }) => (
        <MarkdownBlock key={key} source={carry + text} continues={continues} />
      ))}
    </div>
  );
});
