import type { RefObject } from "react";
import type { Way } from "../../ways";
import { useStore } from "../useStore";
import { WAY_NAMES } from "../words/wayNames";
import type { SettingsStore } from "./settings";
import styles from "./SettingsDialog.module.css";

interface SettingsDialogProps {
  readonly ref: RefObject<HTMLDialogElement | null>;
  readonly settings: SettingsStore;
  readonly ways: readonly Way[];
}

/** What holds for the next answers; each change at once. The browser keeps the focus inside and gives it back. */
export function SettingsDialog({ ref, settings, ways }: SettingsDialogProps) {
  const { model, maxTokens, system, sideBySide, plainText } = useStore(settings);
  return (
    <dialog ref={ref} className={styles.dialog} aria-labelledby="settings-title">
      <form method="dialog" className={styles.form}>
        <h2 id="settings-title">Settings</h2>
        <label htmlFor="model">Model</label>
        <input
          id="model"
          value={model}
          placeholder="The stack's default"
          spellCheck={false}
          autoCapitalize="none"
          aria-describedby="model-hint"
          onChange={(event) => {
            settings.change({ model: event.target.value });
          }}
        />
        <p id="model-hint" className="hint">
          The id of a model or an inference profile that the stack allows, for instance global.amazon.nova-2-lite-v1:0.
        </p>
        <label htmlFor="max-tokens">Max tokens</label>
        <input
          id="max-tokens"
          type="number"
          min={1}
          step={1}
          inputMode="numeric"
          placeholder="The stack's default"
          value={maxTokens ?? ""}
          onChange={({ target }) => {
            settings.change({ maxTokens: target.valueAsNumber >= 1 ? Math.floor(target.valueAsNumber) : null });
          }}
        />
        <label htmlFor="system">System prompt</label>
        <textarea
          id="system"
          rows={3}
          value={system}
          onChange={(event) => {
            settings.change({ system: event.target.value });
          }}
        />
        <fieldset>
          <legend>Side by side: ways and deliveries</legend>
          {ways.map(({ id }) => (
            <label key={id} className={styles.choice}>
              <input
                type="checkbox"
                checked={sideBySide.includes(id)}
                onChange={({ target }) => {
                  const chosen = ways
                    .map((way) => way.id)
                    .filter((way) => (way === id ? target.checked : sideBySide.includes(way)));
                  settings.change({ sideBySide: chosen });
                }}
              />
              {WAY_NAMES[id]}
            </label>
          ))}
        </fieldset>
        <label className={styles.choice}>
          <input
            type="checkbox"
            checked={plainText}
            onChange={({ target }) => {
              settings.change({ plainText: target.checked });
            }}
          />
          Show answers as plain text, not as Markdown
        </label>
        <button type="submit" className="primary">
          Close
        </button>
      </form>
    </dialog>
  );
}
