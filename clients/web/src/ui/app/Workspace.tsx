import { useRef } from "react";
import { ConversationView } from "../conversation/ConversationView";
import { HistoryView } from "../history/HistoryView";
import { SettingsDialog } from "../settings/SettingsDialog";
import { panelId, type Tab, tabId, Tabs } from "../tabs/Tabs";
import { useStore } from "../useStore";
import { WAY_NAMES } from "../words/wayNames";
import { closeDesk, type Desk, type View } from "./desk";
import { LiveRegion } from "./LiveRegion";
import { OfflineBanner } from "./OfflineBanner";
import styles from "./Workspace.module.css";

/** What a signed-in user has before them. */
export function Workspace({ desk, username }: { readonly desk: Desk; readonly username: string }) {
  const settings = useRef<HTMLDialogElement>(null);
  const view = useStore(desk.view);
  const open = (next: View): void => {
    desk.view.set(next);
  };

  function signOut(): void {
    // While there is a token: the server is still told to stop.
    closeDesk(desk);
    void desk.auth.signOut();
  }

  return (
    <div className={styles.page}>
      <header className={styles.header}>
        <h1>tokenstream</h1>
        {desk.config.stackName !== undefined && <span className={styles.stack}>{desk.config.stackName}</span>}
        <span className={styles.user}>{username}</span>
        <button type="button" onClick={() => settings.current?.showModal()}>
          Settings
        </button>
        <button type="button" onClick={signOut}>
          Sign out
        </button>
      </header>
      <main className={styles.main}>
        <ViewTabs desk={desk} view={view} onOpen={open} />
        <OfflineBanner />
        <div className={styles.panel} id={panelId(view)} role="tabpanel" aria-labelledby={tabId(view)}>
          {view === "history" ? (
            <HistoryView history={desk.history} />
          ) : (
            // Each tab's is one of its own: what is scrolled in one isn't in the other.
            <ConversationView key={view} desk={desk} tab={view} />
          )}
        </div>
      </main>
      <SettingsDialog ref={settings} settings={desk.settings} ways={desk.ways} />
      <LiveRegion announcer={desk.announcer} />
    </div>
  );
}

interface ViewTabsProps {
  readonly desk: Desk;
  readonly view: View;
  readonly onOpen: (view: View) => void;
}

function ViewTabs({ desk, view, onOpen }: ViewTabsProps) {
  const conversations = useStore(desk.conversations);
  const tab = (id: View, label: string): Tab<View> => ({
    id,
    label,
    note: id !== "history" && conversations[id]?.running === true ? "running" : undefined,
  });
  const tabs = [
    tab("all", "Side by side"),
    ...desk.ways.map(({ id }) => tab(id, WAY_NAMES[id])),
    tab("history", "History"),
  ];
  return <Tabs label="Ways and history" tabs={tabs} selected={view} onSelect={onOpen} />;
}
