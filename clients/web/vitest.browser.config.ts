import { defineConfig } from "vitest/config";

/**
 * The page in Chromium, against a local stack that runs: `TOKENSTREAM_ENDPOINTS` is its endpoints file (by default that
 * of this checkout), `CHROMIUM` the browser (by default the one that `make` has found).
 */
export default defineConfig({
  test: {
    name: "browser",
    include: ["tests/browser/**/*.test.ts"],
    globalSetup: ["tests/browser/chromium.ts"],
    // One browser, one stack and few cores: beside each other they would only wait for each other.
    fileParallelism: false,
    restoreMocks: true,
    // How fast something is isn't tested: these end only what hangs.
    testTimeout: 180_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000, interval: 50 } },
  },
});
