import { act, cleanup, screen } from "@testing-library/react";
import { afterEach, describe, expect, test, vi } from "vitest";
import { ConfigError, ConnectionFailed, WrongCredentials } from "../../src/errors";
import { CONFIG, FakeServices } from "./fakes";
import { ask, button, openPage, openSignedIn } from "./page";

afterEach(cleanup);

describe("the page's beginning", () => {
  test("a configuration that is missing is a sentence with a way on, not a blank page", async () => {
    const services = new FakeServices();
    services.loading.push(() => Promise.reject(new ConfigError("/config.json has no `restUrl`.", "restUrl")));
    const { user } = await openPage(services);
    expect(screen.getByRole("alert").textContent).toBe(
      "/config.json has no `restUrl`. Correct the file, then try again.",
    );
    await user.click(button("Try again"));
    expect(screen.getByLabelText("User name")).toBeDefined();
  });

  test("a defect at the start is a sentence as well", async () => {
    const services = new FakeServices();
    services.loading.push(() => Promise.reject(new TypeError("x is undefined")));
    await openPage(services);
    expect(screen.getByRole("alert").textContent).toContain("The page itself has failed");
  });

  test("a defect while rendering shows what to do, not a blank page", async () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { services } = await openPage();
    // Nobody's name is an object: rendering it throws.
    act(() => {
      services.auth.set({ status: "signedIn", username: {} as string });
    });
    expect(screen.getByRole("heading", { name: "This page has failed" })).toBeDefined();
    expect(button("Reload the page")).toBeDefined();
  });

  test("says that it looks for the session before it knows of one", async () => {
    const services = new FakeServices();
    services.auth.restored = { status: "unknown" };
    await openPage(services);
    expect(screen.getByRole("status").textContent).toContain("Looking whether you are signed in");
  });
});

describe("signing in", () => {
  test("the local user is filled in, and one press signs in", async () => {
    const services = new FakeServices();
    services.config = { ...CONFIG, username: "ada", password: "secret" };
    const { user } = await openPage(services);
    expect(document.activeElement).toBe(button("Sign in"));
    await user.keyboard("{Enter}");
    expect(services.auth.passwords).toEqual(["secret"]);
    expect(screen.getByText("ada")).toBeDefined();
    expect(document.activeElement).toBe(screen.getByRole("textbox", { name: "Prompt" }));
  });

  test("on a deployed stack nothing is filled in and the user name has the focus", async () => {
    await openPage();
    expect(screen.getByLabelText<HTMLInputElement>("Password").value).toBe("");
    expect(document.activeElement).toBe(screen.getByLabelText("User name"));
  });

  test("a wrong password is told with what to do, and can be corrected at once", async () => {
    const { services, user } = await openPage();
    services.auth.signingIn = () => Promise.reject(new WrongCredentials("The user name or the password is wrong."));
    await user.type(screen.getByLabelText("User name"), "ada");
    await user.type(screen.getByLabelText("Password"), "wrong{Enter}");
    expect(screen.getByRole("alert").textContent).toBe(
      "The user name or the password is wrong. Check both and try again.",
    );
    expect(document.activeElement).toBe(screen.getByLabelText("Password"));
    expect(button("Sign in").getAttribute("aria-disabled")).toBe("false");
  });

  test("a network that is gone is told, and the form can be sent again", async () => {
    const { services, user } = await openPage();
    services.auth.signingIn = () => Promise.reject(new ConnectionFailed("Cognito can't be reached."));
    await user.type(screen.getByLabelText("User name"), "ada");
    await user.type(screen.getByLabelText("Password"), "secret{Enter}");
    expect(screen.getByRole("alert").textContent).toContain("Cognito can't be reached. Check your network");
    services.auth.signingIn = () => Promise.resolve();
    await user.click(button("Sign in"));
    expect(screen.getByText("ada")).toBeDefined();
  });

  test("pressing twice signs in once", async () => {
    const { services, user } = await openPage();
    let answer = (): void => undefined;
    services.auth.signingIn = () =>
      new Promise((resolve) => {
        answer = resolve;
      });
    await user.type(screen.getByLabelText("User name"), "ada");
    await user.type(screen.getByLabelText("Password"), "secret{Enter}");
    await user.click(button("Signing in…"));
    expect(services.auth.passwords).toHaveLength(1);
    await act(async () => {
      answer();
      await Promise.resolve();
    });
    expect(await screen.findByText("ada")).toBeDefined();
  });
});

describe("the end of a session", () => {
  test("an expired one says so, and the conversation is there after signing in again", async () => {
    const { services, user } = await openSignedIn();
    await ask(user, "Do you remember me?");
    act(() => {
      services.auth.set({ status: "signedOut", expired: true });
    });
    expect(screen.getByRole("alert").textContent).toContain("Your session has expired. Sign in again");
    await user.type(screen.getByLabelText("User name"), "ada");
    await user.type(screen.getByLabelText("Password"), "secret{Enter}");
    expect(screen.getByText("Do you remember me?")).toBeDefined();
    expect(services.stacks).toHaveLength(1);
  });

  test("another user doesn't see the conversations of the one before", async () => {
    const { services, user } = await openSignedIn();
    await ask(user, "My secret");
    act(() => {
      services.auth.set({ status: "signedOut", expired: true });
    });
    await user.type(screen.getByLabelText("User name"), "eve");
    await user.type(screen.getByLabelText("Password"), "secret{Enter}");
    expect(screen.getByText("eve")).toBeDefined();
    expect(screen.queryByText("My secret")).toBeNull();
    expect(services.stacks).toHaveLength(2);
    expect(services.stacks[0]?.closed).toBe(true);
  });

  test("signing out stops what runs, closes the connections and forgets the conversations", async () => {
    const { services, user } = await openSignedIn();
    await ask(user, "My secret");
    const { stack } = services;
    await user.click(button("Sign out"));
    expect(stack.runs.every(({ leaves }) => leaves === 1)).toBe(true);
    expect(stack.closed).toBe(true);
    await user.type(screen.getByLabelText("User name"), "ada");
    await user.type(screen.getByLabelText("Password"), "secret{Enter}");
    expect(screen.queryByText("My secret")).toBeNull();
  });

  test("leaving the page stops what runs", async () => {
    const { services, session, user } = await openSignedIn();
    await ask(user, "Hello");
    act(session.leave);
    expect(services.stack.runs.map(({ leaves }) => leaves)).toEqual([1, 1, 1, 1, 1, 1]);
  });
});
