/** One open connection to AppSync's real-time endpoint: hands the events to the subscriptions that they are for. */

import { ConnectionFailed, type ClientError } from "../errors";
import { decode, type JsonObject } from "../frames";
import { within } from "../waiting";
import {
  CONNECTION_INIT,
  frameOf,
  keepAliveOf,
  startMessage,
  stopMessage,
  type Authorization,
} from "./appsyncMessages";
import { byteLength } from "./bytes";
import { serverOf } from "./fetching";
import { realtimeFailure } from "./graphqlErrors";
import { Inbox } from "./inbox";
import type { Arrival } from "./transport";

/** Subscriptions that AppSync takes on one connection. */
const SUBSCRIPTION_LIMIT = 100;

/** One session's frames; what ended the subscription is rejected with behind the last. */
export interface Subscription {
  readonly inbox: Inbox<Arrival>;
  /** Have the connection used by none but those who use it already: events don't come although there are some. */
  distrust(): void;
  /** Want no more frames. */
  close(): void;
}

interface Pending {
  readonly inbox: Inbox<Arrival>;
  acknowledged: boolean;
  readonly acknowledge: () => void;
  /** Tell who waits for the acknowledgement that none comes. */
  readonly refuse: (failure: ClientError) => void;
}

/**
 * Reads and sends until the connection ends.
 *
 * AppSync keeps it alive: when nothing comes for as long as its `connection_ack` says, it is dead. `ackTimeoutMs` is how
 * long the acknowledgements, of the connection and of a subscription, are waited for.
 */
export class AppSyncConnection {
  readonly #socket: WebSocket;
  readonly #server: string;
  readonly #ackTimeoutMs: number;
  readonly #subscriptions = new Map<string, Pending>();
  readonly #stopping = new Set<string>();
  readonly #initialized: Promise<void>;
  #acknowledge: (failure: ClientError | null) => void = () => undefined;
  #keepAliveMs: number | undefined;
  #failure: (() => ClientError) | undefined;
  #retired = false;
  #numbers = 0;
  #heardAt = performance.now();
  #dying: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: WebSocket, ackTimeoutMs: number) {
    this.#socket = socket;
    this.#server = serverOf(socket.url);
    this.#ackTimeoutMs = ackTimeoutMs;
    const acknowledgement = new Promise<ClientError | null>((resolve) => (this.#acknowledge = resolve));
    this.#initialized = within(ackTimeoutMs, acknowledgement, this.#silent).then((failure) => {
      if (failure !== null) throw failure;
    });
    socket.addEventListener("message", (event: MessageEvent<unknown>) => {
      this.#receive(event.data);
    });
    socket.addEventListener("close", () => {
      this.#end(this.#broken);
    });
    socket.send(CONNECTION_INIT);
  }

  /** Resolves once AppSync has acknowledged the connection; rejects, and closes it, when it doesn't. */
  async initialized(): Promise<void> {
    try {
      await this.#initialized;
    } catch (error) {
      this.#end(() => error as ClientError);
      throw error;
    }
  }

  /** Whether it can be used for another subscription. */
  get hasRoom(): boolean {
    const open = !this.#retired && this.#failure === undefined && this.#socket.readyState === WebSocket.OPEN;
    // AppSync counts one until it has confirmed its end.
    return open && this.#subscriptions.size + this.#stopping.size < SUBSCRIPTION_LIMIT;
  }

  /**
   * Have the frames of a session sent here from now on; to be closed. Takes its place before it waits.
   *
   * Rejects with `RequestRejected` when AppSync refuses and `ConnectionFailed`.
   */
  async subscribe(sessionId: string, authorization: Authorization): Promise<Subscription> {
    if (this.#failure !== undefined) throw this.#failure();
    this.#numbers += 1;
    const id = String(this.#numbers);
    const inbox = new Inbox<Arrival>();
    const acknowledged = new Promise<ClientError | null>((resolve) => {
      this.#subscriptions.set(id, {
        inbox,
        acknowledged: false,
        acknowledge: () => {
          resolve(null);
        },
        refuse: resolve,
      });
    });
    this.#socket.send(startMessage(id, sessionId, authorization));
    const since = performance.now();
    let failure: ClientError | null;
    try {
      failure = await within(this.#ackTimeoutMs, acknowledged, this.#silent);
    } catch (error) {
      if (this.#heardAt <= since) this.#end(this.#silent);
      failure = error as ClientError;
    }
    if (failure !== null) {
      this.#unsubscribe(id);
      throw failure;
    }
    return {
      inbox,
      distrust: () => {
        this.#retired = true;
      },
      close: () => {
        this.#unsubscribe(id);
      },
    };
  }

  /** Close, whatever uses it. */
  close(): void {
    this.#end(this.#broken);
  }

  readonly #broken = (): ClientError => new ConnectionFailed(`The connection to ${this.#server} broke.`);
  readonly #silent = (): ClientError => new ConnectionFailed(`${this.#server} has gone silent.`);

  #unsubscribe(id: string): void {
    if (this.#subscriptions.delete(id) && this.#failure === undefined) {
      this.#stopping.add(id);
      this.#socket.send(stopMessage(id));
    }
    if (this.#retired && this.#subscriptions.size === 0) this.close();
  }

  /** Tell everyone who waits; the first reason counts. */
  #end(failure: () => ClientError): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    clearTimeout(this.#dying);
    this.#acknowledge(failure());
    for (const { inbox, refuse } of this.#subscriptions.values()) {
      refuse(failure());
      inbox.fail(failure());
    }
    this.#subscriptions.clear();
    this.#socket.close();
  }

  #receive(data: unknown): void {
    if (this.#failure !== undefined) return;
    const atMs = (this.#heardAt = performance.now());
    try {
      const text = String(data);
      this.#dispatch(decode(text), byteLength(text), atMs);
      this.#expectMore();
    } catch (error) {
      this.#end(() => error as ClientError);
    }
  }

  #expectMore(): void {
    clearTimeout(this.#dying);
    if (this.#keepAliveMs === undefined) return;
    this.#dying = setTimeout(() => {
      this.#end(this.#silent);
    }, this.#keepAliveMs);
  }

  #dispatch(message: JsonObject, bytes: number, atMs: number): void {
    const { type, payload } = message;
    const id = typeof message.id === "string" ? message.id : undefined;
    const subscription = id === undefined ? undefined : this.#subscriptions.get(id);
    if (type === "connection_ack") {
      this.#keepAliveMs = keepAliveOf(message);
      this.#acknowledge(null);
    } else if (type === "connection_error" || (type === "error" && this.#keepAliveMs === undefined)) {
      this.#acknowledge(realtimeFailure(payload, this.#server));
    } else if (type === "start_ack") {
      if (subscription === undefined) return;
      subscription.acknowledged = true;
      subscription.acknowledge();
    } else if (type === "data") {
      const frame = subscription === undefined ? null : frameOf(payload);
      if (frame !== null) subscription?.inbox.put({ message: frame, bytes, atMs });
    } else if (type === "error" || type === "complete") {
      this.#over(id, payload);
    }
    // What is left: `ka`, and what belongs to a later version.
  }

  #over(id: string | undefined, payload: unknown): void {
    const failure = realtimeFailure(payload, this.#server);
    if (id === undefined) {
      // It doesn't say to what: whoever waits for an answer asks again.
      for (const { refuse } of this.#subscriptions.values()) refuse(new ConnectionFailed(failure.message));
      return;
    }
    this.#stopping.delete(id);
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined) return;
    this.#subscriptions.delete(id); // AppSync has ended it, so it isn't stopped
    // One that was confirmed can be made anew, if need be with a new token.
    const told = subscription.acknowledged ? new ConnectionFailed(failure.message) : failure;
    subscription.refuse(told);
    subscription.inbox.fail(told);
  }
}
