// Runs the servers as the README files and the guide write them, each in a process of its own, with a store and queues
// that open when they are told to: whoever comes before that is answered, and served as soon as they are there.
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"
import { afterAll, describe, expect, it } from "vitest"

const root = new URL("../../../", import.meta.url)
// Within this package, which depends on all that a reader would install.
const built = fileURLToPath(new URL("../build/", import.meta.url))
mkdirSync(built, { recursive: true })
const programs = mkdtempSync(join(built, "documented-"))
const directory = mkdtempSync(join(tmpdir(), "sluice-documented-"))
const children = new Set<ChildProcess>()

afterAll(() => {
  for (const child of children) child.kill("SIGKILL")
  rmSync(programs, { recursive: true, force: true })
  rmSync(directory, { recursive: true, force: true })
})

/** The first program of a page that listens. */
const serverOf = (page: string): string => {
  const text = readFileSync(new URL(page, root), "utf8")
  const blocks = Array.from(text.matchAll(/^```ts\n([\s\S]*?)^```$/gm), ([, code]) => code)
  const server = blocks.find((code) => code.includes("NodeRuntime.runMain") && code.includes("{ port: 3000 }"))
  if (server === undefined) throw new Error(`${page} has no server`)
  return server
}

/** What makes layers wait until the process is told to open them. */
const prelude = `
import { Effect as Effect_, Layer as Layer_ } from "effect"
const told = new Promise((resolve) => process.once("message", resolve))
process.channel.unref()
const whenTold = (make) => (...args) => Layer_.unwrapEffect(Effect_.as(Effect_.promise(() => told), make(...args)))
`

const replaced = (code: string, from: string | RegExp, to: string): string => {
  const changed = code.replaceAll(from, to)
  if (changed === code) throw new Error(`there is no ${String(from)} in the program`)
  return changed
}

/** Starts it on a port of its own. */
const start = async (page: string, slow: ReadonlyArray<string>) => {
  let code = serverOf(page)
  code = replaced(code, "{ port: 3000 }", "{ port: 0 }")
  const listening = "$&.on(\"listening\", function() { process.send(this.address().port) })"
  code = replaced(code, /createServer\([^()]*\)/g, listening)
  for (const layer of slow) code = replaced(code, `${layer}(`, `whenTold(${layer})(`)
  const { outputText } = ts.transpileModule(prelude + code, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 }
  })
  const program = join(programs, `${page.replaceAll("/", "__")}.mjs`)
  writeFileSync(program, outputText)
  const child = spawn(process.execPath, [program], { cwd: directory, stdio: ["ignore", "ignore", "inherit", "ipc"] })
  children.add(child)
  const ended = once(child, "close")
  const [port] = await once(child, "message")
  const offer = async () => {
    const response = await fetch(`http://127.0.0.1:${port}/queues/readings`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{\"sensor\":\"roof\",\"celsius\":21.5}"
    })
    const body: unknown = await response.json()
    return { status: response.status, retryAfter: response.headers.get("retry-after"), body }
  }
  return { child, ended, offer }
}

describe("a server as it is documented", () => {
  for (
    const [page, slow] of [
      ["README.md", ["WriteBehind.layer"]],
      ["packages/http/README.md", ["WriteBehind.layer"]],
      ["docs/guides/http.md", ["SqliteStore.layer"]],
      ["docs/guides/http.md", ["WriteBehind.layer", "SqliteStore.layer"]]
    ] as const
  ) {
    it(`answers its first request, before ${slow.join(" and ")} is there: ${page}`, async () => {
      const { child, ended, offer } = await start(page, slow)
      const tooEarly = {
        status: 503,
        retryAfter: "1",
        body: { _tag: "ServerStarting", message: "the server is starting" }
      }
      expect(await offer()).toEqual(tooEarly)
      child.send("open")
      let answer = await offer()
      while (answer.status === 503) {
        expect(answer).toEqual(tooEarly)
        answer = await offer()
      }
      expect(answer).toMatchObject({ status: 202, body: { items: 1, accepted: 1 } })
      child.kill("SIGTERM")
      expect(await ended).toEqual([0, null])
    })
  }
})
