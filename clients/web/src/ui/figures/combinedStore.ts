import type { Store } from "../../store";

/** Several stores as one: the array is another one when one of the values is. */
export function combinedStore<T>(stores: readonly Store<T>[]): Store<readonly T[]> {
  let latest: readonly T[] = [];
  return {
    subscribe(listener) {
      const ends = stores.map((store) => store.subscribe(listener));
      return () => {
        for (const end of ends) end();
      };
    },
    getSnapshot() {
      const values = stores.map((store) => store.getSnapshot());
      if (values.length !== latest.length || values.some((value, index) => value !== latest[index])) latest = values;
      return latest;
    },
  };
}
