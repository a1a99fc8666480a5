// Runs the built program as a user does, in a process of its own.
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll } from "vitest"

const program = fileURLToPath(new URL("../../dist/flights/main.js", import.meta.url))
const bundled = new URL("../../node_modules/vega-datasets/data/flights-20k.json", import.meta.url)

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Starts the program. `ended` is resolved when it has ended, whatever its exit code. */
export const start = (...args: ReadonlyArray<string>) => startIn({}, ...args)

/** Starts the program with some variables of its environment set. */
export const startIn = (env: Readonly<Record<string, string>>, ...args: ReadonlyArray<string>) => {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env }
  })
  let stdout = ""
  let stderr = ""
  child.stdout.setEncoding("utf8").on("data", (text) => stdout += text)
  child.stderr.setEncoding("utf8").on("data", (text) => stderr += text)
  // "close" comes once nobody has its output any more. The processes that it starts have its stderr, too.
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject)
    child.on("close", (code) => resolve({ code, stdout, stderr }))
  })
  /** What stderr says first that matches; the program must not end before. */
  const said = (pattern: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(stderr)
        if (match !== null) resolve(match)
      }
      child.stderr.on("data", look)
      void ended.then(() => reject(new Error(`ended without saying ${pattern}: ${stderr}`)), reject)
      look()
    })
  return { child, ended, said }
}

export const run = (...args: ReadonlyArray<string>): Promise<Ended> => start(...args).ended

/** A directory that is removed after the tests of the file. */
export const temporaryDirectory = (): string => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-examples-"))
  afterAll(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** The first flights of the real ones, each as a line of NDJSON. */
export const flightLines = (count: number): Array<string> =>
  JSON.parse(readFileSync(bundled, "utf8")).slice(0, count).map((flight: unknown) => JSON.stringify(flight))

export const writeLines = (directory: string, name: string, lines: ReadonlyArray<string>): string => {
  const file = join(directory, name)
  writeFileSync(file, `${lines.join("\n")}\n`)
  return file
}
