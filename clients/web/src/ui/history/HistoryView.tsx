import { useState } from "react";
import type { History, HistoryEntry } from "../../history";
import type { WayId } from "../../ways";
import { COLUMNS } from "../figures/columns";
import figures from "../figures/Figures.module.css";
import { Scroller } from "../Scroller";
import { tabId } from "../tabs/Tabs";
import { useStore } from "../useStore";
import { timeOfDay } from "../words/amounts";
import { WAY_NAMES } from "../words/wayNames";
import { summariesOf } from "./comparison";
import styles from "./History.module.css";

const STATUS_NAMES: Readonly<Record<HistoryEntry["status"], string>> = {
  done: "complete",
  cancelled: "stopped",
  failed: "failed",
};

/** The runs of before: what is typical of each way, and each of them. */
export function HistoryView({ history }: { readonly history: History }) {
  const entries = useStore(history);
  const [wayId, setWayId] = useState<WayId | "all">("all");
  if (entries.length === 0) {
    return (
      <div className={styles.history}>
        <h2>History</h2>
        <p>No runs yet. Every answer that ends, on whatever way, is listed here with its figures.</p>
      </div>
    );
  }
  const summaries = summariesOf(entries, COLUMNS);
  const shown = entries.filter((entry) => wayId === "all" || entry.wayId === wayId);
  return (
    <div className={styles.history}>
      <h2>Typical of each way</h2>
      <p className="hint">The median of each figure over the answers that got to their end.</p>
      <Scroller className={figures.scroller} label="Medians by way">
        <table className={figures.table}>
          <thead>
            <tr>
              <th scope="col">Way</th>
              <th scope="col">Complete</th>
              <th scope="col">Failed</th>
              <Headings />
            </tr>
          </thead>
          <tbody>
            {summaries.map((summary) => (
              <tr key={summary.wayId} data-way={summary.wayId}>
                <th scope="row" className={figures.way}>
                  {WAY_NAMES[summary.wayId]}
                </th>
                <td>{summary.runs}</td>
                <td>{summary.failed}</td>
                {COLUMNS.map(({ id, text }) => (
                  <td key={id}>{summary.runs === 0 ? "–" : text(summary.medians.get(id) ?? null)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </Scroller>
      <h2>Runs</h2>
      <p className={styles.actions}>
        <label>
          Way{" "}
          <select
            value={wayId}
            onChange={({ target }) => {
              setWayId(target.value as WayId | "all");
            }}
          >
            <option value="all">all</option>
            {summaries.map((summary) => (
              <option key={summary.wayId} value={summary.wayId}>
                {WAY_NAMES[summary.wayId]}
              </option>
            ))}
          </select>
        </label>
        <button
          type="button"
          onClick={() => {
            setWayId("all");
            history.clear();
            // This button goes.
            document.getElementById(tabId("history"))?.focus();
          }}
        >
          Clear the history
        </button>
      </p>
      <Scroller className={figures.scroller} label="Runs">
        <table className={figures.table}>
          <thead>
            <tr>
              <th scope="col">Way</th>
              <th scope="col">Begun</th>
              <th scope="col">End</th>
              <Headings />
              <th scope="col">Prompt and answer</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((entry, index) => (
              <Run key={entry.id} entry={entry} first={entry.group !== shown[index - 1]?.group} />
            ))}
          </tbody>
        </table>
      </Scroller>
      <details>
        <summary>What the figures mean</summary>
        <dl className={styles.meanings}>
          {COLUMNS.map(({ id, label, meaning }) => (
            <div key={id}>
              <dt>{label}</dt>
              <dd>{meaning}</dd>
            </div>
          ))}
        </dl>
      </details>
    </div>
  );
}

function Headings() {
  return COLUMNS.map(({ id, label, meaning }) => (
    <th key={id} scope="col" title={meaning}>
      {label}
    </th>
  ));
}

/** `first` of those that were begun together, which stand below each other. */
function Run({ entry, first }: { readonly entry: HistoryEntry; readonly first: boolean }) {
  const { wayId, startedAt, status, failureCode, texts } = entry;
  return (
    <tr data-way={wayId} className={first ? styles.first : undefined}>
      <th scope="row" className={figures.way}>
        {WAY_NAMES[wayId]}
      </th>
      <td>{timeOfDay(startedAt)}</td>
      <td>{failureCode === null ? STATUS_NAMES[status] : `${STATUS_NAMES[status]}: ${failureCode}`}</td>
      {COLUMNS.map(({ id, value, text }) => (
        <td key={id}>{text(value(entry))}</td>
      ))}
      <td>{texts ? <Texts texts={texts} /> : <span className="hint">not kept</span>}</td>
    </tr>
  );
}

function Texts({ texts }: { readonly texts: NonNullable<HistoryEntry["texts"]> }) {
  const [open, setOpen] = useState(false);
  return (
    <details
      className={styles.texts}
      onToggle={(event) => {
        setOpen(event.currentTarget.open);
      }}
    >
      <summary>Show</summary>
      {open && (
        <>
          <p className={styles.text}>{texts.prompt}</p>
          <p className={styles.text}>{texts.answer}</p>
        </>
      )}
    </details>
  );
}
