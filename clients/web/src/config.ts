/** Where a stack is, read at run time from `/config.json`: one build serves every stack. */

import { ConfigError } from "./errors";
import { WAYS, type Way } from "./ways";

/**
 * The addresses of one stack, without a slash at their end, and its user pool.
 *
 * `awsEndpointUrl` is where the AWS services of a local stack are; without it they are AWS's own. `username` and
 * `password` are there locally alone, to fill the form in. The addresses of a path are missing in a stack that hasn't it.
 */
export interface Config {
  readonly functionUrl: string;
  readonly restUrl: string;
  readonly websocketUrl?: string;
  readonly graphqlUrl?: string;
  readonly graphqlRealtimeUrl?: string;
  readonly awsEndpointUrl?: string;
  readonly region: string;
  readonly userPoolId: string;
  readonly userPoolClientId: string;
  readonly username?: string;
  readonly password?: string;
  readonly stackName?: string;
}

/** Fetch and read it. Throws `ConfigError`. */
export async function loadConfig(url = "/config.json", fetcher: typeof fetch = fetch): Promise<Config> {
  let response: Response;
  try {
    response = await fetcher(url, { cache: "no-store" });
  } catch (error) {
    throw new ConfigError(`${url} can't be fetched: is the server that serves this page running?`, undefined, error);
  }
  if (!response.ok) throw new ConfigError(`${url} can't be fetched: the server answered with ${response.status}.`);
  let values: unknown;
  try {
    values = await response.json();
  } catch (error) {
    // A server that knows no such file often answers with the page itself.
    throw new ConfigError(`${url} isn't JSON: it has to be written from the stack's outputs.`, undefined, error);
  }
  return parseConfig(values);
}

/** Read its keys; others are ignored. Throws `ConfigError`, which names the key at fault. */
export function parseConfig(values: unknown): Config {
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw new ConfigError("/config.json isn't a JSON object.");
  }
  const read = new Reader(values as Record<string, unknown>);
  return {
    functionUrl: read.url("functionUrl"),
    restUrl: read.url("restUrl"),
    ...read.optionalUrl("websocketUrl", "ws"),
    ...read.optionalUrl("graphqlUrl"),
    ...read.optionalUrl("graphqlRealtimeUrl", "ws"),
    ...read.optionalUrl("awsEndpointUrl"),
    region: read.text("region"),
    userPoolId: read.text("userPoolId"),
    userPoolClientId: read.text("userPoolClientId"),
    ...read.optionalText("username"),
    ...read.optionalText("password"),
    ...read.optionalText("stackName"),
  };
}

/** The ways that a stack has, in the order in which they are shown. */
export function waysOf(config: Config): readonly Way[] {
  return WAYS.filter(({ path }) => {
    switch (path) {
      case "url":
      case "rest":
        return true;
      case "websocket":
        return config.websocketUrl !== undefined;
      case "appsync":
        return config.graphqlUrl !== undefined && config.graphqlRealtimeUrl !== undefined;
    }
  });
}

type Scheme = "http" | "ws";

class Reader {
  constructor(private readonly values: Record<string, unknown>) {}

  text(key: string): string {
    const value = this.values[key];
    if (typeof value !== "string" || value === "") throw new ConfigError(`/config.json has no \`${key}\`.`, key);
    return value;
  }

  url(key: string, scheme: Scheme = "http"): string {
    const value = this.text(key);
    if (!URL.canParse(value) || ![`${scheme}:`, `${scheme}s:`].includes(new URL(value).protocol)) {
      throw new ConfigError(`\`${key}\` in /config.json isn't an address with ${scheme}:// or ${scheme}s://.`, key);
    }
    return value.replace(/\/+$/, "");
  }

  optionalText<Key extends string>(key: Key): Partial<Record<Key, string>> {
    return this.#absent(key) ? {} : ({ [key]: this.text(key) } as Record<Key, string>);
  }

  optionalUrl<Key extends string>(key: Key, scheme: Scheme = "http"): Partial<Record<Key, string>> {
    return this.#absent(key) ? {} : ({ [key]: this.url(key, scheme) } as Record<Key, string>);
  }

  #absent(key: string): boolean {
    return [undefined, null, ""].includes(this.values[key] as string | null | undefined);
  }
}
