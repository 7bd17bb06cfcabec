import process from "node:process";
import { defineConfig, type ViteUserConfig } from "vitest/config";

const OWN_SUITES = [
  "tests/e2e/library.test.ts",
  "tests/history/api.test.ts",
  "tests/history/packs.test.ts",
  "tests/node/rollback.test.ts",
  "tests/testing/simulator/scenarios.test.ts",
];

/**
 * The suites that each runtime runs in itself. They need no S3 server, so none is
 * started. `LBC_TESTS` may name other files.
 */
const config: ViteUserConfig = defineConfig({
  test: {
    include: process.env["LBC_TESTS"]?.split(",") ?? OWN_SUITES,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Bun would load its CommonJS twin, whose exports vitest does not see.
    server: { deps: { inline: ["zod"] } },
  },
});

export default config;
