/** The local stack that the page talks to, as tests reach it themselves. */

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";

import type { Path } from "../../src/ways";
import { present } from "../ui/present";

interface Endpoints {
  readonly webUrl: string;
  readonly functionUrl: string;
  readonly awsEndpointUrl: string;
  readonly bedrockUrl: string;
  readonly userPoolClientId: string;
  readonly region: string;
  readonly username: string;
  readonly password: string;
}

/** A turn of a conversation, as requests have it. */
export interface Turn {
  readonly role: "user" | "assistant";
  readonly content: string;
}

/** How a stream of the model's ended: `client` when the one who asked for it closed it. */
interface ModelStream {
  readonly promptSha256: string;
  readonly tokensSent: number;
  readonly ended: "complete" | "client" | "fault" | null;
}

const FILE = process.env.TOKENSTREAM_ENDPOINTS ?? new URL("../../../../.local/endpoints.json", import.meta.url);

export const endpoints = JSON.parse(await readFile(FILE, "utf8")) as Endpoints;

const edge = new URL(endpoints.functionUrl).origin;

let idToken: Promise<string> | null = null;

/** A mark at a prompt's end that says how fast the model answers. */
const PACE = /\[\[rate=[^\]]*\]\]$/;

/**
 * The model's answer to the character. It depends on the conversation and not on its pace, nor on the way: here it
 * comes at once.
 */
export async function answerTo(...turns: readonly Turn[]): Promise<string> {
  idToken ??= signIn();
  const { role, content } = present(turns.at(-1));
  const hurried = { role, content: `${content.replace(PACE, "")}[[rate=inf ttft=0]]` };
  const response = await fetch(endpoints.functionUrl, {
    method: "POST",
    headers: { Authorization: `Bearer ${await idToken}`, "Content-Type": "application/json", Accept: "text/plain" },
    body: JSON.stringify({ messages: [...turns.slice(0, -1), hurried] }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`the model's answer couldn't be fetched: ${text}`);
  return text;
}

/** Cut a path's connections at the edge: those that stream now, or are open. */
export async function cut(path: Path): Promise<void> {
  const response = await fetch(`${edge}/_control/cut`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ path }),
  });
  const { cut: count } = (await response.json()) as { cut: number };
  if (count === 0) throw new Error(`there was no connection of ${path} to cut`);
}

/** The model's streams for a prompt. */
export async function modelStreams(prompt: string): Promise<readonly ModelStream[]> {
  const response = await fetch(`${endpoints.bedrockUrl}/_streams`);
  const { streams } = (await response.json()) as { streams: readonly ModelStream[] };
  const digest = createHash("sha256").update(prompt).digest("hex").slice(0, 16);
  return streams.filter(({ promptSha256 }) => promptSha256 === digest);
}

async function signIn(): Promise<string> {
  const { awsEndpointUrl, region, userPoolClientId, username, password } = endpoints;
  const response = await fetch(awsEndpointUrl, {
    method: "POST",
    headers: {
      "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
      "Content-Type": "application/x-amz-json-1.1",
      // The emulator only reads which service is meant.
      Authorization: `AWS4-HMAC-SHA256 Credential=test/20260101/${region}/cognito-idp/aws4_request, SignedHeaders=host, Signature=0`,
    },
    body: JSON.stringify({
      AuthFlow: "USER_PASSWORD_AUTH",
      ClientId: userPoolClientId,
      AuthParameters: { USERNAME: username, PASSWORD: password },
    }),
  });
  const { AuthenticationResult } = (await response.json()) as { AuthenticationResult: { IdToken: string } };
  return AuthenticationResult.IdToken;
}
