/**
 * A driver that is missing, broken, or would end the process: what opening a file says then. The packages are copied, as
 * they would be installed, and something is taken away from the copy.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import { createRequire } from "node:module"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { clientVersion, driverFault, refusedPair } from "../src/internal/sqlite/driverFaults.ts"
import { temporaryDirectory } from "./children/spawn.ts"

const sql = fileURLToPath(new URL("..", import.meta.url))
const node = process.versions.node
const driver: string = createRequire(import.meta.url)("better-sqlite3/package.json").version

const program = `
import * as SqliteStore from "@sluice/sql/SqliteStore"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
const exit = await Effect.runPromiseExit(Effect.scoped(Layer.build(SqliteStore.layer({ filename: "some.db" }))))
const said = Exit.isSuccess(exit) ? {} : { ...Cause.squash(exit.cause), message: Cause.squash(exit.cause).message }
const shown = Exit.isSuccess(exit) ? "" : Cause.pretty(exit.cause, { renderErrorCause: true })
console.log(JSON.stringify({ tag: exit._tag, isDefect: Exit.isFailure(exit) && Cause.isDie(exit.cause), ...said, shown }))
`

const copied = new Set(["@effect/sql-sqlite-node", "better-sqlite3"])

/** A folder with the packages, in which `opening` opens a file in a process of its own. */
const installation = Effect.map(temporaryDirectory, (folder) => {
  const modules = path.join(folder, "node_modules")
  const add = (name: string, from: string) => {
    const to = path.join(modules, name)
    const real = fs.realpathSync(from)
    fs.mkdirSync(path.dirname(to), { recursive: true })
    if (!copied.has(name)) return fs.symlinkSync(real, to, "junction")
    // What a native binding is built from is left out: it is most of the package.
    fs.cpSync(real, to, { recursive: true, filter: (file) => !/[\\/](deps|src|obj|obj\.target)$/.test(file) })
  }
  const { dependencies, peerDependencies } = JSON.parse(fs.readFileSync(path.join(sql, "package.json"), "utf8"))
  for (const name of Object.keys({ ...dependencies, ...peerDependencies })) {
    add(name, path.join(sql, "node_modules", name))
  }
  add("better-sqlite3", path.join(sql, "node_modules/better-sqlite3"))
  const besides = path.dirname(fs.realpathSync(path.join(sql, "node_modules/better-sqlite3")))
  // Version 13 has its bindings in it, and looks for none.
  if (fs.existsSync(path.join(besides, "bindings"))) add("bindings", path.join(besides, "bindings"))
  fs.mkdirSync(path.join(modules, "@sluice/sql"), { recursive: true })
  for (const part of ["package.json", "dist"]) {
    fs.cpSync(path.join(sql, part), path.join(modules, "@sluice/sql", part), { recursive: true })
  }
  fs.writeFileSync(path.join(folder, "open.mjs"), program)
  const bindings = () =>
    fs.readdirSync(path.join(modules, "better-sqlite3"), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".node"))
      .map((file) => path.join(modules, "better-sqlite3", file))
  return {
    bindings,
    remove: (name: string) => fs.rmSync(path.join(modules, name), { recursive: true, force: true }),
    /** Says that the driver is of another version. */
    claim: (version: string) => {
      const file = path.join(modules, "better-sqlite3/package.json")
      fs.writeFileSync(file, JSON.stringify({ ...JSON.parse(fs.readFileSync(file, "utf8")), version }))
    },
    opening: Effect.async<any>((resume) => {
      execFile(
        process.execPath,
        ["open.mjs"],
        { cwd: folder },
        (error, stdout, stderr) =>
          resume(error === null ? Effect.sync(() => JSON.parse(stdout)) : Effect.die(new Error(`${error}\n${stderr}`)))
      )
    })
  }
})

/** A failure of the layer whose message is one line with this in it. */
const unusable = (...parts: ReadonlyArray<string>) => ({
  tag: "Failure",
  isDefect: false,
  _tag: "StoreUnavailable",
  store: "some.db",
  reason: "driver",
  message: expect.toSatisfy(
    (message: string) => !message.includes("\n") && parts.every((part) => message.includes(part)),
    parts.join(", ")
  )
})

describe("a driver that cannot be used fails the layer with what to run", () => {
  it.scopedLive("and one that can opens the file", () =>
    Effect.gen(function*() {
      const { opening } = yield* installation
      expect(yield* opening).toMatchObject({ tag: "Success" })
    }))

  it.scopedLive("where its native binding is missing", () =>
    Effect.gen(function*() {
      const { bindings, opening } = yield* installation
      for (const file of bindings()) fs.rmSync(file)
      const said = yield* opening
      expect(said).toMatchObject(unusable("has no native binding", "npm rebuild better-sqlite3", "pnpm approve-builds"))
      // No list of where it was looked for, and no stack of the driver's.
      expect(said.shown.split("\n").filter((line: string) => line.includes("better-sqlite3")).length).toBeLessThan(4)
      expect(said.shown.split("\n")[0]).toContain("npm rebuild better-sqlite3")
    }))

  it.scopedLive("where its native binding is something else", () =>
    Effect.gen(function*() {
      const { bindings, opening } = yield* installation
      for (const file of bindings()) fs.writeFileSync(file, "x".repeat(10_000))
      expect(yield* opening).toMatchObject(unusable("cannot be loaded", ".node: ", "npm rebuild better-sqlite3"))
    }))

  it.scopedLive.each(["@effect/sql-sqlite-node", "better-sqlite3"])(
    "where %s is not installed",
    (name) =>
      Effect.gen(function*() {
        const { opening, remove } = yield* installation
        remove(name)
        const command = `npm install @effect/sql-sqlite-node@${clientVersion}`
        expect(yield* opening).toMatchObject(unusable(`${name} is not installed`, command))
      })
  )

  it.scopedLive("where the process would crash with it, before it is loaded", () =>
    Effect.gen(function*() {
      const { bindings, claim, opening } = yield* installation
      const version = ["12.11.1", "13.2.0"].find((version) => refusedPair({ node }, version) !== undefined)
      if (version === undefined) return
      claim(version)
      // Loading it would say that it is missing.
      for (const file of bindings()) fs.rmSync(file)
      expect(yield* opening).toMatchObject(unusable(`better-sqlite3 ${version}`, `on Node ${node}`, "install again"))
    }))
})

describe("pairs of a Node and a driver", () => {
  it.each([
    ["24.19.0", "12.11.1"],
    ["24.21.0", "11.10.0"],
    ["26.0.0", "12.11.1"],
    ["20.20.2", "13.2.0"],
    ["21.7.3", "13.0.0"]
  ])("Node %s with better-sqlite3 %s is refused", (node, driver) => {
    const message = refusedPair({ node }, driver)?.message
    expect(message).toContain(`better-sqlite3 ${driver}`)
    expect(message).toContain(`Node ${node}`)
    expect(message).toContain(driver.startsWith("13") ? "needs better-sqlite3 12" : "needs better-sqlite3 13")
  })

  it.each([
    ["20.20.2", "12.11.1"],
    ["22.23.3", "12.11.1"],
    ["24.18.0", "12.11.1"],
    ["25.9.0", "12.11.1"],
    ["22.0.0", "13.2.0"],
    ["24.21.0", "13.2.0"],
    ["26.12.1", "13.2.0"]
  ])("Node %s with better-sqlite3 %s is not", (node, driver) => {
    expect(refusedPair({ node }, driver)).toBeUndefined()
  })

  it("Bun with better-sqlite3 12 is refused, and with 13 is not", () => {
    expect(refusedPair({ node: "24.3.0", bun: "1.4.5" }, "12.11.1")?.message).toContain("does not run on Bun")
    expect(refusedPair({ node: "24.3.0", bun: "1.4.5" }, "13.2.0")).toBeUndefined()
  })

  it("the pair of this run is not", () => {
    expect(refusedPair({ node }, driver)).toBeUndefined()
  })
})

describe("what an error says about the driver", () => {
  it("a binding for another Node", () => {
    const error = Object.assign(
      new Error(
        "The module 'better_sqlite3.node'\nwas compiled against a different Node.js version using\n"
          + "NODE_MODULE_VERSION 115. This version of Node.js requires\nNODE_MODULE_VERSION 127."
      ),
      { code: "ERR_DLOPEN_FAILED" }
    )
    const message = driverFault(error, "22.23.3")?.message
    expect(message).toContain("is for another version of Node than this one, 22.23.3")
    expect(message).toContain("npm rebuild better-sqlite3")
    expect(message).not.toContain("\n")
  })

  it("nothing, where it comes from the file, or from us", () => {
    expect(driverFault(Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY" }), node)).toBeUndefined()
    expect(driverFault(new TypeError("undefined is not a function"), node)).toBeUndefined()
  })

  it("the version that it tells to install is that of the peers", () => {
    const { peerDependencies } = JSON.parse(fs.readFileSync(path.join(sql, "package.json"), "utf8"))
    expect(peerDependencies["@effect/sql-sqlite-node"]).toContain(`^${clientVersion}.`)
  })
})
