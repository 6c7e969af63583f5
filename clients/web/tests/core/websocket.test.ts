import { expect, it, onTestFinished } from "vitest";

import { ConnectionFailed, ProtocolError } from "../../src/errors";
import type { JsonObject } from "../../src/frames";
import { WebSocketTransport } from "../../src/transports/websocket";
import { collect } from "./collect";
import { FakeTokens } from "./fakeTokens";
import { SESSION, answer, start, token } from "./frames";
import { socketServer, type Peer } from "./socketServer";

const OTHER = "00000000-0000-4000-8000-000000000000";
const BODY = { sessionId: SESSION, messages: [{ role: "user", content: "Why?" }] };
const never = (): AbortSignal => new AbortController().signal;

const accepted = ({ requestId, sessionId }: JsonObject): JsonObject => ({ type: "accepted", requestId, sessionId });
const rejected = ({ requestId, sessionId }: JsonObject, code: string): JsonObject => ({
  type: "rejected",
  requestId,
  sessionId,
  error: { code, message: "Rejected.", retryable: false },
});

/** Accepts everything; a stream is answered whole. */
const willing = (peer: Peer, message: JsonObject): void => {
  peer.send(accepted(message));
  if (message.action === "stream") peer.send(...answer(["a", "b"], { sessionId: String(message.sessionId) }));
};

interface Around {
  readonly hears?: (peer: Peer, message: JsonObject) => void;
  readonly admits?: (credential: string) => boolean;
  readonly tokens?: FakeTokens;
  readonly times?: { idleTimeoutMs?: number; pingIntervalMs?: number };
}

async function serving({ hears = willing, admits, tokens = new FakeTokens("one"), times = {} }: Around = {}) {
  const script = { subprotocol: "tokenstream", hears, ...(admits === undefined ? {} : { admits }) };
  const server = await socketServer(script);
  const transport = new WebSocketTransport(server.url, tokens, times);
  onTestFinished(() => {
    transport.close();
  });
  return { ...server, tokens, transport };
}

it("an answer comes, with the token as a subprotocol and the request as a message", async () => {
  const { transport, peers } = await serving();
  await transport.prepare(never());
  expect(await collect(await transport.start(BODY, never()), 4)).toEqual(answer(["a", "b"]));
  expect(peers[0]?.credential).toBe("one");
  expect(peers[0]?.received).toEqual([{ action: "stream", ...BODY, requestId: "1" }]);
});

it("streams share a connection, and each gets its own frames", async () => {
  const { transport, peers } = await serving();
  const [one, other] = await Promise.all([
    transport.start(BODY, never()),
    transport.start({ ...BODY, sessionId: OTHER }, never()),
  ]);
  expect(await collect(other, 4)).toEqual(answer(["a", "b"], { sessionId: OTHER }));
  expect(await collect(one, 4)).toEqual(answer(["a", "b"]));
  expect(peers).toHaveLength(1);
});

it("resume and cancel name the session, and the place", async () => {
  const { transport, peers } = await serving();
  await transport.resume(SESSION, { attempt: 1, sequence: 3 }, never());
  await transport.cancel(SESSION);
  expect(peers[0]?.received).toMatchObject([
    { action: "resume", sessionId: SESSION, after: { attempt: 1, sequence: 3 } },
    { action: "cancel", sessionId: SESSION },
  ]);
});

it("a rejection is told to the one who asked, and the others go on", async () => {
  const { transport } = await serving({
    hears: (peer, message) => {
      peer.send(message.sessionId === OTHER ? rejected(message, "conflict") : accepted(message));
      if (message.sessionId === OTHER) peer.send(...answer(["a"]));
    },
  });
  const one = await transport.start(BODY, never());
  const refused = transport.start({ ...BODY, sessionId: OTHER }, never());
  await expect(refused).rejects.toMatchObject({ status: 409, code: "conflict" });
  expect(await collect(one, 3)).toEqual(answer(["a"]));
});

it("what was accepted and couldn't be begun after all is told on the stream", async () => {
  const { transport } = await serving({
    hears: (peer, message) => {
      peer.send(accepted(message), { ...rejected(message, "throttled"), requestId: undefined });
    },
  });
  await expect(collect(await transport.start(BODY, never()))).rejects.toMatchObject({ code: "throttled" });
});

it("a connection that is cut ends its streams with an error, and the next use makes another", async () => {
  const { transport, peers } = await serving({
    hears: (peer, message) => {
      peer.send(accepted(message));
      if (message.action === "stream") peer.cut();
      else peer.send(...answer(["a"]));
    },
  });
  const following = async () => collect(await transport.start(BODY, never()));
  await expect(following()).rejects.toThrow(ConnectionFailed);
  const rest = await transport.resume(SESSION, { attempt: 0, sequence: 0 }, never());
  expect(await collect(rest, 3)).toEqual(answer(["a"]));
  expect(peers).toHaveLength(2);
});

it("a token that expired on an open connection is renewed, and running streams stay where they are", async () => {
  let expired = false;
  const { transport, peers, tokens } = await serving({
    tokens: new FakeTokens("old", "new"),
    hears: (peer, message) => {
      if (expired && peer.credential === "old") peer.send(rejected(message, "unauthorized"));
      else peer.send(accepted(message));
    },
  });
  const running = await transport.start(BODY, never());
  expired = true;
  await transport.start({ ...BODY, sessionId: OTHER }, never());
  expect(peers.map(({ credential }) => credential)).toEqual(["old", "new"]);
  expect(tokens.refused).toEqual(["old"]);
  peers[0]?.send(...answer(["a"]));
  expect(await collect(running, 3)).toEqual(answer(["a"]));
});

it("a token that is refused at the handshake, which a browser doesn't say, is renewed once", async () => {
  const renewed = await serving({ tokens: new FakeTokens("old", "new"), admits: (credential) => credential === "new" });
  await renewed.transport.prepare(never());
  expect(renewed.peers[0]?.credential).toBe("new");

  const refused = await serving({ tokens: new FakeTokens("a", "b", "c", "d"), admits: () => false });
  await expect(refused.transport.prepare(never())).rejects.toMatchObject({ code: "connection_failed", reached: false });
  await expect(refused.transport.prepare(never())).rejects.toThrow(ConnectionFailed);
  expect(refused.refused).toEqual(["a", "b", "b"]);
});

it("a server that doesn't speak the protocol is told from one that is down", async () => {
  const server = await socketServer({ subprotocol: "one" });
  const transport = new WebSocketTransport(server.url, new FakeTokens("one"));
  await expect(transport.prepare(never())).rejects.toThrow(ProtocolError);
});

it("a request that a browser can't send in one WebSocket frame is refused here, and cuts no connection", async () => {
  const { transport, peers } = await serving();
  const content = "é".repeat(16_000);
  const long = transport.start({ ...BODY, messages: [{ role: "user", content }] }, never());
  await expect(long).rejects.toMatchObject({ code: "too_large", status: 413 });
  expect(await collect(await transport.start(BODY, never()), 4)).toHaveLength(4);
  expect(peers).toHaveLength(1);
});

it("a gateway's own answer ends the wait of whom it concerns", async () => {
  const throttled = await serving({
    hears: (peer) => {
      peer.send({ message: "Too Many Requests", connectionId: "c", requestId: "r" });
    },
  });
  await expect(throttled.transport.start(BODY, never())).rejects.toMatchObject({ code: "throttled", retryable: true });
  const failing = await serving({
    hears: (peer) => {
      peer.send({ message: "Internal server error", connectionId: "c", requestId: "r" });
    },
  });
  await expect(failing.transport.start(BODY, never())).rejects.toThrow(/gateway/);
});

it("a server that has gone silent is noticed, and its connection given up", async () => {
  const { transport, peers } = await serving({ hears: () => undefined, times: { idleTimeoutMs: 50 } });
  await expect(transport.start(BODY, never())).rejects.toThrow(/gone silent/);
  await peers[0]?.closed;
});

it("an idle connection is kept open by pings", async () => {
  let pings = 0;
  let enough: () => void = () => undefined;
  const thrice = new Promise<void>((resolve) => (enough = resolve));
  const { transport } = await serving({
    times: { pingIntervalMs: 20 },
    hears: (peer, message) => {
      if (message.action !== "ping") {
        willing(peer, message);
        return;
      }
      peer.send({ type: "pong" });
      pings += 1;
      if (pings === 3) enough();
    },
  });
  await transport.prepare(never());
  await thrice;
  expect(await collect(await transport.start(BODY, never()), 4)).toHaveLength(4);
});

it("an idle connection whose ping isn't answered is given up", async () => {
  const { transport, peers } = await serving({
    times: { pingIntervalMs: 20, idleTimeoutMs: 20 },
    hears: () => undefined,
  });
  await transport.prepare(never());
  await peers[0]?.closed;
  expect(peers[0]?.received).toMatchObject([{ action: "ping" }]);
});

it("nonsense from the server ends the streams with a protocol error", async () => {
  const { transport } = await serving({
    hears: (peer, message) => {
      peer.send(accepted(message), "<html>");
    },
  });
  await expect(collect(await transport.start(BODY, never()))).rejects.toThrow(ProtocolError);
});

it("frames of sessions that nobody follows, and messages of a later version, disturb nobody", async () => {
  const { transport } = await serving({
    hears: (peer, message) => {
      peer.send({ type: "news" }, { ...token("x"), sessionId: OTHER, attempt: 1, sequence: 1 });
      willing(peer, message);
    },
  });
  expect(await collect(await transport.start(BODY, never()), 1)).toMatchObject([start]);
});

it("who leaves a stream ends its iteration, and the connection stays for others", async () => {
  const { transport, peers } = await serving({
    hears: (peer, message) => {
      peer.send(accepted(message));
    },
  });
  const leaving = new AbortController();
  const reading = collect(await transport.start(BODY, leaving.signal));
  leaving.abort(new Error("left"));
  await expect(reading).rejects.toThrow("left");
  await transport.cancel(SESSION);
  expect(peers).toHaveLength(1);
});
