import { COLUMNS, type Measured } from "./columns";
import styles from "./Figures.module.css";

/** One run's figures. */
export function FigureList({ snapshot }: { readonly snapshot: Measured }) {
  return (
    <dl className={styles.list} aria-label="Figures">
      {COLUMNS.map(({ id, label, meaning, value, text }) => (
        <div key={id} title={meaning} data-figure={id}>
          <dt>{label}</dt>
          <dd>{text(value(snapshot))}</dd>
        </div>
      ))}
    </dl>
  );
}
