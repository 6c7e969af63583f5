import { useStore } from "../useStore";
import type { Announcer } from "./announcer";

/** Read out by screen readers when they have nothing else to say: states, never the answer's text. */
export function LiveRegion({ announcer }: { readonly announcer: Announcer }) {
  const announcements = useStore(announcer);
  return (
    <div className="visually-hidden" aria-live="polite" aria-relevant="additions">
      {announcements.map(({ id, words }) => (
        <p key={id}>{words}</p>
      ))}
    </div>
  );
}
