import { type RefObject, useEffect } from "react";

/** This near to the end counts as being there, in CSS pixels. */
const NEAR = 48;

/**
 * Keep a scrolling element at its end while what is in it grows, unless the user has scrolled away from there. With
 * another `occasion` it goes to the end again; without one it is left alone.
 *
 * The observer tells of growth after layout and before painting, once a frame: nothing jumps.
 */
export function useFollowEnd(scroller: RefObject<HTMLElement | null>, occasion: number | null): void {
  useEffect(() => {
    const element = scroller.current;
    if (element === null || occasion === null) return;
    let following = true;

    function onScroll(this: HTMLElement): void {
      following = this.scrollHeight - this.scrollTop - this.clientHeight < NEAR;
    }

    const observer = new ResizeObserver(() => {
      if (following) element.scrollTop = element.scrollHeight;
    });
    for (const child of element.children) observer.observe(child);
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", onScroll);
    };
  }, [scroller, occasion]);
}
