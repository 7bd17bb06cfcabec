import process from "node:process";
import { defineConfig, type ViteUserConfig } from "vitest/config";

/**
 * The suites that need no S3 server: what runs inside each runtime
 * (`tests/e2e/library.test.ts`), and what starts processes of its own.
 * `LBC_TESTS` may name others.
 */
const config: ViteUserConfig = defineConfig({
  test: {
    include: (process.env["LBC_TESTS"] ?? "tests/e2e/**/*.test.ts").split(","),
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Bun would load its CommonJS twin, whose exports vitest does not see.
    server: { deps: { inline: ["zod"] } },
  },
});

export default config;
