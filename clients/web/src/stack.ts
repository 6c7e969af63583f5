/** One stack, as the page uses it. */

import type { TokenProvider } from "./auth/auth";
import type { Config } from "./config";
import { ConfigError } from "./errors";
import { AnswerRun } from "./run/answerRun";
import type { RunRequest } from "./run/request";
import type { Run } from "./run/run";
import { AppSyncTransport } from "./transports/appsync";
import { HttpTransport } from "./transports/http";
import type { Transport } from "./transports/transport";
import { WebSocketTransport } from "./transports/websocket";
import type { Path, Way } from "./ways";

/** Begins runs; keeps one transport, with its connection, for all runs of a path. */
export interface Stack {
  /** Begin a run, at once, on one of the stack's ways (`waysOf`). Its failures are its own. */
  run(way: Way, request: RunRequest): Run;
  /** Close the connections, for instance when the user signs out; runs that go on are left. The stack is then over. */
  close(): void;
}

export function openStack(config: Config, tokens: TokenProvider): Stack {
  const transports = new Map<Path, Transport>();
  const runs = new Set<AnswerRun>();
  return {
    run(way, request) {
      const transport = transports.get(way.path) ?? openTransport(way.path, config, tokens);
      transports.set(way.path, transport);
      const run = new AnswerRun({ transport, way, request });
      runs.add(run);
      void run.finished.then(() => runs.delete(run));
      return run;
    },
    close() {
      for (const run of runs) run.leave();
      // The server is told of them over these.
      void Promise.all([...runs].map((run) => run.told())).then(() => {
        for (const transport of transports.values()) transport.close();
      });
    },
  };
}

function openTransport(path: Path, config: Config, tokens: TokenProvider): Transport {
  switch (path) {
    case "url":
      return new HttpTransport(config.functionUrl, tokens);
    case "rest":
      return new HttpTransport(config.restUrl, tokens);
    case "websocket":
      return new WebSocketTransport(present(config, "websocketUrl"), tokens);
    case "appsync":
      return new AppSyncTransport(present(config, "graphqlUrl"), present(config, "graphqlRealtimeUrl"), tokens);
  }
}

function present(config: Config, key: "websocketUrl" | "graphqlUrl" | "graphqlRealtimeUrl"): string {
  return config[key] ?? missing(key);
}

function missing(key: string): never {
  throw new ConfigError(`/config.json has no \`${key}\`: the stack hasn't this path.`, key);
}
