/**
 * The fiber that writes. It takes the waiting writes, runs them in one transaction, commits, and answers every caller.
 *
 * The states of a write: queued (its caller may still withdraw it) -> started, alone on the connection -> run, with an
 * exit that its caller does not know yet -> answered, once the transaction is committed. If the transaction fails as a
 * whole, a write that had not started goes into the next group. A write that had run is run again only if its caller
 * allows it, in a separate transaction, so that other writes cannot fail it a second time. A group that has run for
 * long enough, or that has to give way, commits the writes that have run; the rest goes into the next group.
 */
import { SafeIntegers } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import type { EventHub } from "@sluice/core/unstable/EventHub"
import { StoreUnavailable } from "@sluice/core/QueueError"
import {
  Bell,
  interruptNow,
  Lifecycle,
  observe,
  park,
  type Restore,
  runAs,
  Timekeeper
} from "@sluice/core/unstable/Fibers"
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { TransactionEnded, type TransactionError, TransactionFailed } from "../../TransactionError.ts"
import type { WriteChange, WriteOptions } from "../../Write.ts"
import { CoordinatorClosed, WriteDied, WriteTimeout } from "../../WriteError.ts"
import { Alarm } from "../writer/alarm.ts"
import { Intake, type Pending } from "./waitingWrites.ts"
import { SingleStatement } from "../writer/singleStatement.ts"
import { monotonicMillis } from "@sluice/core/unstable/Sleep"
import { linksTo } from "../writer/tracing.ts"
import type { Transaction } from "../writer/transaction.ts"
import type { OpenTransaction, Transactions } from "../writer/transactions.ts"
import { WriteMetrics } from "./metrics.ts"

export interface Options {
  readonly name: string
  /** Which of those of its name in this process it is. */
  readonly replica: number
  readonly capacity: number
  readonly batchSize: number
  readonly lingerMillis: number
  readonly writeTimeoutMillis: number
  readonly drainTimeoutMillis: number
  readonly topic: (name: string) => string | undefined
  /** Whether spans go anywhere. */
  readonly tracing: boolean
}

/**
 * For which part of `writeTimeout` a group begins further writes. The last one has all of it, so that a group as a whole
 * holds the writer hardly longer than one write may; a commit costs next to nothing against that part.
 */
const partForMore = 0.1

export class GroupWriter {
  readonly intake: Intake
  readonly options: Options
  /** Cuts off the write that is running. */
  readonly alarm: Alarm
  readonly metrics: WriteMetrics
  private readonly transactions: Transactions
  private readonly hub: EventHub<WriteChange>
  private readonly clock: Clock.Clock
  private readonly lifecycle = new Lifecycle()
  /** What is being written now, in order. */
  private group: ReadonlyArray<Pending> = []
  /** What was in a group that failed as a whole, and goes before everything that is queued. */
  private again: Array<Pending> = []
  private readonly counts = { offered: 0, refused: 0, cancelled: 0, succeeded: 0, failed: 0, batches: 0 }
  private submitted = 0
  private announced = 0
  /** Wakes the fiber where it waits for work, or for more of it. */
  private readonly bell = new Bell(() => !this.isIdle || !this.lifecycle.isOpen)
  private readonly enoughBell = new Bell(() => this.isWaitOver || this.hasEnough || !this.lifecycle.isOpen)
  /** Keeps the time until the first of a group has waited for others as long as it may. */
  readonly lingering: Timekeeper
  private waitsUntil = Infinity

  constructor(
    options: Options,
    transactions: Transactions,
    hub: EventHub<WriteChange>,
    clock: Clock.Clock
  ) {
    this.options = options
    this.intake = new Intake(options.capacity)
    this.alarm = new Alarm(clock, options.writeTimeoutMillis)
    this.metrics = new WriteMetrics(options.name, options.replica, clock, () => this.snapshot())
    this.lingering = new Timekeeper(clock, () => {
      if (this.isWaitOver) this.enoughBell.ring()
      // It was asked for by an earlier group, which had enough before. The present one may not be parked yet.
      else this.lingering.within(this.waitsUntil - this.now)
    })
    this.transactions = transactions
    this.hub = hub
    this.clock = clock
  }

  // --- numbers ------------------------------------------------------------------------------------------------------

  snapshot() {
    const { counts, intake } = this
    const inFlight = this.group.length + this.again.length
    return {
      name: this.options.name,
      ...counts,
      settled: counts.succeeded + counts.failed,
      held: intake.waiting + intake.size + inFlight,
      depth: intake.size,
      inFlight,
      waiting: intake.waiting,
      capacity: intake.capacity
    }
  }

  // --- submitters ---------------------------------------------------------------------------------------------------

  get state(): Lifecycle["state"] {
    return this.lifecycle.state
  }

  get isOpen(): boolean {
    return this.lifecycle.isOpen
  }

  /** Ends a write that came too late. */
  refuseNew(write: Pending): Exit.Exit<never, unknown> {
    this.counts.offered += 1
    this.counts.refused += 1
    this.metrics.changed()
    return this.refuse(write)
  }

  /** How a write ends that cannot run any more. */
  private refuse({ onError }: Pending): Exit.Exit<never, unknown> {
    return this.lifecycle.refuse(() => onError(new CoordinatorClosed({ queue: this.options.name })))
  }

  add(write: Pending): void {
    write.sequence = this.submitted++
    write.cancel = this.cancel
    write.since = this.transactions.waitedMillis
    this.intake.add(write)
    this.counts.offered += 1
    this.metrics.changed()
    this.bell.ring()
    if (this.hasEnough) this.enoughBell.ring()
  }

  /** Takes a write out that has not started; answers whether its submitter need not wait for its end. */
  private readonly cancel = (write: Pending): boolean => {
    if (write.started) return false
    write.started = true
    this.metrics.changed()
    if (this.intake.remove(write) === "outside") {
      this.counts.refused += 1
      return true
    }
    // It may have been taken into a group, which has not come to it yet.
    this.group = this.group.filter((other) => other !== write)
    this.again = this.again.filter((other) => other !== write)
    this.counts.cancelled += 1
    return true
  }

  private get now(): number {
    return monotonicMillis(this.clock)
  }

  /** Whether the first of a group has waited for others as long as it may. */
  private get isWaitOver(): boolean {
    return this.now >= this.waitsUntil
  }

  /** Whether more waiting is worth nothing. */
  private get hasEnough(): boolean {
    return this.intake.size >= Math.min(this.options.batchSize, this.options.capacity)
  }

  // --- the fiber ----------------------------------------------------------------------------------------------------

  /** Writes until it is closed. It can be interrupted wherever it only waits. */
  readonly run: Effect.Effect<void> = Effect.uninterruptibleMask((restore) =>
    Effect.gen(this, function*() {
      while (true) {
        yield* restore(this.bell.wait)
        if (this.isIdle) {
          if (this.lifecycle.isOpen) continue
          return
        }
        if (this.again.length === 0 && this.options.lingerMillis > 0) yield* restore(this.whenEnough)
        yield* this.writeGroup(restore)
      }
    })
  )

  /** Whether a group is in progress, or anything waits. */
  get hasWork(): boolean {
    return this.group.length > 0 || !this.isIdle
  }

  private get isIdle(): boolean {
    return this.intake.size === 0 && this.again.length === 0
  }

  private readonly whenEnough: Effect.Effect<void> = Effect.suspend(() => {
    this.waitsUntil = this.now + this.options.lingerMillis
    this.lingering.within(this.options.lingerMillis)
    return this.enoughBell.wait
  })

  private writeGroup(restore: Restore): Effect.Effect<void> {
    const newest = this.submitted - 1
    // Who has waited longest is told when its time is over. The others wait on, for as long as each may.
    const oldest = this.again[0] ?? this.intake.oldest
    return Effect.matchEffect(this.transactions.begin(restore, oldest?.since), {
      onFailure: (error) =>
        Effect.sync(() => {
          const isLocked = error instanceof StoreUnavailable && error.reason === "locked"
          const hasWaited = (write: Pending) =>
            isLocked ? this.transactions.isOver(write.since) : write.sequence <= newest
          const waited = [...this.again.filter(hasWaited), ...this.intake.takeWhile(hasWaited)]
          this.again = this.again.filter((write) => !hasWaited(write))
          for (const write of waited) this.finish(write, Exit.fail(write.onError(error)))
        }),
      // A bug of ours must not keep the lock.
      onSuccess: (open) => Effect.onError(this.writeIn(open), () => open.abandon)
    })
  }

  private writeIn(open: OpenTransaction): Effect.Effect<void> {
    return Effect.suspend(() => {
      const group = this.group = this.takeGroup()
      // The caller may have left during the wait for the lock.
      if (group.length === 0) return open.rollback
      this.metrics.changed()
      const beganAt = this.transactions.breaks.now
      const written = Effect.zipRight(this.runGroup(open.transaction), this.commit(open))
      return Effect.match(this.options.tracing ? this.inSpan(group, written) : written, {
        onFailure: (error) => this.ended(beganAt, error),
        onSuccess: () => this.ended(beganAt)
      })
    })
  }

  /** The span of a group, linked to those of its submitters. */
  private inSpan<A, E>(group: ReadonlyArray<Pending>, written: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.withSpan(written, "WriteCoordinator.group", {
      root: true,
      captureStackTrace: false,
      links: linksTo(group.map(({ context }) => context)),
      attributes: { "sluice.queue": this.options.name, "sluice.group.writes": group.length }
    })
  }

  /** Runs the writes of the group, one after another. No generator: this is where the time goes. */
  private runGroup(transaction: Transaction): Effect.Effect<void> {
    const { group } = this
    const { breaks } = this.transactions
    const until = breaks.now + this.options.writeTimeoutMillis * partForMore
    let index = 0
    return Effect.whileLoop({
      while: () => {
        // Those that were taken out in the meantime count as started.
        while (index < group.length && group[index].started) index += 1
        if (index === group.length || transaction.isOver || this.lifecycle.isClosed) return false
        // Each group gets on by one write at least.
        return index === 0 || !this.transactions.hasFirst && breaks.now < until
      },
      body: () => {
        const write = group[index]
        write.started = true
        const run = this.runWrite(transaction, write)
        return breaks.isDue ? Effect.zipRight(breaks.take, run) : run
      },
      step: (outcome) => {
        const write = group[index]
        write.outcome = outcome
        if (Exit.isSuccess(outcome)) transaction.unsafeAfterCommit(() => this.announce(write.options))
      }
    })
  }

  private commit({ commit, rollback, transaction }: OpenTransaction): Effect.Effect<void, TransactionError> {
    return Effect.suspend(() => {
      // Where all have failed there is nothing to commit; where the transaction has ended, committing fails.
      const some = this.group.some(({ outcome }) => outcome !== undefined && Exit.isSuccess(outcome))
      if (!transaction.isOver && !some) return rollback
      return Effect.catchAllCause(commit, (cause) => Effect.fail(this.reasonOf(cause)))
    })
  }

  /** The transaction of the group has ended: answers everybody. */
  private ended(beganAt: number, error?: TransactionError): void {
    const { group } = this
    this.group = []
    this.counts.batches += 1
    this.metrics.changed()
    this.metrics.groupDuration(this.transactions.breaks.now - beganAt)
    if (error === undefined) this.committed(group)
    else this.rolledBack(group, error)
  }

  private takeGroup(): Array<Pending> {
    if (this.again.length === 0) return this.intake.take(this.options.batchSize)
    const alone = this.again.findIndex((write) => write.alone)
    return this.again.splice(0, alone === 0 ? 1 : alone < 0 ? this.options.batchSize : alone)
  }

  /** The transaction has ended well, for all whose write has. */
  private committed(group: ReadonlyArray<Pending>): void {
    // Closing may have cut the group short, or its time was over: then the rest goes into the next one.
    const { isClosed } = this.lifecycle
    const told = group.filter(({ outcome }) => outcome !== undefined || isClosed)
    if (told.length < group.length) {
      this.again = [...group.filter(({ outcome }) => outcome === undefined && !isClosed), ...this.again]
    }
    this.finishAll(told, (write) => write.outcome ?? this.refuse(write))
  }

  /** The transaction has failed as a whole. Those that failed by themselves keep their own error. */
  private rolledBack(group: ReadonlyArray<Pending>, error: TransactionError): void {
    const told: Array<Pending> = []
    const again: Array<Pending> = []
    for (const write of group) {
      const { alone, onError, options, outcome } = write
      const hasRun = outcome !== undefined
      if (!hasRun || Exit.isSuccess(outcome) && (options.retryable ?? false) && !alone) {
        write.alone = alone || hasRun
        write.started = false
        write.outcome = undefined
        again.push(write)
      } else {
        write.outcome = Exit.isSuccess(outcome) ? Exit.fail(onError(error)) : outcome
        told.push(write)
      }
    }
    this.again = [...again, ...this.again]
    this.finishAll(told, (write) => write.outcome!)
  }

  /** A transaction that a full or broken disk has ended says so. */
  private reasonOf(cause: Cause.Cause<TransactionError>): TransactionError {
    const { dialect, store } = this.transactions.database
    const error = Option.getOrElse(
      Cause.failureOption(cause),
      () => new TransactionFailed({ store, step: "commit", cause: Cause.squash(cause) })
    )
    if (!(error instanceof TransactionEnded) || !(error.cause instanceof SqlError)) return error
    const reason = dialect.unavailable(error.cause)
    return reason === undefined ? error : new StoreUnavailable({ store, reason, cause: error.cause.cause })
  }

  private finish(write: Pending, exit: Exit.Exit<unknown, unknown>): void {
    this.count(write, exit)
    write.end(exit)
  }

  /** Ends writes that were in the queue and will not run. */
  private refuseAll(writes: ReadonlyArray<Pending>): void {
    for (const write of writes) {
      const exit = this.refuse(write)
      // The effects of a write that had begun are unknown.
      if (write.started) this.finish(write, exit)
      else {
        this.countRefused(write)
        write.end(exit)
      }
    }
  }

  /** Who is told may look at the counts: those of the group come first. Without an outcome a write has not run. */
  private finishAll(
    group: ReadonlyArray<Pending>,
    exitOf: (write: Pending) => Exit.Exit<unknown, unknown>
  ): void {
    const exits = group.map(exitOf)
    group.forEach((write, index) =>
      write.outcome === undefined ? this.countRefused(write) : this.count(write, exits[index])
    )
    group.forEach((write, index) => write.end(exits[index]))
  }

  private count(write: Pending, exit: Exit.Exit<unknown, unknown>): void {
    this.metrics.changed()
    write.started = true
    if (Exit.isSuccess(exit)) this.counts.succeeded += 1
    else this.counts.failed += 1
  }

  private countRefused(write: Pending): void {
    this.metrics.changed()
    write.started = true
    this.counts.refused += 1
  }

  // --- one write ----------------------------------------------------------------------------------------------------

  private runWrite(transaction: Transaction, write: Pending): Effect.Effect<Exit.Exit<unknown, unknown>> {
    return write.work instanceof SingleStatement && this.transactions.database.dialect.atomicStatements
      ? this.runStatement(transaction, write, write.work)
      : this.runInSavepoint(transaction, write)
  }

  private runStatement(
    transaction: Transaction,
    write: Pending,
    statement: SingleStatement<unknown, SqlError>
  ): Effect.Effect<Exit.Exit<unknown, unknown>> {
    const failed = (cause: Cause.Cause<unknown>) => withoutDefects(write, Exit.failCause(cause))
    try {
      const run = statement.run(transaction.raw)
      // The caller's word on integers counts, not that of who made the coordinator.
      const asked = Context.get(write.context as Context.Context<any>, SafeIntegers)
      return Effect.matchCauseEffect(asked ? Effect.provideService(run, SafeIntegers, true) : run, {
        onFailure: (cause) => Effect.as(transaction.afterFailure(Cause.squash(cause)), failed(cause)),
        onSuccess: (value) => Exit.succeed(Exit.succeed(value))
      })
    } catch (defect) {
      return Exit.succeed(failed(Cause.die(defect)))
    }
  }

  private runInSavepoint(transaction: Transaction, write: Pending): Effect.Effect<Exit.Exit<unknown, unknown>> {
    const failed = (error: TransactionError) => Exit.fail(write.onError(error))
    return Effect.matchEffect(transaction.enter((effect) => effect), {
      onFailure: (error) => Exit.succeed(failed(error)),
      onSuccess: (child) =>
        Effect.flatMap(
          this.runForked(child, write),
          (exit) =>
            Effect.match(transaction.leave(child, Exit.isSuccess(exit)), {
              onFailure: (error) => Exit.isSuccess(exit) ? failed(error) : withoutDefects(write, exit),
              onSuccess: () => withoutDefects(write, exit)
            })
        )
    })
  }

  /** Runs a write as its submitter would have, in a fiber that can be left alone when its time is over. */
  private runForked(child: Transaction, write: Pending): Effect.Effect<Exit.Exit<unknown, unknown>> {
    return park<Exit.Exit<unknown, unknown>>((resume) => {
      const { context, onError, options, refs, work } = write
      const effect = work instanceof SingleStatement ? Effect.suspend(() => work.run(child.connection)) : work
      const fiber = runAs(effect, this.transactions.enclose(context, child), refs)
      const deadline = this.alarm.start((timeoutMillis) => {
        // Not waited for: it may be uninterruptible, and its connection is of no use to it any more.
        child.unsafeEnd("timeout")
        interruptNow(fiber)
        const error = new WriteTimeout({ queue: this.options.name, write: options.name, timeoutMillis })
        resume(Exit.succeed(Exit.fail(onError(error))))
      })
      observe(fiber, (exit) => {
        this.alarm.stop(deadline)
        resume(Exit.succeed(exit))
      })
    })
  }

  // --- announcing ---------------------------------------------------------------------------------------------------

  /** Tells of a write that is committed. May throw what the user's own functions throw. */
  announce({ name, payload, reactivityKeys }: WriteOptions): void {
    const topic = this.options.topic(name)
    if (topic !== undefined) {
      this.announced += 1
      if (this.hub.active) this.hub.emit({ topic, name, payload, sequence: this.announced })
    }
    if (reactivityKeys !== undefined) this.transactions.unsafeInvalidate(reactivityKeys)
  }

  // --- the end ------------------------------------------------------------------------------------------------------

  /** Takes nothing more in. What is queued is run first, or refused at once. */
  unsafeClose(options: { readonly drain: boolean }): void {
    if (!this.lifecycle.beginToClose()) return
    if (!options.drain) this.refuseQueued()
    this.bell.ring()
    this.enoughBell.ring()
  }

  /** Closing has taken too long: the write that is running is cut off, and no other begins. */
  unsafeCutShort(): void {
    if (this.lifecycle.isClosing) this.lifecycle.close()
    this.alarm.ringNow(this.options.drainTimeoutMillis)
  }

  /** The fibers have ended: writes that are still here will not run. */
  unsafeEnd(): void {
    this.lifecycle.close()
    this.refuseQueued()
    this.refuseAll([...this.group, ...this.again])
    this.group = []
    this.again = []
  }

  /** Of what the coordinator has died, if it has. */
  readonly failure: Effect.Effect<void> = this.lifecycle.failure

  /** A fiber of ours has died. */
  fail(cause: Cause.Cause<never>): Effect.Effect<void> {
    return this.lifecycle.fail(cause, `${this.options.name}: a fiber of the coordinator died`, () => {
      this.unsafeEnd()
      return Effect.void
    })
  }

  private refuseQueued(): void {
    this.refuseAll(this.intake.takeWhile(() => true))
  }
}

/** A write that died, or interrupted itself, has failed. */
export const withoutDefects = (
  { onError, options }: Pending,
  exit: Exit.Exit<unknown, unknown>
): Exit.Exit<unknown, unknown> =>
  Exit.isSuccess(exit) || Option.isSome(Cause.failureOption(exit.cause))
    ? exit
    : Exit.fail(onError(new WriteDied({ write: options.name, cause: exit.cause as Cause.Cause<never> })))
