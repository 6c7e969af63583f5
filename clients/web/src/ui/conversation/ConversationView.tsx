import { useCallback, useEffect, useRef } from "react";
import type { Way } from "../../ways";
import type { Desk } from "../app/desk";
import { PromptForm } from "../prompt/PromptForm";
import type { Lane } from "../run/lane";
import { useFollowEnd } from "../run/useFollowEnd";
import { Scroller } from "../Scroller";
import { useStore } from "../useStore";
import { describeWay, WAY_NAMES } from "../words/wayNames";
import { NO_CONVERSATION, type TabId } from "./conversations";
import styles from "./Conversation.module.css";
import { TurnView } from "./TurnView";

/** A tab's conversation: its turns, and the prompt below them. */
export function ConversationView({ desk, tab }: { readonly desk: Desk; readonly tab: TabId }) {
  const { conversations, announcer } = desk;
  const { turns, running } = useStore(conversations)[tab] ?? NO_CONVERSATION;
  const { plainText, sideBySide } = useStore(desk.settings);
  const scroller = useRef<HTMLDivElement>(null);
  // Side by side each answer scrolls by itself: what is wanted in sight is where the turn begins.
  useFollowEnd(scroller, tab === "all" ? null : turns.length);
  useEffect(() => {
    if (tab === "all") scroller.current?.lastElementChild?.scrollIntoView({ block: "start" });
  }, [tab, turns.length]);

  const askAgain = useCallback(
    (turnId: string, lane: Lane) => {
      conversations.askAgain(tab, turnId, lane);
    },
    [conversations, tab],
  );

  const ways = desk.ways.filter(({ id }) => (tab === "all" ? sideBySide.includes(id) : id === tab));
  return (
    <div className={styles.conversation}>
      <Scroller ref={scroller} className={styles.turns} label="Conversation">
        {turns.length === 0 ? (
          <Beginning tab={tab} ways={ways} />
        ) : (
          turns.map((turn, index) => (
            <TurnView
              key={turn.id}
              turn={turn}
              number={index + 1}
              plainText={plainText}
              askAgain={askAgain}
              announce={announcer.say}
            />
          ))
        )}
      </Scroller>
      <PromptForm
        draft={desk.draft}
        running={running}
        begun={turns.length > 0}
        obstacle={ways.length === 0 ? "No way is chosen to run side by side: choose some in the settings." : null}
        onAsk={(prompt) => {
          conversations.ask(tab, ways, prompt);
        }}
        onStop={() => {
          conversations.stop(tab);
        }}
        onRenew={() => {
          conversations.renew(tab);
        }}
      />
    </div>
  );
}

function Beginning({ tab, ways }: { readonly tab: TabId; readonly ways: readonly Way[] }) {
  return (
    <div className={styles.beginning}>
      <h2>{tab === "all" ? "The same prompt on every way" : WAY_NAMES[tab]}</h2>
      <ul>
        {ways.map(({ id, path, delivery }) => (
          <li key={id} data-way={id}>
            <strong>{WAY_NAMES[id]}</strong>: {describeWay(path, delivery)}
          </li>
        ))}
      </ul>
    </div>
  );
}
