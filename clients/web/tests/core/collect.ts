import type { JsonObject } from "../../src/frames";
import type { Arrival } from "../../src/transports/transport";

/** Read messages up to the end, or as many as are wanted. */
export async function collect(arrivals: AsyncIterable<Arrival>, most = Infinity): Promise<JsonObject[]> {
  const messages: JsonObject[] = [];
  const iterator = arrivals[Symbol.asyncIterator]();
  while (messages.length < most) {
    const { done, value } = (await iterator.next()) as IteratorResult<Arrival, undefined>;
    if (done === true) break;
    messages.push(value.message);
  }
  return messages;
}
