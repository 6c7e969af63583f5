import { readFile } from "node:fs/promises";

import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const ENDPOINTS = new URL("../../.local/endpoints.json", import.meta.url);

/** `npm run dev` talks to the stack that runs in this checkout; in a build there is no configuration. */
const localConfig: Plugin = {
  name: "local-config",
  configureServer(server) {
    server.middlewares.use("/config.json", (_request, response) => {
      readFile(ENDPOINTS).then(
        (endpoints) => response.setHeader("Content-Type", "application/json").end(endpoints),
        () => response.writeHead(404).end(),
      );
    });
  },
};

export default defineConfig({
  plugins: [react(), localConfig],
  build: {
    target: "es2023",
    // A strict Content-Security-Policy has no `data:` in it.
    assetsInlineLimit: 0,
  },
  test: {
    // A listener that is left behind, or a promise that nobody waits for, fails the run.
    dangerouslyIgnoreUnhandledErrors: false,
    restoreMocks: true,
    // How fast something is isn't tested: these end only what hangs.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    projects: [
      {
        extends: true,
        test: {
          name: "core",
          environment: "node",
          setupFiles: ["tests/core/setup.ts"],
          include: ["tests/core/**/*.test.ts"],
        },
      },
      { extends: true, test: { name: "ui", environment: "happy-dom", include: ["tests/ui/**/*.test.{ts,tsx}"] } },
    ],
  },
});
