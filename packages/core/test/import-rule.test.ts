import { spawnSync } from "node:child_process"
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

// The rules live in .dependency-cruiser.mjs. A wrong path in them would make them pass for ever, so every rule is
// shown here a file that breaks it. The files are planted in a copy of the tree, never in the tree itself.

const root = fileURLToPath(new URL("../../..", import.meta.url))
const depcruise = join(root, "node_modules/dependency-cruiser/bin/dependency-cruise.mjs")

interface Violation {
  readonly from: string
  readonly to: string
  readonly rule: { readonly name: string; readonly severity: string }
}

const plant = (tree: string, file: string, source: string) => {
  mkdirSync(dirname(join(tree, file)), { recursive: true })
  writeFileSync(join(tree, file), source)
}

const makeTree = () => {
  mkdirSync(join(root, "build"), { recursive: true })
  const tree = mkdtempSync(join(root, "build", "import-rule-"))
  cpSync(join(root, "packages/core/src"), join(tree, "packages/core/src"), { recursive: true })
  symlinkSync(join(root, "packages/core/node_modules"), join(tree, "packages/core/node_modules"), "junction")
  return tree
}

const cruise = (tree: string) => {
  const run = spawnSync(
    process.execPath,
    [depcruise, "--config", join(root, ".dependency-cruiser.mjs"), "--output-type", "json", "packages"],
    { cwd: tree, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 }
  )
  if (run.stdout === "") throw new Error(run.stderr)
  const { summary } = JSON.parse(run.stdout) as { summary: { violations: ReadonlyArray<Violation> } }
  return summary.violations
}

const pureModules = ["FlushPolicy", "Buffer", "QueueEvent", "QueueError", "Result", "Sharding"]
const running = ["effect/Effect", "effect/Clock", "effect/Queue", "effect/Scope", "effect/Stream", "effect/PubSub"]

describe("import rule", () => {
  const trees: Array<string> = []
  let clean: ReturnType<typeof cruise>
  let broken: ReturnType<typeof cruise>

  beforeAll(() => {
    trees.push(makeTree(), makeTree())
    const [good, bad] = trees as [string, string]
    clean = cruise(good)

    const core = "packages/core/src"
    plant(bad, `${core}/PlantedNode.ts`, `export * from "node:fs"\n`)
    plant(bad, `${core}/PlantedPackage.ts`, `export * from "@effect/vitest"\n`)
    plant(bad, `${core}/PlantedTypeOfPackage.ts`, `export type * from "@effect/vitest"\n`)
    plant(bad, `${core}/PlantedExample.ts`, `export * from "../../examples/src/main.ts"\n`)
    plant(bad, `${core}/PlantedNowhere.ts`, `export * from "effect/Nowhere"\n`)
    plant(bad, `${core}/internal/plantedA.ts`, `export * from "./plantedB.ts"\n`)
    plant(bad, `${core}/internal/plantedB.ts`, `export * from "./plantedA.ts"\n`)
    const rooms = `${core}/internal`
    plant(bad, `${rooms}/writeBehind/planted.ts`, `export * from "../batchQueue/turns.ts"\n`)
    plant(bad, `${rooms}/batchQueue/planted.ts`, `export * from "../keyedBatch/deadlines.ts"\n`)
    plant(bad, `${rooms}/keyedBatch/planted.ts`, `export * from "../shardPool/lanes.ts"\n`)
    plant(bad, `${rooms}/shardPool/planted.ts`, `export * from "../writeBehind/origins.ts"\n`)
    plant(bad, `${core}/PlantedDoor.ts`, `export type * from "./internal/writeBehind/origins.ts"\n`)
    plant(bad, `${rooms}/fibers/planted.ts`, `export * from "../intake/weight.ts"\n`)
    plant(bad, `${rooms}/shapes/planted.ts`, `export * from "../../Batch.ts"\n`)
    plant(bad, `${rooms}/shapes/plantedType.ts`, `export type * from "../../Batch.ts"\n`)
    plant(bad, `${core}/PlantedBarrel.ts`, `export { Queue } from "effect"\n`)
    plant(bad, `${core}/PlantedQueue.ts`, `export * from "effect/Queue"\n`)
    plant(bad, `${core}/PlantedTypeOfQueue.ts`, `export type { Strategy } from "effect/Queue"\n`)
    plant(bad, "packages/sql/src/internal/coordinator/fine.ts", `export const fine = true\n`)
    plant(bad, "packages/sql/src/internal/sqlite/planted.ts", `export * from "../coordinator/fine.ts"\n`)
    plant(bad, "packages/sql/src/internal/postgres/planted.ts", `export * from "../coordinator/fine.ts"\n`)
    plant(bad, "packages/examples/src/main.ts", `export const ran = true\n`)
    plant(bad, "packages/sql/src/Planted.ts", `export * from "../../http/src/Fine.ts"\n`)
    plant(bad, "packages/sql/src/Fine.ts", `export const fine = true\n`)
    plant(bad, "packages/http/src/Planted.ts", `export * from "../../sql/src/Fine.ts"\n`)
    plant(bad, "packages/http/src/Fine.ts", `export const fine = true\n`)
    for (const file of ["Planted", "internal/sqlite/connection", "internal/sqlite/driver"]) {
      appendFileSync(join(bad, `packages/sql/src/${file}.ts`), `export * from "@effect/sql-sqlite-node/SqliteClient"\n`)
    }
    for (const file of ["Planted", "internal/postgres/connection", "internal/postgres/driver"]) {
      appendFileSync(join(bad, `packages/sql/src/${file}.ts`), `export * from "pg"\n`)
    }
    const driver = "packages/sql/src/internal/sqlite/driver.ts"
    appendFileSync(join(bad, driver), `export * from "node:http"\nexport * from "node:module"\n`)
    symlinkSync(join(root, "packages/sql/node_modules"), join(bad, "packages/sql/node_modules"), "junction")
    plant(bad, "packages/http/src/PlantedNode.ts", `export * from "node:http"\n`)
    plant(bad, "packages/sql/src/PlantedNode.ts", `export * from "node:fs"\n`)
    plant(bad, "packages/sql/src/internal/sqlite/file.ts", `export * from "node:http"\nexport * from "node:fs"\n`)
    plant(bad, "packages/benchmarks/src/PlantedExample.ts", `export * from "../../examples/src/main.ts"\n`)
    plant(bad, `${core}/Effectful.ts`, `export const effectful = true\n`)
    for (const name of [...pureModules, "Batch"]) {
      const file = join(bad, core, `${name}.ts`)
      for (const [index, id] of [...running, "effect"].entries()) {
        appendFileSync(file, `\nimport * as Planted${index} from "${id}"\nexport { Planted${index} }\n`)
      }
      appendFileSync(file, `\nexport * as Effectful from "./Effectful.ts"\n`)
      appendFileSync(file, `\nexport type * as PlantedTypes from "effect/Fiber"\n`)
      appendFileSync(file, `\nimport type * as FirstAsTypes from "effect/Layer"\nexport type { FirstAsTypes }\n`)
      appendFileSync(file, `\nimport * as ThenForReal from "effect/Layer"\nexport { ThenForReal }\n`)
    }
    broken = cruise(bad)
  })

  afterAll(() => {
    for (const tree of trees) rmSync(tree, { recursive: true, force: true })
  })

  const found = (rule: string, from: string) =>
    broken.filter((violation) => violation.rule.name === rule && violation.from === from)
      .map((violation) => violation.to)

  it("the sources as they are break no rule", () => {
    expect(clean).toEqual([])
  })

  it("every rule is an error, so that a violation makes the command fail", () => {
    expect(new Set(broken.map((violation) => violation.rule.severity))).toEqual(new Set(["error"]))
  })

  it.each([
    ["core-imports-effect-only", "packages/core/src/PlantedNode.ts"],
    ["core-imports-effect-only", "packages/core/src/PlantedPackage.ts"],
    ["core-imports-effect-only", "packages/core/src/PlantedTypeOfPackage.ts"],
    ["core-imports-effect-only", "packages/core/src/PlantedExample.ts"],
    ["nothing-imports-examples-benchmarks-scratchpad", "packages/core/src/PlantedExample.ts"],
    ["nothing-imports-examples-benchmarks-scratchpad", "packages/benchmarks/src/PlantedExample.ts"],
    ["no-unresolvable", "packages/core/src/PlantedNowhere.ts"],
    ["no-circular", "packages/core/src/internal/plantedA.ts"],
    ["room-of-batchQueue", "packages/core/src/internal/writeBehind/planted.ts"],
    ["room-of-keyedBatch", "packages/core/src/internal/batchQueue/planted.ts"],
    ["room-of-shardPool", "packages/core/src/internal/keyedBatch/planted.ts"],
    ["room-of-writeBehind", "packages/core/src/internal/shardPool/planted.ts"],
    ["room-of-writeBehind", "packages/core/src/PlantedDoor.ts"],
    ["fibers-not-intake", "packages/core/src/internal/fibers/planted.ts"],
    ["shapes-import-nothing", "packages/core/src/internal/shapes/planted.ts"],
    ["effect-by-its-modules", "packages/core/src/PlantedBarrel.ts"],
    ["one-file-makes-queues", "packages/core/src/PlantedQueue.ts"],
    ["one-file-makes-queues", "packages/core/src/PlantedTypeOfQueue.ts"],
    ["database-not-coordinator", "packages/sql/src/internal/sqlite/planted.ts"],
    ["database-not-coordinator", "packages/sql/src/internal/postgres/planted.ts"],
    ["sql-not-http", "packages/sql/src/Planted.ts"],
    ["http-not-sql", "packages/http/src/Planted.ts"],
    ["sql-imports-core-and-effect-sql", "packages/sql/src/PlantedNode.ts"],
    ["sqlite-file-imports-files", "packages/sql/src/internal/sqlite/file.ts"],
    ["sqlite-driver-looks-for-its-package", "packages/sql/src/internal/sqlite/driver.ts"],
    ["one-file-drives-sqlite", "packages/sql/src/Planted.ts"],
    ["one-file-drives-sqlite", "packages/sql/src/internal/sqlite/connection.ts"],
    ["one-file-drives-postgres", "packages/sql/src/Planted.ts"],
    ["one-file-drives-postgres", "packages/sql/src/internal/postgres/connection.ts"],
    ["http-imports-core-and-effect-platform", "packages/http/src/PlantedNode.ts"]
  ])("%s reports %s", (rule, from) => {
    expect(found(rule, from)).not.toEqual([])
  })

  it("shapes may be of types that stand elsewhere", () => {
    expect(found("shapes-import-nothing", "packages/core/src/internal/shapes/plantedType.ts")).toEqual([])
  })

  it("the driver of PostgreSQL is imported where it is meant to be", () => {
    expect(found("one-file-drives-postgres", "packages/sql/src/internal/postgres/driver.ts")).toEqual([])
  })

  it("the driver of SQLite is imported where it is meant to be", () => {
    expect(found("one-file-drives-sqlite", "packages/sql/src/internal/sqlite/driver.ts")).toEqual([])
  })

  it("the file of SQLite may be looked at with what Node has for files", () => {
    expect(found("sqlite-file-imports-files", "packages/sql/src/internal/sqlite/file.ts")).toEqual(["http"])
  })

  it("the driver of SQLite may be looked for with what Node has for modules", () => {
    expect(found("sqlite-driver-looks-for-its-package", "packages/sql/src/internal/sqlite/driver.ts")).toEqual(["http"])
  })

  it("Batch may run an effect", () => {
    expect(found("batch-imports-data-and-effect", "packages/core/src/Batch.ts").filter((to) => to.includes("/Effect.")))
      .toEqual([])
  })

  describe.each([
    ...pureModules.map((name) => ({ name, rule: "pure-modules-import-data-only", may: "" })),
    { name: "Batch", rule: "batch-imports-data-and-effect", may: "effect/Effect" }
  ])("$name is pure", ({ may, name, rule }) => {
    const reported = () => found(rule, `packages/core/src/${name}.ts`)

    it.each([...running, "effect/index"].filter((id) => id !== may))("may not import %s", (id) => {
      const module = id.replace("effect/", "")
      expect(reported().filter((to) => to.includes(`/${module}.`))).not.toEqual([])
    })

    it("may not import another module of core", () => {
      expect(reported()).toContain("packages/core/src/Effectful.ts")
    })

    it("may import types, as long as nothing but types is imported", () => {
      expect(reported().filter((to) => to.includes("/Fiber."))).toEqual([])
      expect(reported().filter((to) => to.includes("/Layer."))).not.toEqual([])
    })
  })
})
