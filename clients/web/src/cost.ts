/**
 * What an answer costs on its way, from AWS's list prices: pure.
 *
 * An estimate, and without the model's own price, which is the same on every way. It leaves out what doesn't depend on
 * the answer's way or is small beside the rest: sign-in, logs, alarms, the free tier, data transfer.
 */

import type { Way } from "./ways";

/** What the estimate is made of. */
export interface Traffic {
  readonly way: Way;
  /** Until the terminal frame, or until now. */
  readonly durationMs: number;
  readonly messages: number;
  readonly bytes: number;
}

export interface CostPart {
  /** The service, in words: "Lambda", "WebSocket messages". */
  readonly what: string;
  readonly usd: number;
}

export interface Cost {
  readonly usd: number;
  readonly parts: readonly CostPart[];
}

const MILLION = 1_000_000;
const KB = 1024;
const GB = KB ** 3;

/**
 * US dollars apiece: AWS's list prices in us-east-1, noted in November 2026. The prices of SNS FIFO are not confirmed; nor
 * is what Lambda takes for streaming beyond 6 MB, which no answer reaches. `tokenstream cost` has the same.
 */
const PRICES = {
  lambdaRequest: 0.2 / MILLION,
  lambdaGbSecond: 0.000_013_333_4,
  restRequest: 3.5 / MILLION,
  webSocketMessage: 1.0 / MILLION,
  webSocketMinute: 0.25 / MILLION,
  appSyncOperation: 4.0 / MILLION,
  appSyncUpdate: 2.0 / MILLION,
  appSyncMinute: 0.08 / MILLION,
  sqsRequest: 0.4 / MILLION,
  sqsFifoRequest: 0.5 / MILLION,
  snsFifoPublish: 0.3 / MILLION,
  snsFifoPublishGb: 0.017,
  snsFifoDelivery: 0.01 / MILLION,
  snsFifoDeliveryGb: 0.001,
  dynamoWrite: 0.625 / MILLION,
  dynamoRead: 0.125 / MILLION,
} as const;

/** Units that messages are metered in. */
const UNITS = { rest: 10 * KB * KB, webSocket: 32 * KB, appSync: 5 * KB, queue: 64 * KB, dynamoWrite: KB } as const;

/** The streaming functions' memory, in template.yaml; a route's or an authorizer's short run isn't worth a term. */
const MEMORY_GB = 1;

/** Seconds that `deliver` takes for a batch. */
const DELIVERY_SECONDS = 0.05;

/** The worker looks at its session's record twice a second, and stores frames each time: at least so many writes. */
const READS_A_SECOND = 2;
const WRITES_A_SECOND = 2;

/**
 * The record and its request in one transaction, which counts twice; the record's end; and its place in the index of open
 * sessions, at the beginning and at the end.
 */
const WRITES_A_SESSION = 2 * 2 + 1 + 2;

/** Return what an answer has cost so far. */
export function costOf(traffic: Traffic): Cost {
  const parts = [...pathParts(traffic), ...queueParts(traffic), dynamo(traffic)];
  return { usd: parts.reduce((sum, { usd }) => sum + usd, 0), parts };
}

function pathParts(traffic: Traffic): CostPart[] {
  const { way, messages, bytes, durationMs } = traffic;
  const minutes = durationMs / 60_000;
  switch (way.path) {
    case "url":
      return [lambda(1, traffic)];
    case "rest":
      return [part("REST requests", PRICES.restRequest * metered(1, bytes, UNITS.rest)), lambda(1, traffic)];
    case "websocket":
      return [
        // The request comes in, and its acceptance goes out beside the frames.
        part("WebSocket messages", PRICES.webSocketMessage * (2 + metered(messages, bytes, UNITS.webSocket))),
        part("WebSocket connection", PRICES.webSocketMinute * minutes),
        lambda(2, traffic),
      ];
    case "appsync":
      return [
        // Each frame is published by a mutation.
        part("AppSync operations", PRICES.appSyncOperation * (1 + metered(messages, bytes, UNITS.appSync))),
        part("AppSync updates", PRICES.appSyncUpdate * metered(messages, bytes, UNITS.appSync)),
        part("AppSync connection", PRICES.appSyncMinute * minutes),
        // Sent, received, deleted.
        part("SQS", PRICES.sqsRequest * 3),
        lambda(2, traffic),
      ];
  }
}

/** At most: frames that are sent while one publish is in flight share the next one. */
function queueParts({ way, messages, bytes }: Traffic): CostPart[] {
  if (way.delivery === "direct") return [];
  const units = metered(messages, bytes, UNITS.queue);
  return [
    part(
      "SNS",
      (PRICES.snsFifoPublish + PRICES.snsFifoDelivery) * messages +
        ((PRICES.snsFifoPublishGb + PRICES.snsFifoDeliveryGb) * bytes) / GB,
    ),
    // Put in by the topic, received, deleted.
    part("SQS FIFO", PRICES.sqsFifoRequest * (units * 2 + messages)),
    part(
      "Lambda for delivery",
      messages * (PRICES.lambdaRequest + PRICES.lambdaGbSecond * MEMORY_GB * DELIVERY_SECONDS),
    ),
  ];
}

function lambda(requests: number, { durationMs }: Traffic): CostPart {
  const seconds = durationMs / 1000;
  return part("Lambda", PRICES.lambdaRequest * requests + PRICES.lambdaGbSecond * MEMORY_GB * seconds);
}

function dynamo({ durationMs, bytes }: Traffic): CostPart {
  const seconds = durationMs / 1000;
  const writes = WRITES_A_SESSION + Math.max(WRITES_A_SECOND * seconds, bytes / UNITS.dynamoWrite);
  return part("DynamoDB", PRICES.dynamoWrite * writes + PRICES.dynamoRead * READS_A_SECOND * seconds);
}

/** Messages in units of so many bytes: as many as there are messages, or more where they are bigger than a unit. */
function metered(messages: number, bytes: number, unit: number): number {
  return Math.max(messages, Math.ceil(bytes / unit));
}

function part(what: string, usd: number): CostPart {
  return { what, usd };
}
