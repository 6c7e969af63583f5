import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { openAuth } from "./auth/cognito";
import { loadConfig } from "./config";
import { createHistory } from "./history";
import { openStack } from "./stack";
import { App } from "./ui/app/App";
import { PageSession } from "./ui/app/session";
import "./ui/base.css";

/** A page that has no answer to this by then says so. */
const CONFIG_TIMEOUT_MS = 10_000;

const storage = browserStorage();

const session = new PageSession({
  loadConfig: () =>
    loadConfig(undefined, (url, init) => fetch(url, { ...init, signal: AbortSignal.timeout(CONFIG_TIMEOUT_MS) })),
  openAuth: (config) => openAuth(config),
  openStack,
  createHistory: () => createHistory(storage),
  storage,
});

// Into the page's cache as well, out of which nobody may come back.
window.addEventListener("pagehide", session.leave);

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <App session={session} />
  </StrictMode>,
);
void session.begin();

/** A browser may forbid it: even looking at it throws then. */
function browserStorage(): Storage | undefined {
  try {
    return window.localStorage;
  } catch {
    return undefined;
  }
}
