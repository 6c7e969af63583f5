import type { ReactNode } from "react";
import styles from "./Notice.module.css";

interface NoticeProps {
  readonly title: string;
  readonly children: ReactNode;
  readonly action?: { readonly label: string; readonly run: () => void };
}

/** A page that has nothing to show but why, and what to do. */
export function Notice({ title, children, action }: NoticeProps) {
  return (
    <main className={styles.notice}>
      <h1>{title}</h1>
      <div role="alert">{children}</div>
      {action && (
        <button type="button" className="primary" onClick={action.run}>
          {action.label}
        </button>
      )}
    </main>
  );
}
