import { defineConfig, type ViteUserConfig } from "vitest/config";

const config: ViteUserConfig = defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    globalSetup: ["tests/rgw-setup.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});

export default config;
