import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

// `npm run check:declarations` holds the packages as they are built to the rule. Here it is shown what breaks it, and
// what does not, in a package that is planted.

const root = fileURLToPath(new URL("../../..", import.meta.url))

describe("declaration rule", () => {
  let tree: string

  const plant = (file: string, lines: ReadonlyArray<string>) => {
    const path = join(tree, "packages/core", file)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, `${lines.join("\n")}\n`)
  }

  const check = () => {
    const { status, stderr, stdout } = spawnSync(
      process.execPath,
      [join(root, "scripts/check-declarations.js"), tree],
      { encoding: "utf8" }
    )
    if (stdout === "") throw new Error(stderr)
    return { status, found: stdout.trimEnd().split("\n").slice(1) }
  }

  beforeAll(() => {
    mkdirSync(join(root, "build"), { recursive: true })
    tree = mkdtempSync(join(root, "build", "declaration-rule-"))
    plant("dist/Fine.d.ts", [
      "import type * as Effect from \"effect/Effect\"",
      "import { Hidden } from \"./internal/hidden.ts\"",
      "/** Answers no Chunk and no Either. */",
      "export declare const fine: Effect.Effect<ReadonlyArray<number>>",
      "export declare class Own { private readonly hidden; readonly text: string }",
      "export type Either = Own | typeof Hidden.shown"
    ])
    plant("dist/internal/hidden.d.ts", [
      "import type * as Chunk from \"effect/Chunk\"",
      "export declare namespace Hidden { const shown: string }",
      "export declare const nobodySees: Chunk.Chunk<number>"
    ])
    cpSync(join(root, "packages/core/package.json"), join(tree, "packages/core/package.json"))
    symlinkSync(join(root, "packages/core/node_modules"), join(tree, "packages/core/node_modules"), "junction")
  })

  afterAll(() => rmSync(tree, { recursive: true, force: true }))

  it("lets plain types through, and what no public module shows", () => {
    expect(check()).toEqual({ status: 0, found: [] })
  })

  it("reports Chunk and Either, however they are named, also where another declaration shows them", () => {
    plant("dist/Planted.d.ts", [
      "import type * as Either from \"effect/Either\"",
      "import type { Chunk as Many } from \"effect/Chunk\"",
      "import type { Inner } from \"./internal/inner.ts\"",
      "export declare const either: Either.Either<number, string>",
      "export interface Planted { readonly many: Many<number>; readonly inner: Inner }",
      "export declare const inferred: () => import(\"effect\").Either.Either<1, 2>"
    ])
    plant("dist/internal/inner.d.ts", [
      "import * as Chunk from \"effect/Chunk\"",
      "export interface Inner { readonly deep: Deeper }",
      "interface Deeper { readonly chunk: Chunk.Chunk<number> }"
    ])
    plant("dist/testing/PlantedExport.d.ts", ["export type { Right } from \"effect/Either\""])
    const { found, status } = check()
    expect(status).toBe(1)
    expect(new Set(found.map((line) => line.replace(/: .*/, "")))).toEqual(
      new Set([
        "packages/core/dist/Planted.d.ts:4",
        "packages/core/dist/Planted.d.ts:5",
        "packages/core/dist/Planted.d.ts:6",
        "packages/core/dist/internal/inner.d.ts:3",
        "Right of effect/Either is exported"
      ])
    )
  })
})
