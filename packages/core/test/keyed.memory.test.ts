import { execFile, spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { beforeAll, describe, expect, it } from "vitest"
import { campaign } from "./support/campaigns.ts"

// In a process of its own, whose heap is not that of the test runner. It runs what has been compiled.

const root = fileURLToPath(new URL("../../..", import.meta.url))
const child = fileURLToPath(new URL("./children/keyedMemory.js", import.meta.url))
const tsc = fileURLToPath(new URL("../../../node_modules/typescript/bin/tsc", import.meta.url))

interface Report {
  readonly keys: number
  readonly offered: number
  readonly bytesPerKey: number
}

// Not `spawnSync`: a test runner that hears nothing for a minute gives up.
const measure = async (what: "processor" | "pool" | "keep", keys: number): Promise<Report> => {
  const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", child, what, String(keys)])
  return JSON.parse(stdout) as Report
}

/** What was measured is below four, and a map of the keys takes more than a hundred. */
const mostBytesPerKey = 16

/** Fewer would not stand out from what the process keeps anyway. */
const count = Math.max(300_000, campaign(1_000_000))

describe("of very many distinct keys", () => {
  beforeAll(() => {
    if (existsSync(fileURLToPath(new URL("../dist/KeyedBatch.js", import.meta.url)))) return
    spawnSync(process.execPath, [tsc, "-b", "packages/core/tsconfig.src.json"], { cwd: root })
  })

  it("a KeyedBatch keeps nothing", async () => {
    const { bytesPerKey, keys, offered } = await measure("processor", count)
    expect([keys, offered]).toEqual([0, count + 20_000])
    expect(bytesPerKey).toBeLessThan(mostBytesPerKey)
  })

  it("a ShardPool keeps nothing once they have been idle for long enough", async () => {
    const { bytesPerKey, keys, offered } = await measure("pool", count)
    expect([keys, offered]).toEqual([0, count + 20_000])
    expect(bytesPerKey).toBeLessThan(mostBytesPerKey)
  })

  // The bound is only worth something while this is above it.
  it("a map that keeps them is seen", async () => {
    expect((await measure("keep", 200_000)).bytesPerKey).toBeGreaterThan(5 * mostBytesPerKey)
  })
})
