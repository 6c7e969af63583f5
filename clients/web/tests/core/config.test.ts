import { describe, expect, it } from "vitest";

import { loadConfig, parseConfig, waysOf } from "../../src/config";
import { ConfigError } from "../../src/errors";

const LOCAL = {
  functionUrl: "http://127.0.0.1:1/url/",
  restUrl: "http://127.0.0.1:1/rest/v1",
  websocketUrl: "ws://127.0.0.1:2/v1",
  graphqlUrl: "http://127.0.0.1:1/graphql",
  graphqlRealtimeUrl: "ws://127.0.0.1:1/graphql/realtime",
  awsEndpointUrl: "http://127.0.0.1:3",
  region: "us-east-1",
  userPoolId: "us-east-1_abc",
  userPoolClientId: "client",
  username: "demo@example.com",
  password: "secret",
  otherUsers: [],
};

const without = (...keys: readonly string[]): Record<string, unknown> =>
  Object.fromEntries(Object.entries(LOCAL).filter(([key]) => !keys.includes(key)));

const answering =
  (response: () => Response): typeof fetch =>
  () =>
    Promise.resolve().then(response);

async function refusal(response: () => Response): Promise<ConfigError> {
  const refused: unknown = await loadConfig("/config.json", answering(response)).catch((error: unknown) => error);
  if (!(refused instanceof ConfigError)) throw new Error("no ConfigError", { cause: refused });
  return refused;
}

it("a local stack's file is read as it is, but for the slashes at the end and what is for others", async () => {
  const config = await loadConfig(
    "/config.json",
    answering(() => Response.json(LOCAL)),
  );
  expect(config).toEqual({ ...without("otherUsers"), functionUrl: "http://127.0.0.1:1/url" });
});

it("a deployed stack's file has no user and no address of AWS's services", () => {
  expect(parseConfig(without("username", "password", "awsEndpointUrl"))).not.toHaveProperty("password");
});

it.each(["functionUrl", "restUrl", "region", "userPoolId", "userPoolClientId"])("a missing %s is named", (key) => {
  const config = { ...LOCAL, [key]: undefined };
  expect(() => parseConfig(config)).toThrow(expect.objectContaining({ code: "config", key }));
});

it.each([
  ["functionUrl", "javascript:alert(1)"],
  ["restUrl", "ws://127.0.0.1"],
  ["websocketUrl", "http://127.0.0.1"],
  ["graphqlRealtimeUrl", "nonsense"],
  ["awsEndpointUrl", 5],
])("%s that is no such address (%j) is named", (key, value) => {
  expect(() => parseConfig({ ...LOCAL, [key]: value })).toThrow(expect.objectContaining({ key }));
});

it("a stack without a path isn't shown to have it", () => {
  const older = without("websocketUrl", "graphqlRealtimeUrl");
  expect(waysOf(parseConfig(older)).map(({ id }) => id)).toEqual(["url", "rest"]);
  expect(waysOf(parseConfig(LOCAL))).toHaveLength(6);
});

describe("a configuration that can't be had is told in a sentence", () => {
  it("when there is no such file", async () => {
    expect((await refusal(() => new Response("", { status: 404 }))).message).toContain("404");
  });

  it("when the server answers with the page instead", async () => {
    expect((await refusal(() => new Response("<!doctype html>"))).message).toContain("isn't JSON");
  });

  it("when the server is gone", async () => {
    const gone = () => {
      throw new TypeError("Failed to fetch");
    };
    expect((await refusal(gone)).message).toContain("can't be fetched");
  });

  it("when it is something other than an object", async () => {
    expect((await refusal(() => Response.json([]))).message).toContain("isn't a JSON object");
  });
});
