/** `fetch`, with its failures in this client's own words. */

import { ConnectionFailed } from "../errors";
import { unlessAborted, within } from "../waiting";

/** Name a server for messages: its host and port. */
export function serverOf(url: string): string {
  return new URL(url).host;
}

/**
 * Send a request and resolve with the response's head; its body isn't bound by the time-out.
 *
 * Rejects with `ConnectionFailed`, or with the signal's reason. A browser doesn't tell why a request failed: the server
 * may have seen it, unless the browser itself is offline.
 */
export async function send(
  url: string,
  init: RequestInit & { signal: AbortSignal },
  timeoutMs: number,
): Promise<Response> {
  const server = serverOf(url);
  const ending = new AbortController();
  const end = (): void => {
    ending.abort(init.signal.reason);
  };
  // Not taken off again: it ends the body as well.
  init.signal.addEventListener("abort", end, { once: true });
  const silent = (): ConnectionFailed => new ConnectionFailed(`${server} has gone silent.`);
  // To whatever address a redirection names the token would not go along: it is a mistake, not a way.
  const request: RequestInit = {
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    ...init,
    signal: ending.signal,
  };
  try {
    init.signal.throwIfAborted();
    return await within(timeoutMs, fetch(url, request), silent);
  } catch (error) {
    ending.abort();
    init.signal.throwIfAborted();
    if (error instanceof ConnectionFailed) throw error;
    throw new ConnectionFailed(`${server} can't be reached.`, { reached: isOnline(), cause: error });
  }
}

/** Read a body piece by piece; rejects as `send` does, also when nothing comes for the time-out. */
export async function* bodyOf(response: Response, signal: AbortSignal, timeoutMs: number): AsyncGenerator<Uint8Array> {
  const server = serverOf(response.url);
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  const silent = (): ConnectionFailed => new ConnectionFailed(`${server} has gone silent.`);
  try {
    for (;;) {
      const { done, value } = await within(timeoutMs, unlessAborted(signal, reader.read()), silent);
      if (done) return;
      yield value;
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ConnectionFailed) throw error;
    throw new ConnectionFailed(`The connection to ${server} broke.`, { cause: error });
  } finally {
    // A read that is under way rejects by it; nobody waits for that one any more.
    reader.cancel().catch(() => undefined);
  }
}

/** Read a short body; `null` when it isn't JSON, or doesn't come. */
export async function jsonOf(response: Response, timeoutMs: number): Promise<unknown> {
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const parts: Uint8Array[] = [];
    for await (const part of bodyOf(response, signal, timeoutMs)) parts.push(part);
    return JSON.parse(await new Blob(parts as BlobPart[]).text());
  } catch {
    return null;
  }
}

/** Whether there may be a network: a browser knows only when there is surely none, and Node doesn't say. */
function isOnline(): boolean {
  return (globalThis.navigator as Navigator | undefined)?.onLine !== false;
}
