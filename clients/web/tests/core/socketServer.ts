/** A WebSocket server on a free port of this machine, which a test scripts. */

import type { AddressInfo } from "node:net";

import { onTestFinished } from "vitest";
import { WebSocketServer, type WebSocket } from "ws";

import type { JsonObject } from "../../src/frames";

/** One connection of a client's, with the subprotocol that carries its credential. */
export interface Peer {
  readonly credential: string;
  readonly received: JsonObject[];
  send(...messages: readonly (JsonObject | string)[]): void;
  /** Break it without a word. */
  cut(): void;
  /** Resolves when it is over, whoever ended it. */
  readonly closed: Promise<void>;
}

interface Script {
  /** The subprotocol that is answered. */
  readonly subprotocol: string;
  /** Whether a client is let in. */
  readonly admits?: (credential: string) => boolean;
  readonly hears?: (peer: Peer, message: JsonObject) => void;
}

/** Start it, until the test is finished. */
export async function socketServer({ subprotocol, admits = () => true, hears }: Script) {
  const peers: Peer[] = [];
  const refused: string[] = [];
  const credentialOf = (header: string | undefined): string => header?.split(",")[1]?.trim() ?? "";
  const server = new WebSocketServer({
    port: 0,
    host: "127.0.0.1",
    handleProtocols: () => subprotocol,
    verifyClient: ({ req }: { req: { headers: Record<string, string | string[] | undefined> } }) => {
      const credential = credentialOf(req.headers["sec-websocket-protocol"] as string | undefined);
      if (!admits(credential)) refused.push(credential);
      return admits(credential);
    },
  });
  server.on("connection", (socket: WebSocket, request) => {
    const peer: Peer = {
      credential: credentialOf(request.headers["sec-websocket-protocol"]),
      received: [],
      send(...messages) {
        for (const message of messages) socket.send(typeof message === "string" ? message : JSON.stringify(message));
      },
      cut() {
        socket.terminate();
      },
      closed: new Promise((resolve) =>
        socket.on("close", () => {
          resolve();
        }),
      ),
    };
    peers.push(peer);
    socket.on("message", (data: Buffer) => {
      const message = JSON.parse(data.toString()) as JsonObject;
      peer.received.push(message);
      hears?.(peer, message);
    });
  });
  await new Promise((resolve) => server.on("listening", resolve));
  onTestFinished(async () => {
    for (const client of server.clients) client.terminate();
    await new Promise((resolve) => {
      server.close(resolve);
    });
  });
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, peers, refused };
}
