import type { ChunkedText, RunSnapshot } from "../../run/run";
import type { Store } from "../../store";
import { AnswerBlocks, type Page } from "../markdown/answerBlocks";

/**
 * A run's text as blocks of Markdown. It is read when somebody looks, from where it was left; of another attempt from
 * the beginning.
 */
export function answerStore(
  run: Store<RunSnapshot>,
  select: (snapshot: RunSnapshot) => ChunkedText,
): Store<readonly Page[]> {
  let chunks: readonly string[] | null = null;
  let read = 0;
  let blocks = new AnswerBlocks();

  function getSnapshot(): readonly Page[] {
    const text = select(run.getSnapshot());
    if (text.chunks !== chunks) {
      ({ chunks } = text);
      read = 0;
      blocks = new AnswerBlocks();
    }
    if (text.count > read) {
      blocks.append(text.chunks.slice(read, text.count).join(""));
      read = text.count;
    }
    return blocks.pages;
  }

  return { subscribe: run.subscribe, getSnapshot };
}
