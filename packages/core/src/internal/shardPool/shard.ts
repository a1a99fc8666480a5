/**
 * One shard of a pool: the commands that wait there, and the workers that run them, one fiber each.
 *
 * A command runs in the fiber of its worker, which costs nothing. So interrupting a command interrupts that fiber, and
 * the worker continues on a new one.
 */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { PolicyQueueImpl } from "../intake/policyQueue.ts"
import { type Breaks, Pace } from "../fibers/breaks.ts"
import { type Fork, leavingChildren } from "../fibers/forking.ts"
import type { Lanes, Owner, Submission } from "./lanes.ts"
import { askVersion, type CurrentVersion, doubtVersion, isConflictOf, nextVersion } from "./versions.ts"
import type { OnInterrupt } from "../fibers/call.ts"
import { interruptNow, observe, type Running } from "../fibers/fiber.ts"
import { park } from "../fibers/parking.ts"

/** Told of what happens to commands, in the step in which it happens. */
export interface ShardObserver<in out C> {
  readonly dispatched: (submission: Submission<C>, version: number) => void
  readonly succeeded: (submission: Submission<C>, version: number) => void
  readonly rejected: (submission: Submission<C>, error: unknown) => void
  readonly failed: (submission: Submission<C>, cause: Cause.Cause<unknown>) => void
  readonly cancelled: (submission: Submission<C>) => void
  /** A command is run once more, because its version was taken. */
  readonly conflicted: () => void
}

export interface ShardOptions<in out C> {
  readonly index: number
  readonly workers: number
  readonly execute: (submission: Submission<C>, version: number) => Effect.Effect<unknown, unknown>
  readonly currentVersion: CurrentVersion | undefined
  readonly isRejection: (error: unknown) => boolean
  readonly fork: Fork<never>
  readonly breaks: Breaks
  readonly observer: ShardObserver<C>
  /** Everything has run that was there. */
  readonly onIdle: () => void
  /** A fiber of ours has died of something that is no fault of the user's code. */
  readonly onBroken: (cause: Cause.Cause<never>) => void
}

export class Shard<in out C> implements Owner<C> {
  readonly index: number
  readonly options: ShardOptions<C>
  readonly lanes: Lanes<C>
  readonly intake: PolicyQueueImpl<Submission<C>, C>
  /** Whether it is waited for that everything has run. */
  isDraining = false
  isStopping = false
  private readonly workers: ReadonlyArray<Worker<C>>
  private readonly parked: Array<() => void> = []

  constructor(options: ShardOptions<C>, lanes: Lanes<C>, intake: PolicyQueueImpl<Submission<C>, C>) {
    this.options = options
    this.index = options.index
    this.lanes = lanes
    this.intake = intake
    this.workers = Array.from({ length: options.workers }, () => new Worker(this))
  }

  start(): void {
    for (const worker of this.workers) worker.start()
  }

  /** What is running now. */
  get running(): ReadonlyArray<Submission<C>> {
    return this.workers.flatMap(({ current }) => current === undefined ? [] : [current])
  }

  get isIdle(): boolean {
    return this.intake.unsafeLength() === 0 && this.workers.every(({ current }) => current === undefined)
  }

  /** There is a command that may run now. */
  wake(): void {
    this.parked.pop()?.()
  }

  readonly park: Effect.Effect<void> = park<void>((resume) => {
    // Looking and parking are one step, so that no command is missed in between.
    if (this.lanes.hasReady || this.isStopping) resume(Effect.void)
    else this.parked.push(() => resume(Effect.void))
  })

  /** Its caller was interrupted while it waited or ran. */
  interrupted(submission: Submission<C>): OnInterrupt {
    if (submission.isWaiting) {
      this.lanes.remove(submission)
      this.options.observer.cancelled(submission)
      this.intake.unsafeAdmit()
      this.lookIdle()
      return "leave"
    }
    if (submission.isDetached) {
      submission.isAwaited = false
      return "leave"
    }
    this.workers.find(({ current }) => current === submission)?.interrupt()
    return "wait"
  }

  /** To be called when something has left, or the draining has begun. */
  lookIdle(): void {
    if (this.isDraining && this.isIdle) this.options.onIdle()
  }

  /** Ends the workers; one that runs a command ends after it. */
  unsafeStop(): void {
    this.isStopping = true
    for (const wake of this.parked.splice(0)) wake()
  }

  /** Ends the workers at once, and answers what they ran: it is interrupted, and not waited for. */
  unsafeAbort(): ReadonlyArray<Submission<C>> {
    const { running } = this
    this.unsafeStop()
    for (const worker of this.workers) worker.abandon()
    return running
  }
}

/** The number of commands between looks at the clock. */
const mostCommandsBetweenLooks = 32

class Worker<in out C> {
  /** What it runs. */
  current: Submission<C> | undefined
  private readonly shard: Shard<C>
  private fiber: Running<void> | undefined
  /** Whether its fiber has been interrupted, and will be followed by another. */
  private isInterrupted = false
  private readonly pace: Pace

  constructor(shard: Shard<C>) {
    this.shard = shard
    this.pace = new Pace(shard.options.breaks, mostCommandsBetweenLooks)
  }

  start(): void {
    this.isInterrupted = false
    const loop = Effect.whileLoop({
      while: () => !this.isInterrupted && !(this.shard.isStopping && !this.shard.lanes.hasReady),
      body: () => this.next() ?? this.shard.park,
      step: () => {}
    })
    // Not at once: fibers that follow one another would pile up on the stack.
    // And what a command forks is not ours: it would end with the fiber, when another command is interrupted.
    this.fiber = this.shard.options.fork(leavingChildren(Effect.zipRight(Effect.yieldNow(), loop)))
    observe(this.fiber, (exit) => this.ended(exit))
  }

  interrupt(): void {
    this.isInterrupted = true
    if (this.fiber !== undefined) interruptNow(this.fiber)
  }

  abandon(): void {
    this.current = undefined
    this.interrupt()
  }

  /** Goes on with the next command; there is nothing where none may run now. */
  private next(): Effect.Effect<void> | undefined {
    if (this.pace.step()) return this.shard.options.breaks.take
    const submission = this.shard.intake.unsafeTake()
    if (submission === undefined) return undefined
    this.current = submission
    return this.attempt(submission)
  }

  // No generator: this is where the time goes.
  private attempt(submission: Submission<C>): Effect.Effect<void> {
    const { version } = submission.lane!
    const run = version === undefined
      ? Effect.flatMap(askVersion(this.shard.options.currentVersion!, submission.key), (version) => {
        submission.lane!.version = version
        return this.execute(submission, nextVersion(version))
      })
      : this.execute(submission, nextVersion(version))
    return Effect.matchCauseEffect(run, this.ending)
  }

  private execute(submission: Submission<C>, version: number): Effect.Effect<unknown, unknown> {
    const { execute, observer } = this.shard.options
    observer.dispatched(submission, version)
    try {
      return execute(submission, version)
    } catch (defect) {
      return Effect.die(defect)
    }
  }

  private readonly ending = {
    onSuccess: (value: unknown): Effect.Effect<void> => {
      const submission = this.leave()
      if (submission === undefined) return Effect.void
      const lane = submission.lane!
      lane.version = nextVersion(lane.version!)
      this.shard.options.observer.succeeded(submission, lane.version!)
      this.settle(submission, Exit.succeed(value))
      return this.onwards()
    },
    onFailure: (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
      const { currentVersion } = this.shard.options
      const submission = this.current
      if (submission === undefined) return Effect.void
      const all = errorsOf(cause)
      const isConflict = all.length > 0 && all.every((error) => isConflictOf(submission.id, error))
      if (isConflict && currentVersion !== undefined && !submission.isRerun) {
        submission.isRerun = true
        this.shard.options.observer.conflicted()
        this.doubt(submission)
        return this.attempt(submission)
      }
      // Where its version could not be found out, it has not run.
      const errors = submission.lane!.version === undefined ? [] : all
      const isRejected = errors.length > 0 && errors.every((error) => this.isRejection(error))
      this.leave()
      if (isRejected) {
        if (isConflict) this.doubt(submission)
        this.shard.options.observer.rejected(submission, errors[0])
        this.settle(submission, Exit.failCause(cause))
      } else this.fail(submission, cause)
      return this.onwards()
    }
  }

  private isRejection(error: unknown): boolean {
    try {
      return this.shard.options.isRejection(error)
    } catch {
      return false
    }
  }

  /** The outcome of a command is unknown. */
  private fail(submission: Submission<C>, cause: Cause.Cause<unknown>): void {
    this.doubt(submission)
    this.shard.options.observer.failed(submission, cause)
    this.settle(submission, Exit.failCause(cause))
  }

  private doubt(submission: Submission<C>): void {
    doubtVersion(submission.lane!, this.shard.options.currentVersion)
  }

  /** What it ran has ended; there is nothing where it was given up before. */
  private leave(): Submission<C> | undefined {
    const submission = this.current
    this.current = undefined
    return submission
  }

  private settle(submission: Submission<C>, exit: Exit.Exit<unknown, unknown>): void {
    const { shard } = this
    submission.end(exit)
    shard.lanes.release(submission.lane!)
    shard.lookIdle()
  }

  /** Goes on at once, which saves a turn through the loop; where nothing is to be run, the loop parks. */
  private onwards(): Effect.Effect<void> {
    return this.isInterrupted ? Effect.void : this.next() ?? Effect.void
  }

  /** Its fiber has ended: with the command that was interrupted, or because there is nothing more to come. */
  private ended(exit: Exit.Exit<void>): void {
    const { isStopping, options } = this.shard
    const submission = this.current
    if (submission !== undefined) {
      this.current = undefined
      this.fail(submission, Exit.isFailure(exit) ? exit.cause : Cause.empty)
    } else if (Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)) {
      return options.onBroken(exit.cause)
    }
    if (!isStopping) this.start()
  }
}

/** The errors of a command, where there is nothing beside them that leaves its outcome unknown. */
const errorsOf = (cause: Cause.Cause<unknown>): ReadonlyArray<unknown> =>
  // Where several effects ran at once, the error of one has interrupted the others.
  Chunk.isNonEmpty(Cause.defects(cause)) ? [] : Chunk.toReadonlyArray(Cause.failures(cause))
