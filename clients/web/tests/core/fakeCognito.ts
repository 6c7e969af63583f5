/**
 * A user pool with one user, over HTTP: the server's side of SRP-6a in Cognito's variant.
 *
 * Source: Amazon Cognito API reference; the arithmetic mirrors that of clients/python/tokenstream_client/srp.py.
 */

import { createHash, createHmac, randomBytes } from "node:crypto";

import { httpServer, json, type Received } from "./httpServer";

export const USER = { username: "demo@example.com", password: "correct horse" };
export const POOL_ID = "us-east-1_Fake12345";

/** The 3072-bit prime of RFC 3526. */
const PRIME = BigInt(
  "0xFFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD" +
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED" +
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F" +
    "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B" +
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510" +
    "15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7" +
    "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C" +
    "BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
);
const GENERATOR = 2n;

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let square = base % PRIME; exponent > 0n; exponent >>= 1n, square = (square * square) % PRIME) {
    if (exponent & 1n) result = (result * square) % PRIME;
  }
  return result;
}

/** Big-endian bytes, with a zero byte before a high bit. */
function padded(number: bigint): Buffer {
  let hex = number.toString(16);
  if (hex.length % 2 === 1) hex = `0${hex}`;
  return Buffer.from(/^[89a-f]/.test(hex) ? `00${hex}` : hex, "hex");
}

function hashed(...parts: readonly Uint8Array[]): bigint {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return BigInt(`0x${hash.digest("hex")}`);
}

const hmac = (key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer =>
  createHmac("sha256", key).update(Buffer.concat(parts)).digest();

interface Call {
  readonly action: string;
  readonly body: {
    readonly AuthFlow?: string;
    readonly AuthParameters?: Record<string, string>;
    readonly RefreshToken?: string;
    readonly ChallengeName?: string;
    readonly ChallengeResponses?: Record<string, string>;
  };
}

/** What a test may change while it runs. */
export interface Pool {
  readonly url: string;
  readonly calls: string[];
  /** Everything that was sent, as text. */
  readonly sent: string[];
  lifetimeSeconds: number;
  /** Refuse every call, or those of one action, with the exception; `challenge` is asked for instead of tokens. */
  refusal: { readonly action?: string; readonly exception: string; readonly status?: number } | null;
  challenge: string | null;
}

/** Start it, until the test is finished. */
export async function fakeCognito(): Promise<Pool> {
  const exchange = new PasswordExchange();
  let issued = 0;
  const tokens = () => {
    issued += 1;
    const iat = Math.floor(Date.now() / 1000);
    const claims = { iat, exp: iat + pool.lifetimeSeconds, sub: "sub", origin_jti: "origin", jti: String(issued) };
    return {
      AuthenticationResult: {
        AccessToken: jwt({ ...claims, token_use: "access", username: "sub" }),
        IdToken: jwt({ ...claims, token_use: "id", "cognito:username": "sub", email: USER.username }),
        RefreshToken: "refresh",
      },
    };
  };
  const answer = ({ action, body }: Call): object | string => {
    if (pool.refusal !== null && (pool.refusal.action ?? action) === action) return pool.refusal.exception;
    switch (action) {
      case "InitiateAuth":
        return exchange.challenge(body.AuthParameters ?? {});
      case "RespondToAuthChallenge": {
        if (!exchange.verifies(body.ChallengeResponses ?? {})) return "NotAuthorizedException";
        return pool.challenge === null
          ? tokens()
          : { ChallengeName: pool.challenge, ChallengeParameters: {}, Session: "s" };
      }
      case "GetTokensFromRefreshToken":
        return body.RefreshToken === "refresh" ? tokens() : "NotAuthorizedException";
      default:
        return {};
    }
  };
  const server = await httpServer((received, response) => {
    const call: Call = { action: actionOf(received), body: received.body as Call["body"] };
    pool.calls.push(call.action);
    pool.sent.push(JSON.stringify(received.body));
    const given = answer(call);
    if (typeof given === "string") json(response, pool.refusal?.status ?? 400, { __type: given, message: "No." });
    else json(response, 200, given);
  });
  const pool: Pool = {
    url: server.url,
    calls: [],
    sent: [],
    lifetimeSeconds: 3600,
    refusal: null,
    challenge: null,
  };
  return pool;
}

function actionOf({ headers }: Received): string {
  return String(headers["x-amz-target"]).split(".")[1] ?? "";
}

function jwt(claims: object): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "none" })}.${part(claims)}.c2ln`;
}

/** The user's verifier, and one exchange with whoever claims to be the user. */
class PasswordExchange {
  readonly #salt = BigInt(`0x${randomBytes(16).toString("hex")}`);
  readonly #secret = BigInt(`0x${randomBytes(32).toString("hex")}`);
  readonly #poolName = POOL_ID.split("_")[1] ?? "";
  readonly #verifier: bigint;
  readonly #public: bigint;
  readonly #block = randomBytes(64);
  #client = 0n;

  constructor() {
    const identity = createHash("sha256").update(`${this.#poolName}${USER.username}:${USER.password}`).digest();
    this.#verifier = power(GENERATOR, hashed(padded(this.#salt), identity));
    const multiplier = hashed(padded(PRIME), padded(GENERATOR));
    this.#public = (multiplier * this.#verifier + power(GENERATOR, this.#secret)) % PRIME;
  }

  challenge({ USERNAME = "", SRP_A = "0" }: Record<string, string>): object | string {
    if (USERNAME !== USER.username) return "UserNotFoundException";
    this.#client = BigInt(`0x${SRP_A}`);
    return {
      ChallengeName: "PASSWORD_VERIFIER",
      ChallengeParameters: {
        USER_ID_FOR_SRP: USER.username,
        USERNAME,
        SALT: this.#salt.toString(16),
        SRP_B: this.#public.toString(16),
        SECRET_BLOCK: this.#block.toString("base64"),
      },
    };
  }

  verifies({ PASSWORD_CLAIM_SIGNATURE = "", TIMESTAMP = "" }: Record<string, string>): boolean {
    const scrambler = hashed(padded(this.#client), padded(this.#public));
    const shared = power(this.#client * power(this.#verifier, scrambler), this.#secret);
    const extracted = hmac(padded(scrambler), padded(shared));
    const key = hmac(extracted, Buffer.from("Caldera Derived Key\x01")).subarray(0, 16);
    const claim = [Buffer.from(this.#poolName + USER.username), this.#block, Buffer.from(TIMESTAMP)];
    return hmac(key, ...claim).toString("base64") === PASSWORD_CLAIM_SIGNATURE;
  }
}
