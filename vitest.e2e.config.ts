import process from "node:process";
import { defineConfig, type ViteUserConfig } from "vitest/config";

/**
 * The suite that each runtime runs in itself. It needs no S3 server, so none is
 * started. `LBC_TESTS` may name other files.
 */
const config: ViteUserConfig = defineConfig({
  test: {
    include: (process.env["LBC_TESTS"] ?? "tests/e2e/library.test.ts").split(","),
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Bun would load its CommonJS twin, whose exports vitest does not see.
    server: { deps: { inline: ["zod"] } },
  },
});

export default config;
