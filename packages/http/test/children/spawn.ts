/** Processes of their own for tests: a child of this directory is plain JavaScript, and runs what has been compiled. */
import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { until } from "../support/raw.ts"

const token = "a token for operators"

/** A child that serves. It is killed when the scope closes. */
export class Server {
  readonly port: number = 0
  readonly token = token
  private readonly process: ChildProcess
  private readonly flushedFile: string
  private output = ""
  private errors = ""
  /** The exit code, or the signal. */
  ended: string | undefined

  constructor(directory: string, options: Readonly<Record<string, unknown>>) {
    this.flushedFile = path.join(directory, "flushed")
    fs.writeFileSync(this.flushedFile, "")
    const told = JSON.stringify({ ...options, flushed: this.flushedFile, token })
    const program = fileURLToPath(new URL("./server.js", import.meta.url))
    this.process = spawn(process.execPath, [program, told], { stdio: ["ignore", "pipe", "pipe"] })
    this.process.stdout!.setEncoding("utf8").on("data", (text: string) => this.output += text)
    this.process.stderr!.setEncoding("utf8").on("data", (text: string) => this.errors += text)
    this.process.on("close", (code, signal) => this.ended = signal ?? String(code))
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** What it has said so far. */
  get lines(): ReadonlyArray<string> {
    return this.output.split("\n").slice(0, -1)
  }

  /** What its queues have flushed, in any order. */
  get flushed(): ReadonlyArray<string> {
    return fs.readFileSync(this.flushedFile, "utf8").split("\n").slice(0, -1).sort()
  }

  /** Waits until it has said this; dies where it ends without. */
  heard(pattern: RegExp): Effect.Effect<RegExpExecArray> {
    return Effect.zipRight(
      until(() => pattern.test(this.output) || this.ended !== undefined),
      Effect.suspend(() => {
        const heard = pattern.exec(this.output)
        return heard === null
          ? Effect.dieMessage(`the child ended with ${this.ended} without ${pattern}: ${this.output}\n${this.errors}`)
          : Effect.succeed(heard)
      })
    )
  }

  unsafeSignal(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }

  /** Sends a signal, and waits until it has ended. Answers how, and what it has said on stderr. */
  end(signal: NodeJS.Signals = "SIGTERM"): Effect.Effect<{ readonly how: string; readonly errors: string }> {
    return Effect.suspend(() => {
      this.unsafeSignal(signal)
      return Effect.map(this.exit, (how) => ({ how, errors: this.errors }))
    })
  }

  readonly exit: Effect.Effect<string> = Effect.map(
    until(() => this.ended !== undefined),
    () => this.ended!
  )
}

/** A directory that is gone after the test. */
const temporaryDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "sluice-http-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

/** Starts the child, and waits until it listens. */
export const startServer = (
  options: Readonly<Record<string, unknown>> = {}
): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.gen(function*() {
    const directory = yield* temporaryDirectory
    const server = yield* Effect.acquireRelease(
      Effect.sync(() => new Server(directory, options)),
      (server) => Effect.zipRight(Effect.sync(() => server.unsafeSignal("SIGKILL")), server.exit)
    )
    const [, port] = yield* server.heard(/^listening (\d+)$/m)
    return Object.assign(server, { port: Number(port) })
  })
