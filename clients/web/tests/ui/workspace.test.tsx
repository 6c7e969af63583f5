import { act, cleanup, screen, within } from "@testing-library/react";
import { afterEach, describe, expect, test, vi } from "vitest";
import { CONFIG, FakeServices } from "./fakes";
import { present } from "./present";
import { announced, ask, button, lane, openSignedIn, openTab } from "./page";

afterEach(cleanup);

const TEXT = "The **bold** answer.";

describe("asking", () => {
  test("side by side every way gets the prompt, on a single way only that one", async () => {
    const { services, user } = await openSignedIn();
    await ask(user, "Why?");
    expect(services.stack.runs.map((run) => run.getSnapshot().way.id)).toEqual([
      "url",
      "rest",
      "websocket",
      "websocket-queued",
      "appsync",
      "appsync-queued",
    ]);
    await openTab(user, "REST API");
    await ask(user, "And why not?");
    expect(services.stack.runs).toHaveLength(7);
    expect(services.stack.last("rest").getSnapshot().request.messages).toEqual([
      { role: "user", content: "And why not?" },
    ]);
  });

  test("Enter sends, Shift+Enter doesn't, and an empty prompt isn't sent", async () => {
    const { services, user } = await openSignedIn();
    const prompt = screen.getByRole<HTMLTextAreaElement>("textbox", { name: "Prompt" });
    await user.type(prompt, "  {Enter}");
    expect(services.stack.runs).toHaveLength(0);
    await user.clear(prompt);
    await user.type(prompt, "one{Shift>}{Enter}{/Shift}two");
    expect(services.stack.runs).toHaveLength(0);
    await user.type(prompt, "{Enter}");
    expect(services.stack.runs[0]?.getSnapshot().request.messages[0]?.content).toBe("one\ntwo");
    expect(prompt.value).toBe("");
  });

  test("a stack without a path has no tab for it", async () => {
    const services = new FakeServices();
    const { websocketUrl, ...config } = CONFIG;
    expect(websocketUrl).toBeDefined();
    services.config = config;
    await openSignedIn(services);
    const tabs = screen.getAllByRole("tab").map(({ textContent }) => textContent);
    expect(tabs).toEqual(["Side by side", "Function URL", "REST API", "AppSync", "AppSync, queued", "History"]);
  });

  test("a conversation goes on: each way is sent its own earlier answers, and not those that failed", async () => {
    const { services, user } = await openSignedIn();
    await ask(user, "One?");
    for (const run of services.stack.runs) {
      act(() => {
        run.write("answer by ", run.getSnapshot().way.id);
        if (run.getSnapshot().way.id !== "rest") run.complete();
        else {
          run.become({ status: "failed", failure: { code: "model_error", message: "It broke.", retryable: true } });
        }
      });
    }
    await ask(user, "Two?");
    expect(services.stack.last("url").getSnapshot().request.messages).toEqual([
      { role: "user", content: "One?" },
      { role: "assistant", content: "answer by url" },
      { role: "user", content: "Two?" },
    ]);
    expect(services.stack.last("rest").getSnapshot().request.messages).toEqual([{ role: "user", content: "Two?" }]);
  });

  test("New conversation forgets the old one and stops what runs in it", async () => {
    const { services, user } = await openSignedIn();
    await openTab(user, "Function URL");
    await ask(user, "One?");
    await user.click(button("New conversation"));
    expect(services.stack.last("url").leaves).toBe(1);
    expect(screen.queryByText("One?")).toBeNull();
    expect(document.activeElement).toBe(screen.getByRole("textbox", { name: "Prompt" }));
    await ask(user, "Two?");
    expect(services.stack.last("url").getSnapshot().request.messages).toHaveLength(1);
  });

  test("the settings are sent, and empty ones aren't", async () => {
    const { services, user } = await openSignedIn();
    await ask(user, "Plain");
    expect(Object.keys(services.stack.last("url").getSnapshot().request)).toEqual(["messages"]);
    act(() => {
      for (const run of services.stack.runs) run.complete();
    });
    await user.click(button("Settings"));
    await user.type(screen.getByLabelText("Model"), "some.model");
    await user.type(screen.getByLabelText("Max tokens"), "77");
    await user.type(screen.getByLabelText("System prompt"), "Be brief.");
    for (const name of ["REST API", "WebSocket", "AppSync", "WebSocket, queued", "AppSync, queued"]) {
      await user.click(screen.getByRole("checkbox", { name }));
    }
    await user.click(button("Close"));
    await ask(user, "Set");
    expect(services.stack.runs).toHaveLength(7);
    expect(services.stack.last("url").getSnapshot().request).toMatchObject({
      model: "some.model",
      maxTokens: 77,
      system: "Be brief.",
    });
  });

  test("with no way chosen the page says so instead of doing nothing", async () => {
    const { services, user } = await openSignedIn();
    await user.click(button("Settings"));
    for (const box of screen.getAllByRole("checkbox").slice(0, 6)) await user.click(box);
    await user.click(button("Close"));
    await ask(user, "Hello?");
    expect(services.stack.runs).toHaveLength(0);
    expect(screen.getByText(/No way is chosen/)).toBeDefined();
  });
});

describe("an answer", () => {
  test("is shown as Markdown while it comes, or as it was written", async () => {
    const { services, user } = await openSignedIn();
    await openTab(user, "Function URL");
    await ask(user, "Why?");
    act(() => {
      services.stack.last("url").write("The **bo", "ld** ans");
    });
    expect(lane("Function URL").querySelector("strong")?.textContent).toBe("bold");
    act(() => {
      services.stack.last("url").write("wer.");
    });
    expect(within(lane("Function URL")).getByText(/answer\./)).toBeDefined();
    await user.click(button("Settings"));
    await user.click(screen.getByRole("checkbox", { name: /plain text/ }));
    await user.click(button("Close"));
    expect(lane("Function URL").textContent).toContain(TEXT);
  });

  test("of another attempt replaces the text of the one that was given up", async () => {
    const { services, user } = await openSignedIn();
    await openTab(user, "AppSync");
    await ask(user, "Why?");
    const run = services.stack.last("appsync");
    act(() => {
      run.write("void text");
    });
    act(() => {
      run.become({ attempt: 2, text: { chunks: ["new text"], count: 1, length: 8 } });
      run.become({ status: "reconnecting" });
      run.become({ status: "streaming", resumed: true });
    });
    expect(lane("AppSync").textContent).toContain("new text");
    expect(lane("AppSync").textContent).not.toContain("void text");
    expect(lane("AppSync").textContent).toContain("Attempt 2: the one before failed");
    expect(lane("AppSync").textContent).toContain("Resumed after a lost connection");
  });

  test("goes through its states in words, also for a screen reader, which isn't read the text", async () => {
    const { services, user } = await openSignedIn();
    await openTab(user, "WebSocket");
    await ask(user, "Why?");
    const run = services.stack.last("websocket");
    const status = (): string => lane("WebSocket").querySelector("p")?.textContent ?? "";
    expect(status()).toBe("Connecting…");
    act(() => {
      run.become({ status: "waiting" });
    });
    expect(status()).toBe("Waiting for the first token…");
    act(() => {
      run.write("secret words");
    });
    expect(status()).toBe("Streaming.");
    act(() => {
      run.become({ status: "reconnecting" });
    });
    expect(status()).toBe("The connection is lost. Reconnecting; what has come stays…");
    act(() => {
      run.write(" and more");
      run.complete();
    });
    expect(status()).toBe("Complete.");
    expect(announced()).toEqual([
      "WebSocket: Waiting for the first token…",
      "WebSocket: Streaming.",
      "WebSocket: The connection is lost. Reconnecting; what has come stays…",
      "WebSocket: Resumed.",
      "WebSocket: Complete. 120 tokens in 2.60 s.",
    ]);
  });

  test("side by side is announced by its end alone, or six ways would talk without a pause", async () => {
    const { services, user } = await openSignedIn();
    await ask(user, "Why?");
    act(() => {
      for (const run of services.stack.runs) {
        run.become({ status: "waiting" });
        run.write("text");
      }
      services.stack.last("rest").complete();
    });
    expect(announced()).toEqual(["REST API: Complete. 120 tokens in 2.60 s."]);
  });

  test("that failed says why and what to do, and is asked for again in its place", async () => {
    const { services, user } = await openSignedIn();
    await openTab(user, "REST API");
    await ask(user, "Why?");
    act(() => {
      services.stack.last("rest").become({
        status: "failed",
        failure: { code: "throttled", message: "Too many requests.", retryable: true },
      });
    });
    expect(lane("REST API").textContent).toContain("Failed: Too many requests. Wait a moment, then try again.");
    await user.click(button("Try again"));
    expect(services.stack.runs).toHaveLength(2);
    expect(screen.getAllByRole("group", { name: "REST API" })).toHaveLength(1);
    expect(lane("REST API").textContent).toContain("Connecting");
  });

  test("that failed for good offers no second try", async () => {
    const { services, user } = await openSignedIn();
    await openTab(user, "REST API");
    await ask(user, "Why?");
    act(() => {
      services.stack.last("rest").become({
        status: "failed",
        failure: { code: "invalid_request", message: "Too much.", retryable: false, field: "options.maxTokens" },
      });
    });
    expect(lane("REST API").textContent).toContain("Failed: Max tokens: Too much. Change Max tokens in the settings.");
    expect(screen.queryByRole("button", { name: "Try again" })).toBeNull();
  });

  test("has its figures beside it", async () => {
    const { services, user } = await openSignedIn();
    await openTab(user, "Function URL");
    await ask(user, "Why?");
    act(() => {
      services.stack.last("url").write(TEXT);
      services.stack.last("url").complete();
    });
    const figures = [...lane("Function URL").querySelectorAll("dl > div")].map(({ textContent }) => textContent);
    expect(figures).toEqual([
      "Connection3 ms",
      "First token120 ms",
      "Median gap4.3 ms",
      "p95 gap31 ms",
      "Speed49 tokens/s",
      "Total2.60 s",
      "Messages77",
      "Bytes12.3 kB",
      "Gaps repaired1",
      "Duplicates0",
      "Resumes2",
      "Cost$0.000034",
    ]);
  });

  test("goes on while another tab is open, which is marked as running", async () => {
    const { services, user } = await openSignedIn();
    await openTab(user, "Function URL");
    await ask(user, "Why?");
    await openTab(user, "REST API");
    expect(screen.getByRole("tab", { name: "Function URL, running" })).toBeDefined();
    act(() => {
      services.stack.last("url").write(TEXT);
      services.stack.last("url").complete();
    });
    await openTab(user, /^Function URL/);
    expect(lane("Function URL").querySelector("strong")).not.toBeNull();
    expect(screen.queryByRole("tab", { name: /running/ })).toBeNull();
  });

  test("is copied as it was written", async () => {
    const { services, user } = await openSignedIn();
    await openTab(user, "Function URL");
    await ask(user, "Why?");
    act(() => {
      services.stack.last("url").write(TEXT);
      services.stack.last("url").complete();
    });
    await user.click(button(/^Copy the answer/));
    expect(await navigator.clipboard.readText()).toBe(TEXT);
    expect(announced().at(-1)).toBe("Function URL: the answer is copied.");
    vi.spyOn(navigator.clipboard, "writeText").mockRejectedValue(new Error("forbidden"));
    await user.click(button(/^Copy the answer/));
    expect(announced().at(-1)).toContain("copy it yourself");
  });
});

describe("stopping", () => {
  test("one of several leaves the others alone; the focus stays", async () => {
    const { services, user } = await openSignedIn();
    await ask(user, "Why?");
    await user.click(button("Stop: AppSync"));
    expect(services.stack.runs.map(({ cancels }) => cancels)).toEqual([0, 0, 0, 0, 1, 0]);
    expect(lane("AppSync").textContent).toContain("Stopping…");
    const focused = document.activeElement;
    act(() => {
      services.stack.last("appsync").become({ status: "cancelled", stopReason: "cancelled" });
    });
    expect(lane("AppSync").textContent).toContain("Stopped.");
    expect(document.activeElement).toBe(focused);
    expect(document.activeElement?.isConnected).toBe(true);
  });

  test("all of them is one press", async () => {
    const { services, user } = await openSignedIn();
    await ask(user, "Why?");
    await user.click(button("Stop"));
    expect(services.stack.runs.map(({ cancels }) => cancels)).toEqual([1, 1, 1, 1, 1, 1]);
  });

  test("that didn't reach the server is told and can be tried again", async () => {
    const { services, user } = await openSignedIn();
    await openTab(user, "Function URL");
    await ask(user, "Why?");
    const run = services.stack.last("url");
    act(() => {
      run.write("text");
      run.become({
        stopping: false,
        stopFailure: { code: "connection_failed", message: "The server can't be reached.", retryable: true },
      });
      run.become({ status: "reconnecting" });
    });
    expect(lane("Function URL").textContent).toContain("It couldn't be stopped: The server can't be reached.");
    await user.click(button("Stop: Function URL"));
    expect(run.cancels).toBe(1);
  });
});

describe("the tabs", () => {
  test("are one stop for the Tab key; arrows, Home and End open the others", async () => {
    const { user } = await openSignedIn();
    const selected = (): string => screen.getByRole("tab", { selected: true }).textContent;
    act(() => {
      screen.getByRole("tab", { selected: true }).focus();
    });
    await user.keyboard("{ArrowRight}");
    expect(selected()).toBe("Function URL");
    expect(document.activeElement?.textContent).toBe("Function URL");
    await user.keyboard("{ArrowLeft}{ArrowLeft}");
    expect(selected()).toBe("History");
    await user.keyboard("{Home}");
    expect(selected()).toBe("Side by side");
    await user.keyboard("{End}");
    expect(document.activeElement?.textContent).toBe("History");
    expect(screen.getAllByRole("tab").filter((tab) => tab.tabIndex === 0)).toHaveLength(1);
    expect(screen.getByRole("tabpanel", { name: "History" })).toBeDefined();
  });
});

describe("the overview of a run side by side", () => {
  test("draws a line for each way in one picture, which has words as well", async () => {
    const { services, user } = await openSignedIn();
    await ask(user, "Why?");
    act(() => {
      for (const run of services.stack.runs) {
        run.write("some", " text");
        run.complete();
      }
    });
    const picture = screen.getByRole("img", { name: /Function URL: 120 tokens, the first after 120 ms; REST API/ });
    expect(picture.querySelectorAll("polyline[points*=',']")).toHaveLength(6);
    const rows = within(screen.getByRole("table")).getAllByRole("row");
    expect(rows).toHaveLength(7);
    expect(rows[1]?.textContent).toContain("Function URL3 ms120 ms4.3 ms");
  });
});

describe("the history", () => {
  test("says what will be there before there is anything", async () => {
    const { user } = await openSignedIn();
    await openTab(user, "History");
    expect(screen.getByText(/No runs yet/)).toBeDefined();
  });

  test("compares the ways by their medians, lists the runs, and can be cleared", async () => {
    const { services, user } = await openSignedIn();
    await ask(user, "Why?");
    await act(async () => {
      for (const run of services.stack.runs) {
        run.write("some", " text");
        if (run.getSnapshot().way.id === "rest") {
          run.become({ status: "failed", failure: { code: "model_error", message: "It broke.", retryable: true } });
        } else run.complete();
      }
      await services.stack.last("rest").finished;
    });
    await openTab(user, "History");
    const [medians, list] = screen.getAllByRole("table");
    const row = (table: HTMLElement | undefined, name: RegExp): string =>
      within(present(table)).getByRole("row", { name }).textContent;
    expect(row(medians, /^Function URL/)).toContain("Function URL103 ms120 ms");
    expect(row(medians, /^REST API/)).toContain("REST API01–");
    expect(row(list, /^REST API/)).toContain("failed: model_error");
    await user.selectOptions(screen.getByRole("combobox"), "AppSync");
    expect(within(present(list)).getAllByRole("row")).toHaveLength(2);
    await user.click(button("Clear the history"));
    expect(screen.getByText(/No runs yet/)).toBeDefined();
    expect(document.activeElement?.textContent).toBe("History");
  });
});

test("a device without a network is told so", async () => {
  await openSignedIn();
  vi.spyOn(navigator, "onLine", "get").mockReturnValue(false);
  act(() => {
    window.dispatchEvent(new Event("offline"));
  });
  expect(screen.getByText(/This device is offline/)).toBeDefined();
});
