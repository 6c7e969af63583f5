/** When a page is told that something has changed. */

/** Calls back soon, once; returns what prevents it. */
export type Schedule = (callback: () => void) => () => void;

/** Milliseconds after which a page that shows nothing is told all the same: its title and its history go on. */
const HIDDEN_MS = 500;

/** With the next animation frame; in a hidden page, where there are none, a little later. */
export const nextFrame: Schedule = (callback) => {
  const cancel = (): void => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
  };
  const call = (): void => {
    cancel();
    callback();
  };
  const frame = requestAnimationFrame(call);
  const timer = setTimeout(call, HIDDEN_MS);
  return cancel;
};
