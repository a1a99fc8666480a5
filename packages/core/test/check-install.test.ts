import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

// scripts/check-install.js does what the pages tell a reader to do, which takes a registry. What it finds by reading the
// pages needs none: every such fault is planted in a copy of the pages, never in the pages themselves.

const root = fileURLToPath(new URL("../../..", import.meta.url))

const makeTree = () => {
  mkdirSync(join(root, "build"), { recursive: true })
  const tree = mkdtempSync(join(root, "build", "check-install-"))
  const readmes = ["core", "sql", "http"].map((name) => `packages/${name}/README.md`)
  for (const path of ["README.md", "pnpm-workspace.yaml", "docs/guides", ...readmes]) {
    cpSync(join(root, path), join(tree, path), { recursive: true })
  }
  return tree
}

const check = (tree: string) => {
  const run = spawnSync(process.execPath, [join(root, "scripts/check-install.js"), "--plan", tree], {
    encoding: "utf8"
  })
  return { status: run.status, faults: run.stderr.split("\n").filter((line) => line !== "") }
}

/** Replaces a text that must be there. */
const plant = (tree: string, file: string, text: string, planted: string) => {
  const before = readFileSync(join(tree, file), "utf8")
  if (!before.includes(text)) throw new Error(`${file} has no ${JSON.stringify(text)}`)
  writeFileSync(join(tree, file), before.replace(text, () => planted))
}

const core = "npm install @sluice/core effect@3.22"

/** What is planted in a page, and the fault that it makes. */
const plants: ReadonlyArray<readonly [fault: string, file: string, text: string, planted: string, found: string]> = [
  ["no version", "packages/core/README.md", "effect@3.22", "effect", "effect is not effect@3.22"],
  [
    "a wrong version",
    "packages/http/README.md",
    "platform@0.97",
    "platform@0.96",
    "@effect/platform@0.96 is not @effect/platform@0.97"
  ],
  [
    "the versions of another major",
    "packages/sql/README.md",
    "effect@3.22",
    "effect@latest",
    "effect@latest is not effect@3.22"
  ],
  [
    "a page that installs nothing",
    "docs/guides/own-policy.md",
    core,
    "",
    "no line of the page installs @sluice/core, effect"
  ],
  [
    "a package that the line lacks",
    "docs/guides/batching-updates.md",
    core,
    "npm install @sluice/core",
    "no line of the page installs effect"
  ],
  [
    "a line of the page that is gone",
    "docs/guides/testing.md",
    "npm install -D @effect/vitest@0.30 vitest@3.2",
    "",
    "no line of the page installs @effect/vitest"
  ],
  [
    "a program that declares what it runs",
    "docs/guides/ordered-commands.md",
    "const latestVersion = (account: string) => Effect.sync(() => eventsOf(account).length)",
    "declare const latestVersion: (account: string) => Effect.Effect<number>",
    "it runs what it only declares"
  ],
  [
    "a server that nothing asks",
    "docs/guides/http.md",
    "curl localhost:3000/queues/readings",
    "curl localhost:3001/queues/readings",
    "it is a server, and no `curl localhost:3000/...` on the page asks it"
  ]
]

describe("the check of what the pages install", () => {
  const trees: Array<string> = []
  let broken: ReturnType<typeof check>

  beforeAll(() => {
    trees.push(makeTree(), makeTree())
    for (const [, file, text, planted] of plants) plant(trees[1]!, file, text, planted)
    broken = check(trees[1]!)
  })

  afterAll(() => {
    for (const tree of trees) rmSync(tree, { recursive: true, force: true })
  })

  it("finds nothing in the pages as they are", () => {
    expect(check(trees[0]!)).toEqual({ status: 0, faults: [] })
  })

  it("fails where there is a fault", () => {
    expect(broken.status).toBe(1)
  })

  it.each(plants)("finds %s", (_, file, _text, _planted, found) => {
    const faults = broken.faults.filter((line) => line.startsWith(`${file}:`))
    expect(faults.map((line) => line.replace(/^\S+: /, ""))).toContain(found)
  })
})
