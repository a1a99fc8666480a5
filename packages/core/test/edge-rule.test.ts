import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

// `npm run check:lint` holds the sources to the rule that fibers, runtimes, references and spans are touched in
// `internal/fibers/` alone. Here it is shown what breaks it, in files that are planted, and where it does not hold.

const root = fileURLToPath(new URL("../../..", import.meta.url))
const oxlint = join(root, "node_modules/oxlint/bin/oxlint")

const imports = [
  "Fiber",
  "FiberId",
  "FiberRef",
  "FiberRefs",
  "ManagedRuntime",
  "Runtime",
  "RuntimeFlags",
  "Scheduler",
  "Supervisor"
]

/** Every function and member that the rule names is planted, so that none of them can be misspelt. */
const restricted = ((): ReadonlyArray<{ readonly object?: string; readonly property: string }> => {
  const { overrides } = JSON.parse(readFileSync(join(root, ".oxlintrc.json"), "utf8")) as {
    overrides: ReadonlyArray<{ rules: Record<string, ReadonlyArray<any>> }>
  }
  return overrides.flatMap(({ rules }) => rules["eslint/no-restricted-properties"]?.slice(1) ?? [])
})()

const ofEffect = restricted.filter(({ object }) => object === "Effect").map(({ property }) => property)
const members = restricted.filter(({ object }) => object === undefined).map(({ property }) => property)

const source = [
  ...imports.map((name) => `import type * as ${name} from "effect/${name}"`),
  `import * as Effect from "effect/Effect"`,
  `declare const fiber: any`,
  ...imports.map((name) => `export type { ${name} }`),
  ...ofEffect.map((name) => `export const ${name} = Effect.${name}`),
  ...members.map((name) => `export const its${name} = fiber.${name}`)
]

/** The names that a text takes from modules of Effect, which the rule would not know by their object. */
const namesFromEffect = (text: string): ReadonlyArray<string> =>
  Array.from(text.matchAll(/^import (?:type )?\{[^}]*\} from "effect(?:\/Effect)?"/gm), ([line]) => line)

const sourcesOf = (folder: string): ReadonlyArray<string> =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => `${folder}/${file}`)

const fine = [
  `import * as Effect from "effect/Effect"`,
  `export const fine = Effect.suspend(() => Effect.sleep("1 second"))`
]

describe("edge rule", () => {
  let tree: string

  /** The lines of a file that break the rule. */
  const found = (file: string, lines: ReadonlyArray<string>): ReadonlyArray<string> => {
    const path = join(tree, file)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, `${lines.join("\n")}\n`)
    const { stderr, stdout } = spawnSync(process.execPath, [oxlint, "--format", "json", file], {
      cwd: tree,
      encoding: "utf8"
    })
    rmSync(path)
    if (!stdout.startsWith("{")) throw new Error(`${stdout}${stderr}`)
    const { diagnostics } = JSON.parse(stdout) as {
      diagnostics: ReadonlyArray<
        { readonly code: string; readonly labels: ReadonlyArray<{ readonly span: { readonly line: number } }> }
      >
    }
    return diagnostics.filter(({ code }) => code.includes("no-restricted-"))
      .map(({ labels }) => lines[labels[0].span.line - 1])
  }

  beforeAll(() => {
    tree = realpathSync(mkdtempSync(join(tmpdir(), "edge-rule-")))
    cpSync(join(root, ".oxlintrc.json"), join(tree, ".oxlintrc.json"))
  })

  afterAll(() => rmSync(tree, { recursive: true, force: true }))

  const broken = source.filter((line) => /"effect\/(?!Effect)|= (Effect|fiber)\./.test(line))

  it.each(["core/src/Planted.ts", "core/src/internal/intake/planted.ts", "sql/src/Planted.ts", "http/src/Planted.ts"])(
    "reports every import, function and member that is the edge's in %s",
    (file) => {
      const lines = found(`packages/${file}`, source)
      expect(broken.filter((line) => !lines.includes(line))).toEqual([])
      expect(new Set(lines).size).toBe(imports.length + ofEffect.length + members.length)
    }
  )

  it("has names that Effect and its fibers have", () => {
    const isOf = (object: object) => (property: string) => property in object
    expect(ofEffect.filter((name) => !isOf(Effect)(name))).toEqual([])
    const fiber = Effect.runFork(Effect.void)
    expect(members.filter((name) => !isOf(fiber)(name))).toEqual([])
  })

  it("is not got round by names taken from a module of Effect, or by another name for it", () => {
    expect(namesFromEffect(`import { fork } from "effect/Effect"`)).toHaveLength(1)
    const files = ["core", "sql", "http"].flatMap((name) => sourcesOf(`packages/${name}/src`))
    expect(files.length).toBeGreaterThan(100)
    const found = files.flatMap((file) => {
      const text = readFileSync(join(root, file), "utf8")
      const renamed = /^import (?:type )?\* as (?!Effect )\w+ from "effect\/Effect"/m.test(text)
      return namesFromEffect(text).length > 0 || renamed ? [file] : []
    })
    expect(found).toEqual([])
  })

  it("lets everything else through", () => {
    expect(found("packages/core/src/Planted.ts", fine)).toEqual([])
  })

  it.each([
    "core/src/internal/fibers/planted.ts",
    "core/src/testing/planted.ts",
    "core/test/planted.ts",
    "examples/src/planted.ts"
  ])("does not hold in %s", (file) => {
    expect(found(`packages/${file}`, source)).toEqual([])
  })
})
