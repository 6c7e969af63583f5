/** An HTTP server on a free port of this machine, which a test scripts. */

import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { onTestFinished } from "vitest";

export interface Received {
  readonly method: string;
  readonly path: string;
  readonly token: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
}

export type Answer = (received: Received, response: ServerResponse, request: IncomingMessage) => void;

/** Start it, until the test is finished. */
export async function httpServer(answer: Answer): Promise<{ readonly url: string; readonly received: Received[] }> {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const text = Buffer.concat(parts).toString();
      const one: Received = {
        method: request.method ?? "",
        path: request.url ?? "",
        token: request.headers.authorization,
        headers: request.headers,
        body: text === "" ? null : JSON.parse(text),
      };
      received.push(one);
      answer(one, response, request);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received };
}

/** Answer with JSON. */
export function json(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}
