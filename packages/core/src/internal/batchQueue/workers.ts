/**
 * The way out: the workers of a queue, what wakes them, and how they end.
 */
import * as Effect from "effect/Effect"
import { withAlarm } from "../fibers/alarm.ts"
import { Heartbeat } from "./heartbeat.ts"
import { Timekeeper } from "../fibers/timekeeper.ts"
import { monotonicMillis } from "../../unstable/Sleep.ts"
import { Turns } from "./turns.ts"
import type { Options, Pool } from "./pool.ts"
import { Worker } from "./worker.ts"
import { park } from "../fibers/parking.ts"

/** What the workers are at, all together. Changed by `become` alone. */
type Phase =
  | { readonly _tag: "Claiming" }
  | { readonly _tag: "Paused" }
  /** No more is claimed. What is being handled goes on. */
  | { readonly _tag: "Stopping" }
  /** Handlers have been interrupted, because the time to end was over. */
  | { readonly _tag: "Interrupting" }
  /** No worker waits for the store any more. */
  | { readonly _tag: "Over"; readonly wasInterrupted: boolean }

export class Workers<in out A> implements Pool<A> {
  readonly options: Options<A>
  readonly heartbeat: Heartbeat
  readonly turns: Turns
  /** Keeps the time until it is looked for batches again. */
  readonly polling: Timekeeper
  /** Changes whenever there may be something to claim that was not there before. */
  version = 0
  private phase: Phase = { _tag: "Claiming" }
  private readonly workers: ReadonlyArray<Worker<A>>
  private idle: Array<() => void> = []
  private readonly pauses = new Set<() => void>()

  constructor(options: Options<A>) {
    this.options = options
    const now = () => monotonicMillis(options.clock)
    this.turns = new Turns(now, options.inlineDelayMillis)
    this.heartbeat = new Heartbeat(
      options.store,
      options.leaseMillis,
      now,
      (operation, cause) => options.observer.failed(operation, cause)
    )
    this.polling = new Timekeeper(options.clock, () => this.wake(1))
    options.backlog.onClaimable((batches) => this.wake(batches))
    this.workers = Array.from({ length: options.workers }, (_, index) => new Worker(this, index))
  }

  /** What is to be run, each in a fiber of its own. */
  get loops(): ReadonlyArray<Effect.Effect<void>> {
    return this.workers.map(({ supervised }) => supervised)
  }

  /** How many items are in the hands of workers. */
  get inFlight(): number {
    return this.workers.reduce((sum, worker) => sum + worker.inFlight, 0)
  }

  get mayClaim(): boolean {
    return this.phase._tag === "Claiming"
  }

  get isPaused(): boolean {
    return this.phase._tag === "Paused"
  }

  get isStopping(): boolean {
    return !this.mayClaim && !this.isPaused
  }

  get isInterrupting(): boolean {
    return this.phase._tag === "Interrupting" || this.phase._tag === "Over" && this.phase.wasInterrupted
  }

  get isOver(): boolean {
    return this.phase._tag === "Over"
  }

  private become(phase: Phase): void {
    this.phase = phase
  }

  // --- waiting ------------------------------------------------------------------------------------------------------

  /** There may be this many more batches to claim. */
  wake(batches: number): void {
    this.version += 1
    for (let i = 0; i < batches && this.idle.length > 0; i++) this.idle.pop()!()
  }

  /** Waits until there may be something to claim that was not there at this version. */
  park(version: number): Effect.Effect<void> {
    return park((resume) => {
      // Looking and parking are one step, so that no batch is missed in between.
      if (this.version !== version || this.isStopping) return resume(Effect.void)
      this.idle.push(() => resume(Effect.void))
    })
  }

  /** Others append, and their leases run out, without a word. */
  lookAgainAt(atMillis: number | undefined): void {
    const { clock, pollMillis } = this.options
    const untilThen = atMillis === undefined ? Infinity : atMillis - clock.unsafeCurrentTimeMillis()
    this.polling.within(Math.max(0, Math.min(pollMillis, untilThen)))
  }

  /** Waits, unless the queue is closing. */
  pause(millis: number): Effect.Effect<void> {
    return this.sleep(millis, () => this.isStopping)
  }

  /** Waits for a store that has failed, unless waiting has ended. */
  pauseForStore(millis: number): Effect.Effect<void> {
    return this.sleep(millis, () => this.isOver)
  }

  private sleep(millis: number, isOff: () => boolean): Effect.Effect<void> {
    return Effect.suspend(() => {
      // Looking and noting down are one step, so that no end is missed in between.
      if (isOff()) return Effect.void
      const over = Effect.unsafeMakeLatch()
      const end = () => over.unsafeOpen()
      this.pauses.add(end)
      return Effect.ensuring(withAlarm(over.await, millis, end), Effect.sync(() => this.pauses.delete(end)))
    })
  }

  // --- from outside -------------------------------------------------------------------------------------------------

  unsafePause(): void {
    if (this.mayClaim) this.become({ _tag: "Paused" })
  }

  unsafeResume(): void {
    if (this.isPaused) this.become({ _tag: "Claiming" })
    this.wake(Infinity)
  }

  /** Stops claiming and ends all waits. Running handlers continue. */
  unsafeStop(): void {
    if (!this.isStopping) this.become({ _tag: "Stopping" })
    this.wake(Infinity)
    for (const end of Array.from(this.pauses)) end()
  }

  /** Interrupts what is being handled; it is put back. */
  unsafeInterrupt(): void {
    this.become({ _tag: "Interrupting" })
    this.unsafeInterruptAllBut(undefined)
  }

  /** Interrupts what the workers are at, but for the one with this index. */
  unsafeInterruptAllBut(index: number | undefined): void {
    for (const [at, worker] of this.workers.entries()) if (at !== index) worker.interrupt()
  }

  /** Nobody waits for the store any more. */
  unsafeGiveUp(): void {
    this.become({ _tag: "Over", wasInterrupted: this.isInterrupting })
    for (const end of Array.from(this.pauses)) end()
  }
}
