/** Figures of the page, printed as they are; what is asserted is their order of magnitude. */

import { gzipSync } from "node:zlib";

import type { CDPSession, Page } from "playwright-core";
import { expect, test } from "vitest";

import { openPage, openSignedIn, type WebClient } from "./page";
import { endpoints } from "./stack";

// Three times as fast as models are, so that a cost that grows with the answer shows within ten seconds. `npm run
// measure` has a model's pace.
const TOKENS = Number(process.env.TOKENS ?? 9000);
const RATE = Number(process.env.RATE ?? 900);

/** A frame of a screen with 60 a second, and what the browser calls a long task; milliseconds. */
const FRAME_MS = 1000 / 60;
const LONG_TASK_MS = 50;

/** What the page's own thread has done until a moment: milliseconds of CPU, whatever else the machine does. */
interface Work {
  readonly atMs: number;
  readonly scriptMs: number;
  readonly allMs: number;
  readonly frames: number;
}

function report(figure: string, value: string): void {
  console.log(`figure: ${figure}: ${value}`);
}

test("the page's first visit loads no more than a slow line bears", async () => {
  const page = await (await fetch(endpoints.webUrl)).text();
  const parts = [...page.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map(([, path]) => path);
  const bodies = await Promise.all(
    parts.map(async (path) => (await fetch(new URL(path ?? "", endpoints.webUrl))).arrayBuffer()),
  );
  const bytes = [Buffer.from(page), ...bodies].reduce((sum, body) => sum + gzipSync(new Uint8Array(body)).length, 0);
  expect(parts.length).toBeGreaterThan(1);
  report("bundle, gzipped", `${(bytes / 1000).toFixed(1)} kB`);
  expect(bytes).toBeLessThan(300_000);
});

test("the page can be used soon after it is opened", async () => {
  const { context } = await openPage();
  const page = await context.newPage();
  await page.addInitScript(() => {
    new MutationObserver((_, observer) => {
      if (document.querySelector('button[type="submit"]') === null) return;
      performance.mark("usable");
      observer.disconnect();
    }).observe(document, { childList: true, subtree: true });
  });
  await page.goto(endpoints.webUrl);
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  const usableMs = await page.evaluate(() => performance.getEntriesByName("usable")[0]?.startTime);
  expect(usableMs).toBeTypeOf("number");
  report("from opening the page until it can be used", `${usableMs?.toFixed(0)} ms`);
});

test(`an answer of ${TOKENS} tokens at ${RATE} a second costs no more at its end than at its beginning`, async () => {
  const client = await openSignedIn();
  const { page } = client;
  await client.openTab("url");
  const devtools = await client.context.newCDPSession(page);
  // CPU time: a machine that has other things to do doesn't count.
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  await watchFrames(page);
  await client.ask(`Talk [[tokens=${TOKENS}]] [[rate=${RATE} ttft=0]]`);
  await client.begin("url");
  const work = await workUntilDone(client, devtools);
  const { longTasks, frames, dropped } = await seen(page);
  expect(await client.lane("url").innerText(), "the stack allows such an answer").toContain("Complete.");
  const thirds = [0, 1, 2].map((third) => during(work, third / 3, (third + 1) / 3));
  report("answer", `${TOKENS} tokens, ${RATE} a second`);
  report(
    "long tasks",
    `${longTasks.length} over ${LONG_TASK_MS} ms, the longest ${Math.max(0, ...longTasks).toFixed(0)} ms`,
  );
  report("frames", `${frames} shown, ${dropped} dropped`);
  report("script", `${thirds.map(({ scriptMs }) => scriptMs.toFixed(0)).join(", ")} ms in each third`);
  report("all of the page's thread", `${thirds.map(({ allMs }) => allMs.toFixed(0)).join(", ")} ms in each third`);
  const [first, , last] = thirds;
  // On a busy machine a third may have fewer frames than another, and more to show in each.
  const growth = Math.min(ratio(last?.scriptMs, first?.scriptMs), ratio(perFrame(last), perFrame(first)));
  report("script in the last third to that in the first", growth.toFixed(2));
  expect(growth).toBeLessThan(1.5);
});

function ratio(one: number | undefined, other: number | undefined): number {
  return (one ?? NaN) / (other ?? NaN);
}

function perFrame(work: Work | undefined): number {
  return ratio(work?.scriptMs, work?.frames);
}

async function watchFrames(page: Page): Promise<void> {
  await page.evaluate((frameMs) => {
    const seen = { longTasks: [] as number[], frames: 0, dropped: 0 };
    Object.assign(window, { seen });
    new PerformanceObserver((list) => {
      seen.longTasks.push(...list.getEntries().map(({ duration }) => duration));
    }).observe({ type: "longtask" });
    let before = performance.now();
    requestAnimationFrame(function next(now) {
      seen.frames += 1;
      seen.dropped += Math.max(0, Math.round((now - before) / frameMs) - 1);
      before = now;
      requestAnimationFrame(next);
    });
  }, FRAME_MS);
}

async function seen(page: Page): Promise<{ longTasks: readonly number[]; frames: number; dropped: number }> {
  return page.evaluate(
    () => (window as unknown as { seen: { longTasks: number[]; frames: number; dropped: number } }).seen,
  );
}

/** Note the page's work again and again until the answer is complete. */
async function workUntilDone(client: WebClient, devtools: CDPSession): Promise<readonly Work[]> {
  const work: Work[] = [];
  await expect
    .poll(
      async () => {
        work.push(await workOf(client.page, devtools));
        return client.lane("url").getAttribute("data-status");
      },
      { interval: 250, timeout: (TOKENS / RATE) * 1000 + 60_000 },
    )
    .toBe("done");
  return work;
}

async function workOf(page: Page, devtools: CDPSession): Promise<Work> {
  const { frames } = await seen(page);
  const { metrics } = await devtools.send("Performance.getMetrics");
  const value = (name: string): number => (metrics.find((metric) => metric.name === name)?.value ?? NaN) * 1000;
  return { atMs: value("Timestamp"), scriptMs: value("ScriptDuration"), allMs: value("TaskDuration"), frames };
}

/** The work between two parts of the time. */
function during(work: readonly Work[], from: number, to: number): Work {
  const [start, end] = [work[0]?.atMs ?? NaN, work.at(-1)?.atMs ?? NaN];
  const at = (part: number): Work | undefined => work.findLast(({ atMs }) => atMs <= start + part * (end - start));
  const [before, after] = [at(from), at(to)];
  const difference = (key: keyof Work): number => (after?.[key] ?? NaN) - (before?.[key] ?? NaN);
  return {
    atMs: difference("atMs"),
    scriptMs: difference("scriptMs"),
    allMs: difference("allMs"),
    frames: difference("frames"),
  };
}
