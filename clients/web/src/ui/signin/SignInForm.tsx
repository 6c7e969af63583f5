import { type SyntheticEvent, useEffect, useRef, useState } from "react";
import type { Auth } from "../../auth/auth";
import type { Config } from "../../config";
import { type Failure, failureOf } from "../../errors";
import { adviceOn } from "../words/advice";
import styles from "./SignInForm.module.css";

interface SignInFormProps {
  readonly config: Config;
  readonly auth: Auth;
  readonly expired: boolean;
}

/** Sign in by SRP. The fields are filled in where the configuration names a user, which only a local one does. */
export function SignInForm({ config, auth, expired }: SignInFormProps) {
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  const form = useRef<HTMLFormElement>(null);
  const password = useRef<HTMLInputElement>(null);

  // Where there is something to do first: an empty field, else the button.
  useEffect(() => {
    form.current?.querySelector<HTMLElement>('input[value=""], button')?.focus();
  }, []);

  async function submit(event: SyntheticEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault();
    if (busy) return;
    const fields = new FormData(event.currentTarget);
    setBusy(true);
    setFailure(null);
    try {
      await auth.signIn(text(fields, "username").trim(), text(fields, "password"));
    } catch (error) {
      setFailure(failureOf(error));
      password.current?.focus();
    } finally {
      setBusy(false);
    }
  }

  return (
    <main className={styles.page}>
      <form ref={form} className={styles.form} onSubmit={(event) => void submit(event)} aria-labelledby="sign-in-title">
        <h1 id="sign-in-title">tokenstream</h1>
        <p>Tokens of a language model, over every way that AWS has for them. Sign in to watch them side by side.</p>
        <div role="alert">
          {failure ? (
            <p className="error">
              {failure.message} {adviceOn(failure)}
            </p>
          ) : expired ? (
            <p className="error">Your session has expired. Sign in again to go on.</p>
          ) : null}
        </div>
        <label htmlFor="username">User name</label>
        <input
          id="username"
          name="username"
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          required
          defaultValue={config.username ?? ""}
        />
        <label htmlFor="password">Password</label>
        <input
          ref={password}
          id="password"
          name="password"
          type="password"
          autoComplete="current-password"
          required
          defaultValue={config.password ?? ""}
        />
        {config.password !== undefined && <p className="hint">This is a local stack: its user is filled in.</p>}
        <button type="submit" className="primary" aria-disabled={busy}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
        {config.stackName !== undefined && <p className="hint">Stack: {config.stackName}</p>}
      </form>
    </main>
  );
}

function text(fields: FormData, name: string): string {
  const value = fields.get(name);
  return typeof value === "string" ? value : "";
}
