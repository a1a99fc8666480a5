import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import projects from "./vitest.workspace.ts"

const core = fileURLToPath(new URL("./packages/core/src", import.meta.url))
const http = fileURLToPath(new URL("./packages/http/src", import.meta.url))
const sql = fileURLToPath(new URL("./packages/sql/src", import.meta.url))

export default defineConfig({
  // Tests run on the sources, not on dist, so that coverage is that of the sources.
  resolve: {
    alias: [
      { find: /^@sluice\/core$/, replacement: `${core}/index.ts` },
      { find: /^@sluice\/core\/testing$/, replacement: `${core}/testing/index.ts` },
      { find: /^@sluice\/core\/(.+)$/, replacement: `${core}/$1.ts` },
      { find: /^@sluice\/http$/, replacement: `${http}/index.ts` },
      { find: /^@sluice\/http\/(.+)$/, replacement: `${http}/$1.ts` },
      { find: /^@sluice\/sql$/, replacement: `${sql}/index.ts` },
      { find: /^@sluice\/sql\/(.+)$/, replacement: `${sql}/$1.ts` }
    ]
  },
  test: {
    projects,
    // One a core, the one of the runner too: it has little to do.
    maxWorkers: "100%",
    minWorkers: 1,
    // A guard against what hangs, and nothing else: how long a test takes says nothing about what it tests.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    coverage: {
      // It makes everything slower, and says something only of the complete campaigns.
      enabled: process.env["CI"] !== undefined,
      provider: "v8",
      include: ["packages/{core,http,sql}/src/**/*.ts"],
      exclude: ["packages/{core,http,sql}/src/index.ts"],
      reporter: ["text", "html", "json-summary"],
      thresholds: { lines: 98.5 }
    }
  }
})
