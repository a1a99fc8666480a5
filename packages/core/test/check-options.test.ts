import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

// scripts/check-options.js compares the tables as built with the interfaces and the docs. Every way in which they can
// drift apart is planted in a copy of the tree, never in the tree itself.

const root = fileURLToPath(new URL("../../..", import.meta.url))

const makeTree = () => {
  mkdirSync(join(root, "build"), { recursive: true })
  const tree = mkdtempSync(join(root, "build", "check-options-"))
  for (const name of ["core", "sql", "http"]) {
    cpSync(join(root, `packages/${name}/src`), join(tree, `packages/${name}/src`), { recursive: true })
    symlinkSync(join(root, `packages/${name}/dist`), join(tree, `packages/${name}/dist`), "junction")
  }
  cpSync(join(root, "docs"), join(tree, "docs"), { recursive: true })
  return tree
}

const check = (tree: string, ...args: ReadonlyArray<string>) => {
  const run = spawnSync(process.execPath, [join(root, "scripts/check-options.js"), ...args], {
    cwd: tree,
    encoding: "utf8"
  })
  return { status: run.status, problems: run.stderr.split("\n").filter((line) => line !== "") }
}

/** Replaces a text that must be there. */
const plant = (tree: string, file: string, text: string, planted: string) => {
  const before = readFileSync(join(tree, file), "utf8")
  if (!before.includes(text)) throw new Error(`${file} has no ${JSON.stringify(text)}`)
  writeFileSync(join(tree, file), before.replace(text, () => planted))
}

const core = "packages/core/src/internal"

/** What is planted in a file, and the problem that it makes. */
const plants: ReadonlyArray<readonly [drift: string, file: string, text: string, planted: string, problem: string]> = [
  [
    "a default that is another one",
    `${core}/writeBehind/options.ts`,
    "Default: 100.",
    "Default: 200.",
    "batchSize must end with \"Default: 100.\""
  ],
  [
    "a default that is missing",
    `${core}/writeBehind/options.ts`,
    "of its own. Default: 1. */\n  readonly shards",
    "of its own. */\n  readonly shards",
    "shards must end with \"Default: 1.\""
  ],
  [
    "a default that does not come last",
    `${core}/writeBehind/options.ts`,
    "Default: 1 second.",
    "Default: 1 second. Less is more.",
    "flushInterval must end with \"Default: 1 second.\""
  ],
  [
    "a default of what must be given",
    `${core}/writeBehind/options.ts`,
    "or weight where `weigh` is given.",
    "or weight where `weigh` is given. Default: 7.",
    "capacity has a default in its doc comment alone"
  ],
  [
    "two defaults",
    `${core}/writeBehind/options.ts`,
    "/** What happens when a shard is full.",
    "/** What happens when a shard is full. Default: nothing.",
    "policy has two defaults in its doc comment"
  ],
  [
    "an option that the table lacks",
    `${core}/shardPool/options.ts`,
    "  readonly shards?: number | undefined",
    "  readonly shards?: number | undefined\n  /** Planted. Default: 1. */\n  readonly planted?: number | undefined",
    "planted is in the interface, and not in the table"
  ],
  [
    "an option that the interface lacks",
    `${core}/shardPool/options.ts`,
    "  readonly workersPerShard?: number | undefined",
    "",
    "workersPerShard is in the table, and not in the interface"
  ],
  [
    "an option without a doc comment",
    `${core}/shardPool/options.ts`,
    "/** The key of a command: text of at most 512 bytes, or a finite number. */",
    "",
    "key has no doc comment"
  ],
  [
    "an option that must be given, and has a default",
    "packages/sql/src/internal/coordinator/options.ts",
    "readonly capacity?:",
    "readonly capacity:",
    "capacity must be given, and has a default"
  ],
  [
    "an option that may be left out, and has no default",
    "packages/sql/src/internal/sqlite/options.ts",
    "readonly filename:",
    "readonly filename?:",
    "filename may be left out, and has no default"
  ],
  [
    "another order",
    "packages/http/src/internal/queuesOptions.ts",
    "readonly maxBodyBytes?: number | undefined",
    "readonly maxBodyBytes?: number | undefined\n  /** How many. Default: 100. */\n  readonly recentEvents?: number | undefined",
    "maxLineBytes has another place in the table than in the interface"
  ],
  [
    "a default within an object",
    `${core}/batchQueue/options.ts`,
    "where the buffer merges. Default: no limit.",
    "where the buffer merges. Default: 5.",
    "flush.pushes must end with \"Default: no limit.\""
  ],
  [
    "a default within an object that stands elsewhere",
    "packages/core/src/Codec.ts",
    "Default: 64.",
    "Default: 65.",
    "limits.maxDepth must end with \"Default: 64.\""
  ],
  [
    "a default of a part of the options",
    `${core}/keyedBatch/options.ts`,
    "once for each batch. Default: none, where there is `load`.",
    "once for each batch. Default: none.",
    "initial must end with \"Default: none, where there is `load`.\""
  ],
  [
    "a table in a guide that is of something else",
    "docs/guides/write-behind.md",
    "<!-- options: WriteBehind -->",
    "<!-- options: WriteBeside -->",
    "there is no table of options of WriteBeside"
  ],
  [
    "a table in a guide of an option that is gone",
    "docs/guides/dead-letters.md",
    "<!-- options: BatchQueue retry ",
    "<!-- options: BatchQueue planted retry ",
    "BatchQueue has no option planted"
  ],
  [
    "a table in a guide that is old",
    "docs/guides/stored.md",
    "| `durable`",
    "| `planted`",
    "its table of options is not up to date: npm run docs:options"
  ],
  [
    "an option that no guide tells of",
    "docs/guides/http.md",
    "<!-- options: GracefulServer grace -->",
    "",
    "no page has `grace` of GracefulServer in a table of options"
  ]
]

describe("the check of the options", () => {
  const trees: Array<string> = []
  let clean: ReturnType<typeof check>
  let broken: ReturnType<typeof check>

  beforeAll(() => {
    trees.push(makeTree(), makeTree())
    const [good, bad] = trees as [string, string]
    clean = check(good)
    for (const [, file, text, planted] of plants) plant(bad, file, text, planted)
    broken = check(bad)
  })

  afterAll(() => {
    for (const tree of trees) rmSync(tree, { recursive: true, force: true })
  })

  it("finds nothing in the tree as it is", () => {
    expect(clean).toEqual({ status: 0, problems: [] })
  })

  it("fails where there is a problem", () => {
    expect(broken.status).toBe(1)
  })

  it.each(plants)("finds %s", (_, file, _text, _planted, problem) => {
    const expected = problem.startsWith("no page") ? `docs: ${problem}` : `${file}: ${problem}`
    expect(broken.problems).toContain(expected)
  })

  it("brings a table in a guide up to date, and leaves the rest of the page as it is", () => {
    const page = "docs/guides/stored.md"
    const tree = makeTree()
    trees.push(tree)
    const before = readFileSync(join(tree, page), "utf8")
    plant(tree, page, "| `durable`", "| `planted`")
    expect(check(tree).status).toBe(1)
    expect(check(tree, "--write")).toEqual({ status: 0, problems: [] })
    expect(readFileSync(join(tree, page), "utf8")).toBe(before)
  })
})
