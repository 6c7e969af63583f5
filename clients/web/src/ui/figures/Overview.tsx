import { type ReactNode, useMemo } from "react";
import { TokensChart } from "../chart/TokensChart";
import type { Lane } from "../run/lane";
import { Scroller } from "../Scroller";
import { useStore } from "../useStore";
import { statusWords } from "../words/statusWords";
import { WAY_NAMES } from "../words/wayNames";
import { COLUMNS } from "./columns";
import { combinedStore } from "./combinedStore";
import styles from "./Figures.module.css";

interface OverviewProps {
  readonly lanes: readonly Lane[];
  /** The answers themselves. */
  readonly children: ReactNode;
}

/** Runs side by side: one picture of all above them, one table below. */
export function Overview({ lanes, children }: OverviewProps) {
  const snapshots = useStore(useMemo(() => combinedStore(lanes.map(({ sampled }) => sampled)), [lanes]));
  return (
    <>
      <TokensChart snapshots={snapshots} />
      {children}
      <Scroller className={styles.scroller} label="Figures of all ways">
        <table className={styles.table}>
          <caption className="visually-hidden">Figures of all ways</caption>
          <thead>
            <tr>
              <th scope="col">Way</th>
              {COLUMNS.map(({ id, label, meaning }) => (
                <th key={id} scope="col" title={meaning}>
                  {label}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {snapshots.map((snapshot) => (
              <tr key={snapshot.id} data-way={snapshot.way.id}>
                <th scope="row" className={styles.way} title={statusWords(snapshot).words}>
                  {WAY_NAMES[snapshot.way.id]}
                </th>
                {COLUMNS.map(({ id, value, text }) => (
                  <td key={id} data-figure={id}>
                    {text(value(snapshot))}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </Scroller>
    </>
  );
}
