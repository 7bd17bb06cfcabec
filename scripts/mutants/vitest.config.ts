import { fileURLToPath } from "node:url";
import { defineConfig, type ViteUserConfig } from "vitest/config";

/** One file of tests at a time, without the object store that the whole suite starts: its tests skip themselves. */
const config: ViteUserConfig = defineConfig({
  root: fileURLToPath(new URL("../..", import.meta.url)),
  test: {
    include: ["tests/**/*.test.ts"],
    provide: { rgw: { missing: "not started for mutants" } },
    // A mutant may make a test wait for ever.
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
});

export default config;
