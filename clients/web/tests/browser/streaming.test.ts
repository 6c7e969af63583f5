import { fileURLToPath } from "node:url";

import { expect, test } from "vitest";

import { type Path, WAYS } from "../../src/ways";
import { letters, openSignedIn, WAY_IDS } from "./page";
import { answerTo, cut, endpoints, modelStreams, type Turn } from "./stack";

const SCREENSHOT = fileURLToPath(new URL("../../../../docs/side-by-side.png", import.meta.url));

/** Every letter of its answer is in any font. */
const PICTURED = "Talk about gardens briefly.";

const PATHS: readonly Path[] = ["url", "rest", "websocket", "appsync"];

const user = (content: string): Turn => ({ role: "user", content });

test("an answer streams on each way in a tab of its own, goes on while another tab is open, and no character is lost", async () => {
  const client = await openSignedIn();
  const prompt = "What is a river?";
  for (const way of WAY_IDS) {
    await client.openTab(way);
    await client.ask(prompt);
  }
  const answer = await answerTo(user(prompt));
  for (const way of WAY_IDS) {
    await client.openTab(way);
    await client.become("done", way);
    expect(letters(await client.shown(way)), way).toBe(letters(answer));
    expect(await client.copied(way), way).toBe(answer);
  }
});

test("all ways side by side give the same answer, with figures and a picture of each", async () => {
  const client = await openSignedIn();
  const prompt = "What do all of you say?";
  await client.ask(prompt);
  await client.become("done", ...WAY_IDS);
  const answer = await answerTo(user(prompt));
  for (const way of WAY_IDS) expect(await client.copied(way)).toBe(answer);
  const { page } = client;
  await expect.poll(() => page.locator("figure polyline").count()).toBe(WAY_IDS.length);
  const figures = page.getByRole("table", { name: "Figures of all ways" });
  const firstToken = await figures.locator('tbody [data-figure="first"]').allInnerTexts();
  expect(firstToken).toHaveLength(WAY_IDS.length);
  for (const figure of firstToken) expect(figure).toMatch(/^[\d.]+ m?s$/);
  await client.openTab("history");
  for (const way of WAY_IDS) await page.getByRole("table").last().locator(`tr[data-way="${way}"]`).waitFor();
});

if (process.env.UPDATE_SCREENSHOT === "1") {
  test("the README's picture of all ways side by side", async () => {
    const client = await openSignedIn({ viewport: { width: 1280, height: 1450 } });
    const { page } = client;
    // The functions' first starts aren't what the picture is of.
    await client.ask("Warm up");
    await client.become("done", ...WAY_IDS);
    await client.button("New conversation").click();
    await client.ask(PICTURED);
    await client.begin(...WAY_IDS);
    await client.become("done", ...WAY_IDS);
    await page.screenshot({ path: SCREENSHOT });
  });
}

test("Stop ends one answer, Stop for all ends the others, and the model stops generating them", async () => {
  const client = await openSignedIn();
  // The model's record is of all that it was asked since the stack runs.
  const prompt = `Talk on and on ${crypto.randomUUID()} [[tokens=6000]] [[rate=20]]`;
  await client.ask(prompt);
  await client.begin(...WAY_IDS);
  await client.button("Stop: REST API", client.lane("rest")).press("Enter");
  await client.become("cancelled", "rest");
  const others = WAY_IDS.filter((way) => way !== "rest");
  for (const way of others) expect(await client.lane(way).getAttribute("data-status")).toBe("streaming");
  await client.button("Stop").click();
  await client.become("cancelled", ...WAY_IDS);

  await expect
    .poll(async () => (await modelStreams(prompt)).map(({ ended }) => ended))
    .toEqual(WAY_IDS.map(() => "client"));
  const whole = await answerTo(user(prompt));
  for (const way of WAY_IDS) {
    const part = await client.copied(way);
    expect(part.length).toBeGreaterThan(0);
    expect(whole.startsWith(part), `the text on ${way} is the answer's beginning`).toBe(true);
  }
});

test("every path's connection is lost in the midst, comes back, and no character is lost", async () => {
  const client = await openSignedIn();
  const prompt = "Go through a tunnel [[tokens=160]] [[rate=20]]";
  await client.ask(prompt);
  await Promise.all(
    PATHS.map(async (path) => {
      await client.begin(...WAYS.filter((way) => way.path === path).map(({ id }) => id));
      await cut(path);
    }),
  );
  await client.become("done", ...WAY_IDS);
  const answer = await answerTo(user(prompt));
  for (const way of WAY_IDS) {
    expect(await client.lane(way).innerText()).toContain("Complete. Resumed after a lost connection.");
    expect(await client.copied(way)).toBe(answer);
  }
});

test("a conversation goes on from what was said before, on every way", async () => {
  const client = await openSignedIn();
  const turns: Turn[] = [];
  for (const prompt of ["My name is Ada.", "What is my name?", "And backwards?"]) {
    turns.push(user(prompt));
    await client.ask(prompt);
    await client.page.getByRole("article").filter({ hasText: prompt }).waitFor();
    await client.become("done", ...WAY_IDS);
    const answer = await answerTo(...turns);
    expect(answer).toContain(`Turn ${turns.length}. You said: “${prompt}”.`);
    for (const way of WAY_IDS) expect(await client.copied(way)).toBe(answer);
    turns.push({ role: "assistant", content: answer });
  }
  await client.button("New conversation").click();
  await expect.poll(() => client.page.getByRole("article").count()).toBe(0);
});

test("an endpoint that is down is said to be, while the other ways answer", async () => {
  const client = await openSignedIn();
  const { page } = client;
  await page.route(endpoints.functionUrl, (route) => route.abort("connectionrefused"));
  await client.ask("Who is there?");
  await client.become("failed", "url");
  expect(await client.lane("url").innerText()).toMatch(/Failed: .+\. Check your network and that the stack is running/);
  await client.become("done", ...WAY_IDS.filter((way) => way !== "url"));
});
