import { memo } from "react";
import type { Store } from "../../store";
import type { Page } from "../markdown/answerBlocks";
import { MarkdownAnswer } from "../markdown/MarkdownAnswer";
import { useStore } from "../useStore";
import styles from "./Lane.module.css";

/** An answer as Markdown. Of the page only this is rendered again with every piece of text, at most once a frame. */
export function AnswerText({ answer }: { readonly answer: Store<readonly Page[]> }) {
  return <MarkdownAnswer pages={useStore(answer)} />;
}

/** A text as it was written, to the character. */
export function PlainText({ text }: { readonly text: Store<readonly Page[]> }) {
  return (
    <div className={styles.plain}>
      {useStore(text).map((page, index) => (
        // Pages are only ever appended.
        <PlainPage key={index} page={page} />
      ))}
    </div>
  );
}

const PlainPage = memo(function PlainPage({ page }: { readonly page: Page }) {
  return page.map(({ key, text }) => <span key={key}>{text}</span>);
});
