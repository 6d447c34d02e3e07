import { defineConfig, type ViteUserConfig } from "vitest/config";

// Real servers, engines and disks take seconds on a small machine: generous limits, and few workers at once.
const config: ViteUserConfig = defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["**/node_modules/**"],
    globalSetup: ["test/support/global-setup.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    pool: "forks",
  },
});

export default config;
