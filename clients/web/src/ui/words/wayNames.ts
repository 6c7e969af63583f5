import type { Delivery, Path, WayId } from "../../ways";

/** The ways' names on the page. */
export const WAY_NAMES: Readonly<Record<WayId, string>> = {
  url: "Function URL",
  rest: "REST API",
  websocket: "WebSocket",
  "websocket-queued": "WebSocket, queued",
  appsync: "AppSync",
  "appsync-queued": "AppSync, queued",
};

const PATHS: Readonly<Record<Path, string>> = {
  url: "the response of one Lambda function, streamed through its function URL",
  rest: "the same function behind API Gateway's REST API",
  websocket: "frames pushed over API Gateway's WebSocket API",
  appsync: "frames published to a GraphQL subscription",
};

/** One line about a way, for those who choose. */
export function describeWay(path: Path, delivery: Delivery): string {
  return delivery === "queued" ? `${PATHS[path]}, by way of a topic and a queue` : PATHS[path];
}
