/** The page in a browser, as a user goes about it. */

import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Locator } from "playwright-core";
import type { Page } from "playwright-core";
import { expect, inject, onTestFinished } from "vitest";

import type { RunStatus } from "../../src/run/run";
import type { View } from "../../src/ui/app/desk";
import { tabId } from "../../src/ui/tabs/Tabs";
import { WAY_NAMES } from "../../src/ui/words/wayNames";
import { WAYS, type WayId } from "../../src/ways";
import { endpoints } from "./stack";

export const WAY_IDS: readonly WayId[] = WAYS.map(({ id }) => id);

/** What the browser itself reports of a network that fails, which tests let it do. */
const NETWORK = /^Failed to load resource|^WebSocket connection to|net::ERR_/;

/** Ends what hangs. */
const TIMEOUT_MS = 60_000;

let browser: Promise<Browser> | null = null;
let session: Promise<Readonly<Record<string, string>>> | null = null;

/**
 * Open the page in a browser profile of its own, until the test is finished. The test fails when the page violates its
 * Content-Security-Policy, writes an error to the console or throws one.
 */
export async function openPage(options: BrowserContextOptions = {}): Promise<WebClient> {
  const client = await newPage(options);
  await client.page.goto(endpoints.webUrl);
  return client;
}

/** Open it for a user who has signed in already, in this tab. */
export async function openSignedIn(options: BrowserContextOptions = {}): Promise<WebClient> {
  session ??= sessionOfUser();
  const kept = await session;
  const client = await newPage(options);
  await client.page.addInitScript((entries) => {
    for (const [key, value] of Object.entries(entries)) sessionStorage.setItem(key, value);
  }, kept);
  await client.page.goto(endpoints.webUrl);
  await client.prompt.waitFor();
  return client;
}

async function newPage(options: BrowserContextOptions): Promise<WebClient> {
  browser ??= chromium.connect(inject("browser"));
  const context = await (await browser).newContext({ viewport: { width: 1280, height: 900 }, ...options });
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: endpoints.webUrl });
  context.setDefaultTimeout(TIMEOUT_MS);
  const page = await context.newPage();
  const complaints = complaintsOf(page);
  onTestFinished(async ({ task }) => {
    const shown = await page.locator("body").innerText();
    await context.close();
    if (task.result?.state === "fail") console.log(`What the page of "${task.name}" showed:\n${shown}`);
    expect(complaints, "complaints of the browser").toEqual([]);
  });
  return new WebClient(page, context);
}

/** What the page has done wrong, as the browser sees it; it grows. */
function complaintsOf(page: Page): readonly string[] {
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !NETWORK.test(message.text())) complaints.push(message.text());
  });
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  return complaints;
}

async function sessionOfUser(): Promise<Readonly<Record<string, string>>> {
  const client = await openPage();
  await client.signIn();
  return client.page.evaluate(() => Object.fromEntries<string>(Object.entries(sessionStorage)));
}

export class WebClient {
  constructor(
    readonly page: Page,
    readonly context: BrowserContext,
  ) {}

  get prompt(): Locator {
    return this.page.getByRole("textbox", { name: "Prompt" });
  }

  button(name: string, within: Page | Locator = this.page): Locator {
    return within.getByRole("button", { name, exact: true });
  }

  /** Sign in with what is filled in. */
  async signIn(): Promise<void> {
    await this.button("Sign in").click();
    await this.prompt.waitFor();
  }

  async openTab(tab: View): Promise<void> {
    await this.page.locator(`#${tabId(tab)}`).click();
  }

  async ask(prompt: string): Promise<void> {
    await this.prompt.fill(prompt);
    await this.button("Send").click();
  }

  /** The latest run on a way, of the tab that is open. */
  lane(way: WayId): Locator {
    return this.page.getByRole("group", { name: WAY_NAMES[way], exact: true }).last();
  }

  /** The text as the page shows it. */
  async shown(way: WayId): Promise<string> {
    return (await this.lane(way).locator("[data-text]").textContent()) ?? "";
  }

  /** The text as the user gets it with Copy: to the character. */
  async copied(way: WayId): Promise<string> {
    await this.page.evaluate(() => navigator.clipboard.writeText(""));
    await this.button(`Copy the answer: ${WAY_NAMES[way]}`, this.lane(way)).click();
    await expect.poll(() => this.page.evaluate(() => navigator.clipboard.readText())).not.toBe("");
    return this.page.evaluate(() => navigator.clipboard.readText());
  }

  /** Wait until the run on each of these ways has come to this state. */
  async become(status: RunStatus, ...ways: readonly WayId[]): Promise<void> {
    const statuses = (): Promise<(string | null)[]> =>
      Promise.all(ways.map((way) => this.lane(way).getAttribute("data-status")));
    await expect.poll(statuses).toEqual(ways.map(() => status));
  }

  /** Wait until something of each of these ways' text is there. */
  async begin(...ways: readonly WayId[]): Promise<void> {
    for (const way of ways) await expect.poll(() => this.shown(way)).not.toBe("");
  }
}

/** What Markdown leaves of plain prose: all but white space and the dashes of lists. */
export function letters(text: string): string {
  return text.replace(/[\s-]/g, "");
}
