import { adviceOn } from "../words/advice";
import { SignInForm } from "../signin/SignInForm";
import { useStore } from "../useStore";
import { ErrorBoundary } from "./ErrorBoundary";
import { Notice } from "./Notice";
import styles from "./Notice.module.css";
import type { PageSession } from "./session";
import { Workspace } from "./Workspace";

/** The whole page: what is shown at each stage of the way to a signed-in user. */
export function App({ session }: { readonly session: PageSession }) {
  return (
    <ErrorBoundary fallback={<Broken />}>
      <Stages session={session} />
    </ErrorBoundary>
  );
}

function Stages({ session }: { readonly session: PageSession }) {
  const stage = useStore(session);
  switch (stage.name) {
    case "loading":
      return <Waiting words="Reading where the stack is…" />;
    case "restoring":
      return <Waiting words="Looking whether you are signed in…" />;
    case "failed":
      return (
        <Notice title="This page can't start" action={{ label: "Try again", run: () => void session.begin() }}>
          <p>
            {stage.failure.message} {adviceOn(stage.failure)}
          </p>
        </Notice>
      );
    case "signIn":
      return <SignInForm config={stage.config} auth={stage.auth} expired={stage.expired} />;
    case "desk":
      return <Workspace desk={stage.desk} username={stage.username} />;
  }
}

function Waiting({ words }: { readonly words: string }) {
  return (
    <main className={styles.notice}>
      <p role="status">{words}</p>
    </main>
  );
}

function Broken() {
  return (
    <Notice
      title="This page has failed"
      action={{
        label: "Reload the page",
        run: () => {
          window.location.reload();
        },
      }}
    >
      <p>This is a defect of the page itself. Reload it; the browser&rsquo;s console says more.</p>
    </Notice>
  );
}
