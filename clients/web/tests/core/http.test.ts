import { createServer } from "node:net";
import type { AddressInfo } from "node:net";

import { expect, it } from "vitest";

import { ConnectionFailed, ProtocolError } from "../../src/errors";
import { HttpTransport } from "../../src/transports/http";
import { collect } from "./collect";
import { FakeTokens } from "./fakeTokens";
import { SESSION, answer } from "./frames";
import { httpServer, json, type Answer } from "./httpServer";

const NDJSON = { "Content-Type": "application/x-ndjson; charset=utf-8" };
const FRAMES = answer(["a", "é🌁"]);
const LINES = FRAMES.map((frame) => `${JSON.stringify(frame)}\n`).join("");
const BODY = { sessionId: SESSION, messages: [{ role: "user", content: "Why?" }] };

const never = (): AbortSignal => new AbortController().signal;

async function serving(script: Answer, tokens = new FakeTokens("one"), times: { idleTimeoutMs?: number } = {}) {
  const server = await httpServer(script);
  return { ...server, tokens, transport: new HttpTransport(server.url, tokens, times) };
}

it("an answer's frames come as the server sends them", async () => {
  const { transport, received } = await serving((_received, response) => {
    response.writeHead(200, NDJSON);
    response.end(LINES);
  });
  expect(await collect(await transport.start(BODY, never()))).toEqual(FRAMES);
  const headers = { accept: "application/x-ndjson", "content-type": "application/json" };
  expect(received).toMatchObject([{ method: "POST", path: "/", token: "Bearer one", headers, body: BODY }]);
});

it("a frame is there before the next one has come", async () => {
  const { transport } = await serving((_received, response) => {
    response.writeHead(200, NDJSON);
    response.write(LINES.slice(0, LINES.indexOf("\n") + 1));
  });
  expect(await collect(await transport.start(BODY, never()), 1)).toEqual(FRAMES.slice(0, 1));
});

it("resuming asks for what lies behind a position", async () => {
  const { transport, received } = await serving((_received, response) => {
    response.writeHead(200, NDJSON);
    response.end(LINES);
  });
  await collect(await transport.resume("a/b", { attempt: 2, sequence: 7 }, never()));
  expect(received[0]).toMatchObject({ method: "GET", path: "/sessions/a%2Fb?after=2.7" });
});

it("a cancel is a DELETE of the session", async () => {
  const { transport, received } = await serving((_received, response) => {
    json(response, 202, { sessionId: SESSION, status: "running" });
  });
  await transport.cancel(SESSION);
  expect(received[0]).toMatchObject({ method: "DELETE", path: `/sessions/${SESSION}`, body: null });
});

it("a token that has expired is renewed, and the request sent again with it", async () => {
  const script: Answer = ({ token }, response) => {
    if (token === "Bearer old") {
      json(response, 401, { message: "The incoming token has expired" });
      return;
    }
    response.writeHead(200, NDJSON);
    response.end(LINES);
  };
  const { transport, tokens } = await serving(script, new FakeTokens("old", "new"));
  expect(await collect(await transport.start(BODY, never()))).toHaveLength(FRAMES.length);
  expect(tokens.refused).toEqual(["old"]);
});

it("a token that is refused for good is told so", async () => {
  const { transport, received } = await serving((_received, response) => {
    json(response, 401, { message: "Unauthorized" });
  });
  await expect(transport.start(BODY, never())).rejects.toMatchObject({ status: 401, code: "unauthorized" });
  expect(received).toHaveLength(1);
});

it("a rejection says what the server says, and when to come again", async () => {
  const error = { code: "throttled", message: "Too many.", retryable: true, field: "prompt" };
  const { transport } = await serving((_received, response) => {
    json(response, 429, { error }, { "Retry-After": "7" });
  });
  await expect(transport.start(BODY, never())).rejects.toMatchObject({ ...error, status: 429, retryAfterMs: 7000 });
});

it.each([
  [502, { code: "connection_failed", retryable: true }],
  [500, { code: "internal", retryable: true }],
  [413, { code: "too_large", retryable: false }],
  [418, { code: "invalid_request", retryable: false }],
])("a gateway's %d without an error object is told from the function's", async (status, expected) => {
  const { transport } = await serving((_received, response) => {
    response.writeHead(status, { "Content-Type": "text/html" });
    response.end("<h1>No</h1>");
  });
  await expect(transport.start(BODY, never())).rejects.toMatchObject(expected);
});

it("something other than frames is not shown as an answer", async () => {
  const { transport } = await serving((_received, response) => {
    response.writeHead(200, { "Content-Type": "text/html" });
    response.end("<h1>Welcome</h1>");
  });
  await expect(transport.start(BODY, never())).rejects.toThrow(ProtocolError);
});

it("a redirection isn't followed: the token would go along", async () => {
  const { transport, received } = await serving(({ path }, response) => {
    response.writeHead(path === "/" ? 307 : 200, { Location: "/elsewhere", ...NDJSON });
    response.end();
  });
  await expect(transport.start(BODY, never())).rejects.toThrow(ConnectionFailed);
  expect(received).toHaveLength(1);
});

it("a connection that is cut in the middle is no end", async () => {
  const { transport } = await serving((_received, response) => {
    response.writeHead(200, NDJSON);
    response.write(LINES.slice(0, LINES.indexOf("\n") + 1), () => {
      response.destroy();
    });
  });
  const arrivals = await transport.start(BODY, never());
  await expect(collect(arrivals)).rejects.toThrow(ConnectionFailed);
});

it.each<[string, Answer]>([
  ["before its answer", () => undefined],
  [
    "within it",
    (_received, response) => {
      response.writeHead(200, NDJSON);
      response.write(LINES.slice(0, LINES.indexOf("\n") + 1));
    },
  ],
])("a server that goes silent %s is noticed", async (_when, script) => {
  const { transport } = await serving(script, new FakeTokens("one"), { idleTimeoutMs: 50 });
  const following = async () => collect(await transport.start(BODY, never()));
  await expect(following()).rejects.toThrow(/gone silent/);
});

it("a server that isn't there is a failed connection", async () => {
  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
  const { port } = closed.address() as AddressInfo;
  await new Promise((resolve) => closed.close(resolve));
  const transport = new HttpTransport(`http://127.0.0.1:${port}`, new FakeTokens("one"));
  await expect(transport.start(BODY, never())).rejects.toThrow(ConnectionFailed);
});

it("who leaves a stream closes its connection", async () => {
  const leaving = new AbortController();
  let closed: (() => void) | undefined;
  const gone = new Promise<void>((resolve) => (closed = resolve));
  const { transport } = await serving((_received, response) => {
    response.on("close", () => closed?.());
    response.writeHead(200, NDJSON);
    response.write(LINES.slice(0, LINES.indexOf("\n") + 1));
  });
  const arrivals = await transport.start(BODY, leaving.signal);
  const reading = collect(arrivals);
  leaving.abort(new Error("left"));
  await expect(reading).rejects.toThrow("left");
  await gone;
});
