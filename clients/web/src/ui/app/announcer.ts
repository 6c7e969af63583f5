import { Value } from "../value";

/** More than anybody listens to at once; older ones have been read out. */
const KEPT = 12;

export interface Announcement {
  readonly id: number;
  readonly words: string;
}

/** What the page's live region says, the latest last. */
export class Announcer extends Value<readonly Announcement[]> {
  #next = 0;

  constructor() {
    super([]);
  }

  readonly say = (words: string): void => {
    this.set([...this.getSnapshot().slice(1 - KEPT), { id: this.#next++, words }]);
  };
}
