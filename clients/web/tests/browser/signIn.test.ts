import { expect, test } from "vitest";

import { openPage, openSignedIn, WAY_IDS } from "./page";
import { endpoints } from "./stack";

test("a user whose name and password are filled in signs in with one key, reloads, signs out and has to sign in again", async () => {
  const client = await openPage();
  const { page } = client;
  await client.button("Sign in").waitFor();
  await page.keyboard.press("Enter");
  await client.prompt.waitFor();

  await page.reload();
  await client.prompt.waitFor();
  expect(await page.getByRole("banner").innerText()).toContain(endpoints.username);

  await client.button("Sign out").click();
  await client.button("Sign in").waitFor();
  // Once Cognito has revoked them.
  const kept = (): Promise<string> =>
    page.evaluate(() => JSON.stringify([Object.entries(sessionStorage), Object.entries(localStorage)]));
  await expect.poll(kept, { message: "no token is kept" }).not.toContain("eyJ");

  await page.reload();
  await client.button("Sign in").waitFor();
});

test("a wrong password is answered with a sentence, and the right one lets the user in", async () => {
  const client = await openPage();
  const { page } = client;
  const password = page.getByLabel("Password");
  await password.fill("not it");
  await client.button("Sign in").click();
  await page
    .getByRole("alert")
    .getByText("The user name or the password is wrong. Check both and try again.")
    .waitFor();
  await password.fill(endpoints.password);
  await client.signIn();
});

test("a session that has ended meanwhile is said to be, and what was there is there after signing in again", async () => {
  const client = await openSignedIn();
  const { page } = client;
  await client.openTab("url");
  await client.ask("Before the session ends");
  await client.become("done", "url");

  const headers = { "Access-Control-Allow-Origin": endpoints.webUrl };
  const rejection = { error: { code: "unauthorized", message: "The token has expired.", retryable: false } };
  await page.route(endpoints.functionUrl, (route) =>
    route.request().method() === "POST" ? route.fulfill({ status: 401, headers, json: rejection }) : route.continue(),
  );
  await page.route(`${endpoints.awsEndpointUrl}/**`, (route) =>
    route.request().method() === "POST"
      ? route.fulfill({ status: 400, headers, json: { __type: "NotAuthorizedException", message: "revoked" } })
      : route.continue(),
  );
  await client.ask("After it");
  await page.getByRole("alert").getByText("Your session has expired. Sign in again to go on.").waitFor();

  await page.unrouteAll();
  await client.signIn();
  await page.getByText("Before the session ends", { exact: true }).waitFor();
});

test("a sign-in service that is out of reach is said to be, and may be tried again", async () => {
  const client = await openPage();
  const { page } = client;
  await page.route(`${endpoints.awsEndpointUrl}/**`, (route) => route.abort("connectionrefused"));
  await client.button("Sign in").click();
  await page
    .getByRole("alert")
    .getByText(/^The sign-in service can't be reached\. Check your network/)
    .waitFor();
  await page.unrouteAll();
  await client.signIn();
});

test("a page without its configuration says what is missing, and begins when it is there", async () => {
  const client = await openPage({ serviceWorkers: "block" });
  const { page } = client;
  await client.button("Sign in").waitFor();
  await page.route("**/config.json", (route) => route.fulfill({ status: 404, body: "" }));
  await page.reload();
  await page
    .getByRole("alert")
    .getByText(/\/config\.json can't be fetched: the server answered with 404/)
    .waitFor();
  await page.unrouteAll();
  await client.button("Try again").click();
  await client.button("Sign in").waitFor();
});

test("without a network every run ends with a sentence and can be tried again", async () => {
  const client = await openSignedIn();
  const { page, context } = client;
  await context.setOffline(true);
  await page.getByText("This device is offline.").waitFor();
  await client.ask("Is anybody there?");
  await client.become("failed", ...WAY_IDS);
  for (const way of WAY_IDS) {
    expect(await client.lane(way).innerText()).toMatch(/Failed: .+\. Check your network and that the stack is running/);
  }
  await context.setOffline(false);
  // By key: what begins to stream moves what is below it, away from under a mouse.
  for (const way of WAY_IDS) await client.button("Try again", client.lane(way)).press("Enter");
  await client.become("done", ...WAY_IDS);
});
