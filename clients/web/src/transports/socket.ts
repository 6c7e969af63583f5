/** Opens WebSockets, and says in this client's own words why one couldn't be opened. */

import { ConnectionFailed, ProtocolError } from "../errors";
import { serverOf } from "./fetching";

const CONNECT_TIMEOUT_MS = 10_000;

/**
 * Open a connection; the credential goes along as a subprotocol, for browsers have no other way.
 *
 * Rejects with `ConnectionFailed`, with `reached` false: no request was sent. A browser doesn't tell a refusal (401) from
 * a server that is down.
 */
export async function openSocket(
  url: string,
  subprotocol: string,
  credential: string,
  timeoutMs = CONNECT_TIMEOUT_MS,
): Promise<WebSocket> {
  const server = serverOf(url);
  const unreachable = (): ConnectionFailed => new ConnectionFailed(`${server} can't be reached.`, { reached: false });
  let socket: WebSocket;
  try {
    socket = new WebSocket(url, [subprotocol, credential]);
  } catch {
    // Not chained: its text has the token in it.
    throw new ProtocolError(`A connection to ${server} can't be asked for.`);
  }
  // It says nothing, `close` follows it; and in Node one that nobody hears would end the process.
  socket.addEventListener("error", () => undefined);
  const listening = new AbortController();
  try {
    await new Promise<void>((resolve, reject) => {
      const refuse = (): void => {
        reject(unreachable());
      };
      const { signal } = listening;
      const timer = setTimeout(refuse, timeoutMs);
      signal.addEventListener("abort", () => {
        clearTimeout(timer);
      });
      socket.addEventListener(
        "open",
        () => {
          resolve();
        },
        { signal },
      );
      socket.addEventListener("close", refuse, { signal });
    });
    if (socket.protocol !== subprotocol) throw new ProtocolError(`${server} doesn't speak ${subprotocol}.`);
  } catch (error) {
    socket.close();
    throw error;
  } finally {
    listening.abort();
  }
  return socket;
}
