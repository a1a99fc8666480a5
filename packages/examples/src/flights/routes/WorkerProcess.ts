/**
 * The process of the workers, as the first process sees it.
 */
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Order, Word } from "./messages.ts"

/** The process has ended by itself, or could not be started, or does not go on. */
export class WorkerFailed extends Data.TaggedError("WorkerFailed")<{ readonly problem: string }> {
  override get message(): string {
    return `the process that counts the routes ${this.problem}`
  }
}

export interface WorkerProcess {
  readonly pid: number | undefined
  /** Fails once it has ended without having been asked to. */
  readonly watch: Effect.Effect<never, WorkerFailed>
  /**
   * Lets each worker wait once it has counted a batch. Answers when no worker will settle what is stored from now on: at
   * once where it has not begun, else when it has heard of it.
   */
  readonly hold: Effect.Effect<void, WorkerFailed>
  /** The batches that are held so. */
  readonly held: Effect.Effect<ReadonlyArray<number>>
  /** Kills it, without a chance to say or do anything more. Answers when it is dead. */
  readonly kill: Effect.Effect<void>
  /** Answers when it has ended well. */
  readonly stop: Effect.Effect<void, WorkerFailed>
}

/** How long it may take to answer, or to end. */
const patience = "30 seconds"

/** The program, as it is compiled: a process has no use for the sources. */
export const script = fileURLToPath(new URL("worker.js", import.meta.url))

const endedWith = (code: number | null): string => `ended with exit code ${code}`

const endedWell = endedWith(0)

type State =
  /** It has not asked for its first order yet. */
  | { readonly _tag: "Starting"; readonly order: "count" | "hold" }
  | { readonly _tag: "Running" }
  /** It was killed or stopped by us. */
  | { readonly _tag: "Ending" }

class WorkerProcessImpl implements WorkerProcess {
  readonly pid: number | undefined
  private readonly child: ChildProcess
  private state: State = { _tag: "Starting", order: "count" }
  private readonly batches: Array<number> = []
  private readonly failed = Effect.runSync(Deferred.make<never, WorkerFailed>())
  private readonly holding = Effect.runSync(Deferred.make<void>())
  /** How it has ended. */
  private readonly ended = Effect.runSync(Deferred.make<string>())

  constructor(child: ChildProcess) {
    this.child = child
    this.pid = child.pid
    child.on("message", (word: Word) => this.hear(word))
    child.on("error", (error) => this.end(`could not be started or spoken to: ${error.message}`))
    child.on("exit", (code, signal) => this.end(signal === null ? endedWith(code) : `ended: ${signal}`))
  }

  private hear(word: Word): void {
    switch (word._tag) {
      case "Ready": {
        if (this.state._tag !== "Starting") return
        this.tell(this.state.order)
        this.state = { _tag: "Running" }
        return
      }
      case "Holding":
        return Deferred.unsafeDone(this.holding, Effect.void)
      case "Held":
        this.batches.push(word.batch)
    }
  }

  private end(how: string): void {
    if (this.state._tag !== "Ending") {
      Deferred.unsafeDone(this.failed, new WorkerFailed({ problem: how }))
    }
    Deferred.unsafeDone(this.ended, Effect.succeed(how))
  }

  /** Whether it has arrived is seen in what the process does. */
  private tell(order: Order): void {
    if (this.child.connected) this.child.send(order, () => {})
  }

  get watch(): Effect.Effect<never, WorkerFailed> {
    return Deferred.await(this.failed)
  }

  /** Waits for something that it is to do, and for no longer than it lives. */
  private within<A>(effect: Effect.Effect<A>, problem: string): Effect.Effect<A, WorkerFailed> {
    return Effect.timeoutFail(Effect.raceFirst(effect, this.watch), {
      duration: patience,
      onTimeout: () => new WorkerFailed({ problem })
    })
  }

  readonly hold: Effect.Effect<void, WorkerFailed> = Effect.suspend(() => {
    if (this.state._tag === "Starting") {
      this.state = { _tag: "Starting", order: "hold" }
      return Effect.void
    }
    this.tell("hold")
    return this.within(Deferred.await(this.holding), "does not answer")
  })

  readonly held: Effect.Effect<ReadonlyArray<number>> = Effect.sync(() => [...this.batches])

  readonly kill: Effect.Effect<void> = Effect.suspend(() => {
    this.state = { _tag: "Ending" }
    // One that could not be started is no process.
    if (this.pid === undefined) return Effect.void
    this.child.kill("SIGKILL")
    return Effect.asVoid(Deferred.await(this.ended))
  })

  readonly stop: Effect.Effect<void, WorkerFailed> = Effect.suspend(() => {
    this.tell("stop")
    this.state = { _tag: "Ending" }
    return Effect.flatMap(
      this.within(Deferred.await(this.ended), "does not end"),
      (how) => how === endedWell ? Effect.void : new WorkerFailed({ problem: how })
    )
  })
}

/** Starts it. What it has to complain of goes to our stderr. When the scope closes, it is killed if it still runs. */
export const start = (
  program: string,
  args: ReadonlyArray<string>
): Effect.Effect<WorkerProcess, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync((): WorkerProcess =>
      new WorkerProcessImpl(fork(program, args, { stdio: ["ignore", "ignore", "inherit", "ipc"] }))
    ),
    ({ kill }) => kill
  )
