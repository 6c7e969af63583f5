// Follows one answer with AWS Amplify: subscribes, starts it, writes each event as a line of JSON, and ends behind the
// last. Stdin: {"endpoint", "region", "token", "subscription": operation, "mutation": operation}, each operation what
// Amplify's `graphql` takes: {"query", "variables"}.

import { text } from "node:stream/consumers";

import { CONNECTION_STATE_CHANGE, ConnectionState, generateClient } from "@aws-amplify/api";
import { Amplify, decodeJWT, Hub } from "@aws-amplify/core";
import WebSocket from "ws";

// Node has one of its own from 22 on only.
globalThis.WebSocket = WebSocket;

const { endpoint, region, token, subscription, mutation } = JSON.parse(await text(process.stdin));

// What Amplify sends is the access token, and this API takes ID tokens.
const idToken = decodeJWT(token);
const tokenProvider = { getTokens: async () => ({ accessToken: idToken, idToken }) };
Amplify.configure(
  { API: { GraphQL: { endpoint, region, defaultAuthMode: "userPool" } } },
  { Auth: { tokenProvider } },
);
const client = generateClient();

/** Wait for a state of Amplify's connection: "Connected" is one whose subscription is acknowledged. */
function reached(state) {
  return new Promise((resolve) => {
    Hub.listen("api", ({ payload: { event, data } }) => {
      if (event === CONNECTION_STATE_CHANGE && data.connectionState === state) resolve();
    });
  });
}

const connected = reached(ConnectionState.Connected);
let following;
const ended = new Promise((resolve, reject) => {
  following = client.graphql(subscription).subscribe({
    next({ data }) {
      const [event] = Object.values(data);
      process.stdout.write(`${JSON.stringify(event)}\n`);
      if (event.isComplete) resolve();
    },
    error: reject,
  });
});

await Promise.race([connected, ended]);
await client.graphql(mutation);
await ended;
const disconnected = reached(ConnectionState.Disconnected);
following.unsubscribe();
await disconnected;
// A timer of Amplify's would hold the process up: how long connecting may take, done or not.
process.exit();
