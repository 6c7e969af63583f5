import axe from "axe-core";
import type { Page } from "playwright-core";
import { expect, test } from "vitest";

import { openPage, WAY_IDS } from "./page";

const MARKDOWN = `# A heading

Text with \`code\`, a [link](https://example.com/) and **emphasis**.

\`\`\`python
print("${"a long line ".repeat(20)}")
\`\`\`

| one | two | ${"three | ".repeat(12)}
|---|---|${"---|".repeat(12)}
| 1 | 2 | ${"3 | ".repeat(12)}

- an item
- [x] done

> quoted

${"unbroken".repeat(40)}
`;

const SAY = `[[rate=inf say=${JSON.stringify(MARKDOWN)}]]`;

/** Through the debugger, whose scripts no Content-Security-Policy holds back. */
async function violationsOn(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe.source);
  return page.evaluate(async () => {
    const { violations } = await (window as unknown as { axe: typeof axe }).axe.run(document, {
      resultTypes: ["violations"],
    });
    return violations.flatMap(({ id, nodes }) =>
      nodes.map(({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${failureSummary ?? ""}`),
    );
  });
}

/** Whether the page as a whole has to be scrolled, sideways or at all. */
async function fits(page: Page): Promise<boolean> {
  return page.evaluate(() => {
    const { scrollWidth, clientWidth, scrollHeight, clientHeight } = document.documentElement;
    return scrollWidth <= clientWidth && scrollHeight <= clientHeight;
  });
}

test("in none of its states does the page shut anybody out, light or dark, or have to be scrolled at 360 pixels", async () => {
  const client = await openPage({ reducedMotion: "reduce" });
  const { page } = client;

  async function look(state: string): Promise<void> {
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      expect(await violationsOn(page), `${state}, ${colorScheme}`).toEqual([]);
    }
    await page.setViewportSize({ width: 360, height: 640 });
    expect(await fits(page), `${state} fits`).toBe(true);
    await page.setViewportSize({ width: 1280, height: 900 });
  }

  await client.button("Sign in").waitFor();
  await look("sign-in");
  await client.signIn();
  await look("the beginning");
  await client.ask("Talk [[rate=20 tokens=6000]]");
  await client.begin(...WAY_IDS);
  await look("streaming");
  for (const way of WAY_IDS) expect(await client.lane(way).getAttribute("data-status")).toBe("streaming");
  await client.button("Stop").click();
  await client.become("cancelled", ...WAY_IDS);
  await client.ask(`Show me everything ${SAY}`);
  await client.page.getByRole("article", { name: "Turn 2" }).waitFor();
  await client.become("done", ...WAY_IDS);
  await look("finished");
  await client.button("Settings").click();
  await page.getByRole("dialog").waitFor();
  await look("settings");
  await client.button("Close").click();
  await client.openTab("history");
  await look("history");
  await client.openTab("url");
  await client.ask(`And alone ${SAY}`);
  await client.become("done", "url");
  await look("finished alone");
});

test("everything can be done with the keyboard alone, and the focus is never lost", async () => {
  const client = await openPage();
  const { page } = client;
  /** What has the focus: by its label, its id or what stands on it. */
  const focused = (): Promise<string> =>
    page.evaluate(() => {
      const { activeElement } = document;
      const names = [activeElement?.getAttribute("aria-label"), activeElement?.id, activeElement?.textContent];
      return names.find((name) => typeof name === "string" && name !== "") ?? "";
    });
  async function tabTo(name: string, key = "Tab"): Promise<void> {
    const passed = [await focused()];
    while (passed.at(-1) !== name) {
      if (passed.length > 60) throw new Error(`the keyboard doesn't get to ${name}, but to ${passed.join(", ")}`);
      await page.keyboard.press(key);
      passed.push(await focused());
    }
  }

  await client.button("Sign in").waitFor();
  await page.keyboard.press("Enter");
  await client.prompt.waitFor();
  await expect.poll(focused).toBe("prompt");

  await tabTo("tab-all", "Shift+Tab");
  for (let presses = 0; presses < 3; presses += 1) await page.keyboard.press("ArrowRight");
  expect(await focused()).toBe("tab-websocket");
  await tabTo("prompt");
  await page.keyboard.type("Talk [[rate=20 tokens=6000]]");
  await page.keyboard.press("Enter");
  await client.begin("websocket");
  expect(await focused()).toBe("prompt");
  await tabTo("Stop: WebSocket", "Shift+Tab");
  await page.keyboard.press("Enter");
  await client.become("cancelled", "websocket");
  // The button under the user's fingers has become another one, and is still there.
  await expect.poll(focused).toBe("Copy the answer: WebSocket");
  await page.keyboard.press("Enter");
  await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toMatch(/^Turn 1\./);

  await tabTo("Settings", "Shift+Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await tabTo("max-tokens");
  await page.keyboard.type("5");
  await page.keyboard.press("Escape");
  expect(await focused()).toBe("Settings");
  await tabTo("prompt");
  await page.keyboard.type("Short");
  await page.keyboard.press("Enter");
  await client.lane("websocket").getByText("Cut short at the token limit.").waitFor();
  await tabTo("Sign out", "Shift+Tab");
  await page.keyboard.press("Enter");
  await client.button("Sign in").waitFor();
});
