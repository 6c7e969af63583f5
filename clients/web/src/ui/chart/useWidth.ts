import { type RefObject, useEffect, useState } from "react";

/** The width of an element in CSS pixels: a picture that is drawn to it keeps the size of its letters. */
export function useWidth(ref: RefObject<HTMLElement | null>, initially: number): number {
  const [width, setWidth] = useState(initially);
  useEffect(() => {
    const element = ref.current;
    if (element === null) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry !== undefined && entry.contentRect.width > 0) setWidth(Math.round(entry.contentRect.width));
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
    };
  }, [ref]);
  return width;
}
