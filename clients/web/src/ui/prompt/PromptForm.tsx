import { type KeyboardEvent, type SyntheticEvent, useEffect, useRef } from "react";
import { useStore } from "../useStore";
import type { Value } from "../value";
import styles from "./PromptForm.module.css";

interface PromptFormProps {
  readonly draft: Value<string>;
  readonly running: boolean;
  /** Whether the conversation has a turn. */
  readonly begun: boolean;
  /** Why nothing can be asked now. */
  readonly obstacle: string | null;
  readonly onAsk: (prompt: string) => void;
  readonly onStop: () => void;
  readonly onRenew: () => void;
}

/**
 * The prompt and what is done with it. Buttons that can do nothing now stay where they are and say so: a keyboard's
 * focus isn't lost when an answer ends.
 */
export function PromptForm({ draft, running, begun, obstacle, onAsk, onStop, onRenew }: PromptFormProps) {
  const prompt = useStore(draft);
  const field = useRef<HTMLTextAreaElement>(null);
  const ready = !running && obstacle === null && prompt.trim() !== "";

  useEffect(() => {
    // After signing in, when nothing else has the focus: not when a tab is chosen with the keyboard.
    if (document.activeElement === document.body) field.current?.focus();
  }, []);

  function ask(): void {
    if (!ready) return;
    onAsk(prompt);
    draft.set("");
  }

  function onSubmit(event: SyntheticEvent): void {
    event.preventDefault();
    ask();
  }

  function onKeyDown(event: KeyboardEvent): void {
    // Enter also ends the composing of a character.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    ask();
  }

  return (
    <form className={styles.form} onSubmit={onSubmit}>
      <label htmlFor="prompt" className="visually-hidden">
        Prompt
      </label>
      <textarea
        ref={field}
        id="prompt"
        rows={2}
        placeholder={begun ? "Go on with the conversation" : "Ask the model something"}
        aria-describedby="prompt-hint"
        value={prompt}
        onChange={(event) => {
          draft.set(event.target.value);
        }}
        onKeyDown={onKeyDown}
      />
      <div className={styles.actions}>
        <button type="submit" className="primary" aria-disabled={!ready}>
          Send
        </button>
        <button
          type="button"
          aria-disabled={!running}
          onClick={() => {
            if (running) onStop();
          }}
        >
          Stop
        </button>
        <button
          type="button"
          aria-disabled={!begun}
          onClick={() => {
            if (!begun) return;
            onRenew();
            field.current?.focus();
          }}
        >
          New conversation
        </button>
        <p id="prompt-hint" className="hint">
          {obstacle ??
            (running ? "Answers are coming. Stop ends all of them." : "Enter sends, Shift+Enter is a new line.")}
        </p>
      </div>
    </form>
  );
}
