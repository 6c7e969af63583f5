/** The one browser of a test run. */

import { readFile } from "node:fs/promises";

import { chromium } from "playwright-core";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    /** Where test files connect to the browser. */
    readonly browser: string;
  }
}

const FOUND = new URL("../../../../.tools/chromium", import.meta.url);

/** Start it; what is returned ends it. */
export default async function start(project: TestProject): Promise<() => Promise<void>> {
  const server = await chromium.launchServer({ executablePath: await executable(), host: "127.0.0.1" });
  project.provide("browser", server.wsEndpoint());
  return () => server.close();
}

async function executable(): Promise<string> {
  const { CHROMIUM } = process.env;
  if (CHROMIUM !== undefined && CHROMIUM !== "") return CHROMIUM;
  try {
    return (await readFile(FOUND, "utf8")).trim();
  } catch {
    throw new Error("There is no browser: `make .tools/chromium` finds or installs one, CHROMIUM=… names one.");
  }
}
