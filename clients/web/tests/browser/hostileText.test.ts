import { expect, test } from "vitest";

import { openSignedIn } from "./page";

const HOSTILE = `<script>window.hacked = 1</script><img src="https://evil.example/1.png" onerror="window.hacked = 2">

<iframe src="https://evil.example/frame"></iframe> <a href="javascript:window.hacked = 3">click</a>

<style>body { display: none }</style><svg onload="window.hacked = 4"></svg>

![huge](https://evil.example/huge.png "99999x99999") and ![inline](data:image/svg+xml,<svg onload="window.hacked=5"/>)

[one](javascript:window.hacked=6) [two](JaVaScRiPt:window.hacked=7) [three](data:text/html,<script>window.hacked=8</script>)
[four](&#106;avascript:window.hacked=9) [good](https://example.com/) <javascript:window.hacked=10>

| a | <b onmouseover="window.hacked=11">b</b> |
|---|---|
| [x](vbscript:window.hacked=12) | \`<script>window.hacked=13</script>\` |
`;

test("a model's HTML, scripts, javascript: links and images are shown as text, and nothing of them is loaded", async () => {
  const client = await openSignedIn();
  const { page } = client;
  const origins = new Set<string>();
  page.on("request", (request) => origins.add(new URL(request.url()).hostname));
  await client.openTab("url");
  await client.ask(`Attack [[say=${JSON.stringify(HOSTILE)}]]`);
  await client.become("done", "url");

  expect(await client.copied("url")).toBe(HOSTILE);
  const answer = client.lane("url").locator("[data-text]");
  expect(await answer.locator("script, img, iframe, style, svg, object, embed, form, input").count()).toBe(0);
  const attributes = await answer.evaluate((root) =>
    [...root.querySelectorAll("*")].flatMap(({ attributes }) => [...attributes].map(({ name }) => name)),
  );
  expect(attributes.filter((name) => name.startsWith("on") || name === "style")).toEqual([]);
  const links = await answer.locator("a").evaluateAll((all) => all.map((link) => (link as HTMLAnchorElement).href));
  expect(new Set(links)).toEqual(new Set(["https://example.com/", "https://evil.example/huge.png"]));
  expect(await answer.innerText()).toContain("<script>window.hacked = 1</script>");

  // Whatever looks as if it could be clicked is.
  for (const text of ["click", "one", "two", "four"]) await answer.getByText(text).first().click();
  expect(await page.evaluate(() => "hacked" in window)).toBe(false);
  expect([...origins]).toEqual(["127.0.0.1"]);
});
