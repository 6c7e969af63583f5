/** The conversations of the page, one for each of its tabs, and the runs in them. */

import type { Turn as RequestTurn, RunRequest } from "../../run/request";
import { isOver, type Run, type RunSnapshot, textOf } from "../../run/run";
import type { History } from "../../history";
import type { Stack } from "../../stack";
import type { Way, WayId } from "../../ways";
import { type Lane, laneOf } from "../run/lane";
import type { Settings } from "../settings/settings";
import { Value } from "../value";
import { announcementOf } from "../words/announcements";

/** A tab: one way, or those that run side by side. */
export type TabId = "all" | WayId;

/** A prompt and its answers: one, or one of each way. */
export interface Turn {
  readonly id: string;
  readonly prompt: string;
  readonly lanes: readonly Lane[];
}

export interface Conversation {
  readonly turns: readonly Turn[];
  /** Whether a run of it isn't over. */
  readonly running: boolean;
}

export type ConversationsByTab = Readonly<Partial<Record<TabId, Conversation>>>;

export const NO_CONVERSATION: Conversation = { turns: [], running: false };

interface Surroundings {
  readonly stack: Stack;
  readonly history: History;
  readonly settings: () => Settings;
  readonly announce: (words: string) => void;
}

export class Conversations extends Value<ConversationsByTab> {
  readonly #around: Surroundings;
  #turns = 0;

  constructor(around: Surroundings) {
    super({});
    this.#around = around;
  }

  of(tab: TabId): Conversation {
    return this.getSnapshot()[tab] ?? NO_CONVERSATION;
  }

  /** Ask on these ways; each goes on from its own earlier answers. */
  readonly ask = (tab: TabId, ways: readonly Way[], prompt: string): void => {
    const { turns } = this.of(tab);
    // Unique among the turns of other days as well: the history keeps it. `randomUUID` wants a secure context.
    const id = `${Date.now().toString(36)}-${this.#turns++}`;
    const lanes = ways.map((way) => {
      const messages = [...messagesOf(turns, way), { role: "user", content: prompt } as const];
      return this.#begin(tab, id, way, requestOf(messages, this.#around.settings()), ways.length > 1);
    });
    this.#replace(tab, [...turns, { id, prompt, lanes }]);
  };

  /** Ask the same again in the place of an answer that failed, with the settings of now. */
  readonly askAgain = (tab: TabId, turnId: string, lane: Lane): void => {
    const { turns } = this.of(tab);
    const { way, request } = lane.run.getSnapshot();
    this.#replace(
      tab,
      turns.map((turn) => {
        if (turn.id !== turnId) return turn;
        const several = turn.lanes.length > 1;
        const again = this.#begin(tab, turnId, way, requestOf(request.messages, this.#around.settings()), several);
        return { ...turn, lanes: turn.lanes.map((other) => (other === lane ? again : other)) };
      }),
    );
  };

  readonly stop = (tab: TabId): void => {
    for (const run of runsOf(this.of(tab))) run.cancel();
  };

  /** Begin a new conversation; what still runs in the old one is left. */
  readonly renew = (tab: TabId): void => {
    for (const run of runsOf(this.of(tab))) run.leave();
    this.#replace(tab, []);
  };

  /** Leave everything that runs: the page is left, or the user signs out. */
  readonly leave = (): void => {
    for (const conversation of Object.values(this.getSnapshot())) {
      for (const run of runsOf(conversation)) run.leave();
    }
  };

  #begin(tab: TabId, group: string, way: Way, request: RunRequest, several: boolean): Lane {
    const { stack, history } = this.#around;
    const run = stack.run(way, request);
    this.#watch(run, several);
    void run.finished.then((last) => {
      history.add(last, group);
      this.#replace(tab, this.of(tab).turns);
    });
    return laneOf(run);
  }

  #watch(run: Run, several: boolean): void {
    let before = run.getSnapshot();
    const unsubscribe = run.subscribe(() => {
      const after = run.getSnapshot();
      const words = announcementOf(before, after, several);
      before = after;
      if (words !== null) this.#around.announce(words);
      if (isOver(after.status)) unsubscribe();
    });
  }

  #replace(tab: TabId, turns: readonly Turn[]): void {
    const running = turns.some(({ lanes }) => lanes.some(({ run }) => !isOver(run.getSnapshot().status)));
    this.set({ ...this.getSnapshot(), [tab]: { turns, running } });
  }
}

function runsOf({ turns }: Conversation): Run[] {
  const runs = turns.flatMap(({ lanes }) => lanes.map(({ run }) => run));
  return runs.filter((run) => !isOver(run.getSnapshot().status));
}

function requestOf(messages: readonly RequestTurn[], { model, maxTokens, system }: Settings): RunRequest {
  return {
    messages,
    ...(system.trim() === "" ? {} : { system }),
    ...(model.trim() === "" ? {} : { model: model.trim() }),
    ...(maxTokens === null ? {} : { maxTokens }),
  };
}

/** The turns that got an answer on this way, whole or not: the server takes only turns that alternate. */
function messagesOf(turns: readonly Turn[], way: Way): RequestTurn[] {
  return turns.flatMap(({ prompt, lanes }): RequestTurn[] => {
    const answer = answerOf(lanes.map(({ run }) => run.getSnapshot()).find((snapshot) => snapshot.way.id === way.id));
    return answer === ""
      ? []
      : [
          { role: "user", content: prompt },
          { role: "assistant", content: answer },
        ];
  });
}

function answerOf(snapshot: RunSnapshot | undefined): string {
  const text = snapshot === undefined || snapshot.status === "failed" ? "" : textOf(snapshot.text);
  return text.trim() === "" ? "" : text;
}
