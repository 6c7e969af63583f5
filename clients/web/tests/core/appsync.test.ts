import { expect, it, onTestFinished } from "vitest";

import { ConnectionFailed, ProtocolError, RequestRejected } from "../../src/errors";
import type { JsonObject } from "../../src/frames";
import { AppSyncTransport } from "../../src/transports/appsync";
import { collect } from "./collect";
import { FakeTokens } from "./fakeTokens";
import { SESSION, answer } from "./frames";
import { httpServer, json, type Received } from "./httpServer";
import { socketServer, type Peer } from "./socketServer";

const BODY = { sessionId: SESSION, messages: [{ role: "user", content: 'Why "so"?\n' }], options: { maxTokens: 9 } };
/** No test waits for a look, unless it says so. */
const PATIENT = { firstMs: 60_000, longestMs: 60_000, gapMs: 60_000 };

const never = (): AbortSignal => new AbortController().signal;
const event = (id: unknown, frame: JsonObject): JsonObject => ({
  id,
  type: "data",
  payload: { data: { onTokenReceived: { frame: JSON.stringify(frame) } } },
});
const headersOf = (peer: Peer | undefined): unknown =>
  JSON.parse(Buffer.from(peer?.credential.replace("header-", "") ?? "", "base64url").toString());

interface Around {
  readonly tokens?: FakeTokens;
  readonly pauses?: typeof PATIENT;
  readonly ackTimeoutMs?: number;
  /** Answer an operation; by default all of them succeed, and nothing is stored. */
  readonly operates?: (operation: string, received: Received, peer: Peer | undefined) => JsonObject | undefined;
  /** Take part in the protocol; true where the default is not to. */
  readonly hears?: (peer: Peer, message: JsonObject) => boolean;
}

/** An API whose events come on the connection of the peer that subscribed last. */
async function serving({
  tokens = new FakeTokens("one"),
  pauses = PATIENT,
  ackTimeoutMs,
  operates,
  hears,
}: Around = {}) {
  const log: string[] = [];
  const realtime = await socketServer({
    subprotocol: "graphql-ws",
    hears: (peer, message) => {
      log.push(String(message.type));
      if (hears?.(peer, message) === true) return;
      if (message.type === "connection_init") {
        peer.send({ type: "ka" }, { type: "connection_ack", payload: { connectionTimeoutMs: 300_000 } });
      } else if (message.type === "start") peer.send({ id: message.id, type: "start_ack" });
      else if (message.type === "stop") peer.send({ id: message.id, type: "complete" });
    },
  });
  const api = await httpServer((received, response) => {
    const { query } = received.body as { query: string };
    const operation = /\{\s*(\w+)/.exec(query.slice(query.indexOf(")")))?.[1] ?? "";
    log.push(operation);
    const nothing = { frames: [], more: false };
    const done = { data: { [operation]: operation === "getStream" ? nothing : { sessionId: SESSION, status: "ok" } } };
    json(response, 200, operates?.(operation, received, realtime.peers.at(-1)) ?? done);
  });
  const times = { pauses, ...(ackTimeoutMs === undefined ? {} : { ackTimeoutMs }) };
  const transport = new AppSyncTransport(`${api.url}/graphql`, realtime.url, tokens, times);
  onTestFinished(() => {
    transport.close();
  });
  return { transport, tokens, log, api, realtime };
}

/** Publish a whole answer once it is asked for. */
const publishing =
  (...frames: readonly JsonObject[]): NonNullable<Around["operates"]> =>
  (operation, _received, peer) => {
    if (operation === "startStream") for (const frame of frames) peer?.send(event("1", frame));
    return undefined;
  };

const stored = (frames: readonly JsonObject[], more = false): JsonObject => ({
  data: { getStream: { frames: frames.map((frame) => JSON.stringify(frame)), more } },
});

it("an answer comes: subscribed to before it is asked for, its text in variables", async () => {
  const { transport, log, api, realtime } = await serving({ operates: publishing(...answer(["a", "b"])) });
  await transport.prepare(never());
  expect(await collect(await transport.start(BODY, never()), 4)).toEqual(answer(["a", "b"]));
  expect(log).toEqual(["connection_init", "start", "startStream"]);
  const host = new URL(api.url).host;
  expect(headersOf(realtime.peers[0])).toEqual({ host, Authorization: "one" });
  expect(api.received[0]).toMatchObject({ token: "one", body: { variables: BODY } });
  const { query } = api.received[0]?.body as { query: string };
  expect(query).not.toContain("Why");
  expect(realtime.peers[0]?.received[1]).toMatchObject({
    payload: { extensions: { authorization: { host, Authorization: "one" } } },
  });
});

it("who resumes gets what is stored, page by page, and what comes", async () => {
  const frames = answer(["a", "b", "c", "d"]);
  const pages = [stored(frames.slice(1, 2), true), stored(frames.slice(2, 4))];
  const { transport, api, log } = await serving({
    operates: (operation, _received, peer) => {
      if (operation === "getStream" && pages.length === 1) peer?.send(...frames.slice(4).map((f) => event("1", f)));
      return operation === "getStream" ? pages.shift() : undefined;
    },
  });
  const arrivals = await transport.resume(SESSION, { attempt: 1, sequence: 1 }, never());
  expect(await collect(arrivals, 5)).toEqual(frames.slice(1));
  expect(log.slice(0, 3)).toEqual(["connection_init", "start", "getStream"]);
  const places = api.received.map(({ body }) => (body as { variables: JsonObject }).variables);
  expect(places).toMatchObject([{ afterSequence: 1 }, { afterSequence: 2 }]);
});

it("a frame that is missing between others is looked for", async () => {
  const [first = {}, second = {}, third = {}] = answer(["a"]);
  const { transport } = await serving({
    pauses: { ...PATIENT, gapMs: 10 },
    operates: (operation, received, peer) => {
      if (operation === "getStream") return stored([second]);
      return publishing(first, third)(operation, received, peer);
    },
  });
  expect(await collect(await transport.start(BODY, never()), 3)).toEqual([first, third, second]);
});

it("a last frame that no event brings is found in the silence behind the others", async () => {
  const frames = answer(["a"]);
  const { transport } = await serving({
    pauses: { ...PATIENT, firstMs: 10 },
    operates: (operation, received, peer) => {
      if (operation === "getStream") return stored(frames.slice(2));
      return publishing(...frames.slice(0, 2))(operation, received, peer);
    },
  });
  const messages = await collect(await transport.start(BODY, never()), 3);
  expect(messages.at(-1)).toMatchObject({ type: "complete" });
});

it("a subscription whose events don't come any more is made anew on another connection", async () => {
  const frames = answer(["a", "b", "c", "d"]);
  let looks = 0;
  const { transport, realtime } = await serving({
    pauses: { ...PATIENT, firstMs: 10, longestMs: 10 },
    operates: (operation) => {
      if (operation !== "getStream") return undefined;
      looks += 1;
      return stored(frames.slice(looks - 1, looks));
    },
  });
  await expect(collect(await transport.start(BODY, never()))).rejects.toThrow(/stopped coming/);
  await transport.resume(SESSION, { attempt: 1, sequence: 2 }, never());
  expect(realtime.peers).toHaveLength(2);
});

it("errors inside an HTTP 200 are no success", async () => {
  const { transport } = await serving({
    operates: () => ({
      data: null,
      errors: [
        {
          errorType: "InvalidRequest",
          message: "Too many.",
          path: ["startStream"],
          errorInfo: { code: "invalid_request", message: "Too many.", retryable: false, field: "options.maxTokens" },
        },
      ],
    }),
  });
  const expected = { code: "invalid_request", status: 400, field: "options.maxTokens", message: "Too many." };
  await expect(transport.start(BODY, never())).rejects.toMatchObject(expected);
  await expect(transport.cancel(SESSION)).rejects.toThrow(RequestRejected);
});

it("a token that has expired is renewed, for the connection, the subscription and the request", async () => {
  const unauthorized = { errors: [{ errorType: "UnauthorizedException", message: "Token has expired." }] };
  let expired = "old";
  const { transport, tokens, realtime } = await serving({
    tokens: new FakeTokens("old", "new", "newer"),
    hears: (peer, message) => {
      const old = JSON.stringify([headersOf(peer), message]).includes(`"${expired}"`);
      if (message.type !== "connection_init" || !old) return false;
      peer.send({ type: "connection_error", payload: { errors: [{ ...unauthorized.errors[0], errorCode: 401 }] } });
      return true;
    },
    operates: (_operation, { token }) => (token === expired ? unauthorized : undefined),
  });
  await transport.prepare(never());
  expect(headersOf(realtime.peers.at(-1))).toMatchObject({ Authorization: "new" });
  expired = "new";
  await transport.start(BODY, never());
  expect(tokens.refused).toEqual(["old", "new"]);
});

it("a subscription that AppSync refuses is told so, and one that it ends is to be made anew", async () => {
  const limit = { errors: [{ errorType: "LimitExceededError", message: "Too many subscriptions.", errorCode: 400 }] };
  const refused = await serving({
    hears: (peer, message) => {
      if (message.type === "start") peer.send({ id: message.id, type: "error", payload: limit });
      return message.type === "start";
    },
  });
  await expect(refused.transport.start(BODY, never())).rejects.toMatchObject({ code: "invalid_request" });
  const ended = await serving({
    operates: (operation, _received, peer) => {
      if (operation === "startStream") peer?.send({ id: "1", type: "complete" });
      return undefined;
    },
  });
  await expect(collect(await ended.transport.start(BODY, never()))).rejects.toThrow(ConnectionFailed);
});

it("an acknowledgement that doesn't come is a failed connection, and no request is sent", async () => {
  const { transport, api } = await serving({ ackTimeoutMs: 50, hears: (_peer, { type }) => type === "start" });
  const failed = transport.start(BODY, never());
  await expect(failed).rejects.toMatchObject({ code: "connection_failed", reached: false });
  expect(api.received).toEqual([]);
});

it("a connection that AppSync doesn't keep alive is noticed", async () => {
  const { transport } = await serving({
    hears: (peer, { type }) => {
      if (type === "connection_init") peer.send({ type: "connection_ack", payload: { connectionTimeoutMs: 50 } });
      return type === "connection_init";
    },
  });
  const following = async () => collect(await transport.start(BODY, never()));
  await expect(following()).rejects.toThrow(ConnectionFailed);
});

it("a connection that is cut ends its streams, and the next use makes another", async () => {
  const { transport, realtime } = await serving({
    operates: (operation, _received, peer) => {
      if (operation === "startStream") peer?.cut();
      return undefined;
    },
  });
  const following = async () => collect(await transport.start(BODY, never()));
  await expect(following()).rejects.toThrow(ConnectionFailed);
  await transport.resume(SESSION, { attempt: 0, sequence: 0 }, never());
  expect(realtime.peers).toHaveLength(2);
});

it("who leaves a stream ends the subscription and not the connection", async () => {
  const { transport, realtime } = await serving();
  const leaving = new AbortController();
  const reading = collect(await transport.start(BODY, leaving.signal));
  leaving.abort(new Error("left"));
  await expect(reading).rejects.toThrow("left");
  await transport.start(BODY, never());
  expect(realtime.peers).toHaveLength(1);
  const [, started, stopped] = realtime.peers[0]?.received ?? [];
  expect(stopped).toEqual({ id: started?.id, type: "stop" });
});

it("the hundred and first stream at once gets a connection of its own, as AppSync's limit asks for", async () => {
  const { transport, realtime } = await serving();
  await transport.prepare(never());
  const follow = async () => transport.resume(SESSION, { attempt: 0, sequence: 0 }, never());
  await Promise.all(Array.from({ length: 100 }, follow));
  expect(realtime.peers).toHaveLength(1);
  await follow();
  expect(realtime.peers).toHaveLength(2);
});

it("streams that have ended make room on their connection", async () => {
  const { transport, realtime } = await serving();
  for (let stream = 0; stream < 110; stream += 1) {
    const leaving = new AbortController();
    await transport.resume(SESSION, { attempt: 0, sequence: 0 }, leaving.signal);
    leaving.abort();
  }
  expect(realtime.peers).toHaveLength(1);
});

it("a cancel is a mutation", async () => {
  const { transport, api } = await serving();
  await transport.cancel(SESSION);
  expect(api.received[0]?.body).toMatchObject({ variables: { sessionId: SESSION } });
});

it("a frame that is no JSON ends the streams with a protocol error", async () => {
  const { transport } = await serving({
    operates: (operation, _received, peer) => {
      const payload = { data: { onTokenReceived: { frame: "<html>" } } };
      if (operation === "startStream") peer?.send({ id: "1", type: "data", payload });
      return undefined;
    },
  });
  await expect(collect(await transport.start(BODY, never()))).rejects.toThrow(ProtocolError);
});
