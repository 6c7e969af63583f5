import type { KeyValueStorageInterface } from "@aws-amplify/core";
import { beforeEach, describe, expect, it, vi } from "vitest";

import { openAuth } from "../../src/auth/cognito";
import type { Auth } from "../../src/auth/auth";
import { parseConfig } from "../../src/config";
import { ConnectionFailed, SignInFailed, SignInRequired, WrongCredentials } from "../../src/errors";
import { POOL_ID, USER, fakeCognito, type Pool } from "./fakeCognito";

class FakeStorage implements KeyValueStorageInterface {
  readonly items = new Map<string, string>();

  getItem(key: string): Promise<string | null> {
    return Promise.resolve(this.items.get(key) ?? null);
  }

  setItem(key: string, value: string): Promise<void> {
    this.items.set(key, value);
    return Promise.resolve();
  }

  removeItem(key: string): Promise<void> {
    this.items.delete(key);
    return Promise.resolve();
  }

  clear(): Promise<void> {
    this.items.clear();
    return Promise.resolve();
  }
}

let pool: Pool;
let storage: FakeStorage;

beforeEach(async () => {
  // Amplify remarks on an address that isn't AWS's.
  vi.spyOn(console, "warn").mockReturnValue(undefined);
  pool = await fakeCognito();
  storage = new FakeStorage();
});

function open(): Auth {
  const config = parseConfig({
    functionUrl: "http://127.0.0.1",
    restUrl: "http://127.0.0.1",
    region: "us-east-1",
    userPoolId: POOL_ID,
    userPoolClientId: "client",
    awsEndpointUrl: pool.url,
  });
  return openAuth(config, storage);
}

async function signedIn(): Promise<Auth> {
  const auth = open();
  await auth.signIn(USER.username, USER.password);
  return auth;
}

describe("signing in", () => {
  it("proves the password without sending it, and gives the ID token", async () => {
    const auth = await signedIn();
    expect(auth.getSnapshot()).toEqual({ status: "signedIn", username: USER.username });
    const claims = JSON.parse(Buffer.from((await auth.token()).split(".")[1] ?? "", "base64url").toString()) as object;
    expect(claims).toMatchObject({ token_use: "id" });
    expect(pool.sent.join()).not.toContain(USER.password);
    expect(JSON.stringify([...storage.items])).not.toContain(USER.password);
  });

  it("says that name or password are wrong, and not which", async () => {
    const auth = open();
    const messages = [];
    for (const [name, password] of [
      [USER.username, "wrong"],
      ["nobody@example.com", USER.password],
    ] as const) {
      const refused: unknown = await auth.signIn(name, password).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(WrongCredentials);
      messages.push((refused as Error).message);
    }
    expect(new Set(messages).size).toBe(1);
    expect(auth.getSnapshot().status).not.toBe("signedIn");
    await auth.signIn(USER.username, USER.password);
    expect(auth.getSnapshot().status).toBe("signedIn");
  });

  it("with a temporary password says who can do what", async () => {
    pool.challenge = "NEW_PASSWORD_REQUIRED";
    const refused: unknown = await open()
      .signIn(USER.username, USER.password)
      .catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(SignInFailed);
    expect((refused as Error).message).toMatch(/administrator/);
  });

  it("where the user pool isn't names the configuration", async () => {
    pool.refusal = { exception: "ResourceNotFoundException" };
    await expect(open().signIn(USER.username, USER.password)).rejects.toThrow(/config\.json/);
  });

  it("where Cognito isn't reached says so", async () => {
    vi.spyOn(globalThis, "fetch").mockRejectedValue(new TypeError("Failed to fetch"));
    const failed = open().signIn(USER.username, USER.password);
    await expect(failed).rejects.toMatchObject({ code: "connection_failed", reached: false });
  });
});

describe("a token", () => {
  it("is the same until it is refused, and renewed once for all who ask", async () => {
    const auth = await signedIn();
    const token = await auth.token();
    expect(await auth.token()).toBe(token);
    const renewed = await Promise.all([auth.token(token), auth.token(token), auth.token(token)]);
    expect(new Set(renewed).size).toBe(1);
    expect(renewed[0]).not.toBe(token);
    expect(await auth.token(token)).toBe(renewed[0]);
    expect(pool.calls.filter((call) => call === "GetTokensFromRefreshToken")).toHaveLength(1);
  });

  it("that is about to expire is renewed before it is sent, whatever the machine's clock says", async () => {
    const auth = await signedIn();
    const token = await auth.token();
    vi.spyOn(performance, "now").mockReturnValue(performance.now() + 3_550_000);
    expect(await auth.token()).not.toBe(token);
  });

  it("can't be had from a session that is over: the page is told, with the reason", async () => {
    const auth = await signedIn();
    const states: unknown[] = [];
    auth.subscribe(() => states.push(auth.getSnapshot()));
    pool.refusal = { exception: "NotAuthorizedException" };
    await expect(auth.token(await auth.token())).rejects.toThrow(SignInRequired);
    expect(states).toEqual([{ status: "signedOut", expired: true }]);
    await expect(auth.token()).rejects.toThrow(SignInRequired);
  });

  it("that can't be renewed for want of a network doesn't end the session", async () => {
    const auth = await signedIn();
    const token = await auth.token();
    const offline = vi.spyOn(globalThis, "fetch").mockRejectedValue(new TypeError("Failed to fetch"));
    await expect(auth.token(token)).rejects.toThrow(ConnectionFailed);
    expect(auth.getSnapshot().status).toBe("signedIn");
    offline.mockRestore();
    expect(await auth.token(token)).not.toBe(token);
  });
});

describe("a page that is loaded again", () => {
  it("goes on with the session of before", async () => {
    await signedIn();
    const auth = open();
    expect(auth.getSnapshot()).toEqual({ status: "unknown" });
    await auth.restore();
    expect(auth.getSnapshot()).toEqual({ status: "signedIn", username: USER.username });
  });

  it("asks nobody where there is none", async () => {
    const auth = open();
    await auth.restore();
    expect(auth.getSnapshot()).toEqual({ status: "signedOut", expired: false });
    expect(pool.calls).toEqual([]);
  });
});

describe("signing out", () => {
  it("revokes the session, forgets the tokens, and gives none any more", async () => {
    const auth = await signedIn();
    await auth.signOut();
    expect(auth.getSnapshot()).toEqual({ status: "signedOut", expired: false });
    expect(pool.calls).toContain("RevokeToken");
    expect([...storage.items.values()].join()).not.toContain("refresh");
    await expect(auth.token()).rejects.toThrow(SignInRequired);
  });

  it("leaves those who are told of it a token, to stop what runs", async () => {
    const auth = await signedIn();
    const tokens: Promise<string>[] = [];
    auth.subscribe(() => tokens.push(auth.token()));
    await auth.signOut();
    expect(await tokens[0]).toMatch(/^ey/);
  });

  it("works without a network", async () => {
    const auth = await signedIn();
    vi.spyOn(globalThis, "fetch").mockRejectedValue(new TypeError("Failed to fetch"));
    await auth.signOut();
    expect(auth.getSnapshot().status).toBe("signedOut");
  });
});
