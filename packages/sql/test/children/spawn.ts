/** Processes of their own for tests: a child of this directory is plain JavaScript, and runs what has been compiled. */
import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

/** A directory that is gone after the test. */
export const temporaryDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "sluice-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

/** A process that speaks in lines. */
export class Child {
  readonly lines: Array<string> = []
  /** Called with each line, as it comes in. */
  onLine: ((line: string) => void) | undefined
  private readonly process: ChildProcess
  private readonly waiting = new Set<() => void>()
  private errors = ""
  private ended: string | undefined

  constructor(command: string, args: ReadonlyArray<string>) {
    this.process = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] })
    let rest = ""
    this.process.stdout!.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n")
      // A process that is killed may leave half a line.
      rest = lines.pop()!
      for (const line of lines) {
        this.lines.push(line)
        this.onLine?.(line)
      }
      this.look()
    })
    this.process.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.errors += text
    })
    // Whoever is killed cannot be told anything any more.
    this.process.stdin!.on("error", () => {})
    this.process.on("error", (error) => this.end(error.message))
    // After its last words have come in.
    this.process.on("close", (code, signal) => this.end(signal ?? String(code)))
  }

  say(line: string): Effect.Effect<void> {
    return Effect.sync(() => {
      this.process.stdin!.write(`${line}\n`)
    })
  }

  /** Waits until it has said this; dies where it ends without. */
  heard(line: string): Effect.Effect<void> {
    return Effect.zipRight(
      this.until(() => this.lines.includes(line) || this.ended !== undefined),
      Effect.suspend(() =>
        this.lines.includes(line)
          ? Effect.void
          : Effect.die(new Error(`the child ended without "${line}": ${this.report}`))
      )
    )
  }

  /** Waits until it has ended. Answers how: its exit code, or the signal. */
  readonly exit: Effect.Effect<string> = Effect.map(
    Effect.suspend(() => this.until(() => this.ended !== undefined)),
    () => this.ended!
  )

  /** Waits until it has ended as it should; dies with its last words where it has not. */
  endsWith(how: string): Effect.Effect<void> {
    return Effect.flatMap(
      this.exit,
      (ended) =>
        ended === how ? Effect.void : Effect.die(new Error(`the child did not end with ${how}: ${this.report}`))
    )
  }

  /** `kill -9`. */
  unsafeKill(): void {
    this.unsafeSignal("SIGKILL")
  }

  unsafeSignal(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }

  private get report(): string {
    return `${this.ended ?? "running"}\n${this.lines.slice(-10).join("\n")}\n${this.errors}`
  }

  private until(done: () => boolean): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      const look = () => {
        if (!done()) return
        this.waiting.delete(look)
        resume(Effect.void)
      }
      this.waiting.add(look)
      look()
      return Effect.sync(() => this.waiting.delete(look))
    })
  }

  private look(): void {
    for (const look of this.waiting) look()
  }

  private end(how: string): void {
    this.ended ??= how
    this.look()
  }
}

const fileOf = (name: string) => fileURLToPath(new URL(`./${name}.js`, import.meta.url))

const scoped = (command: string, args: ReadonlyArray<string>): Effect.Effect<Child, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new Child(command, args)),
    (child) => Effect.zipRight(Effect.sync(() => child.unsafeKill()), child.exit)
  )

/** Runs a file of this directory until the scope closes. */
export const child = (name: string, ...args: ReadonlyArray<string | number>) =>
  scoped(process.execPath, [fileOf(name), ...args.map(String)])

/** The same, by a shell that first runs a command, such as one that sets a limit. */
export const childAfter = (command: string, name: string, ...args: ReadonlyArray<string | number>) =>
  scoped("bash", ["-c", `${command}; exec "$0" "$@"`, process.execPath, fileOf(name), ...args.map(String)])

/** A foreign process that holds a lock on a file until it is told `release`. */
export const foreignLock = (filename: string, ...statements: ReadonlyArray<string>) =>
  Effect.tap(child("foreignLock", filename, ...statements), (locker) => locker.heard("locked"))

/** A timer that ticks every so often. Whoever holds up the event loop keeps it from that. */
export const ticking = (everyMillis: number) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const seen = { ticks: 0, timer: undefined as NodeJS.Timeout | undefined }
        seen.timer = setInterval(() => (seen.ticks += 1), everyMillis)
        return seen
      }),
      (seen) => Effect.sync(() => clearInterval(seen.timer))
    ),
    (seen) => ({
      /** Waits for so many more ticks. */
      ticks: (count: number) =>
        Effect.suspend(() => {
          const enough = seen.ticks + count
          return Effect.repeat(Effect.sleep(everyMillis), { until: () => seen.ticks >= enough })
        })
    })
  )
