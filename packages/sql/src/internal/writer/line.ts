/**
 * The line for a connection: one caller at a time has its turn, and may then find that another connection, usually of
 * another process, has locked the database.
 *
 * Only the caller with the turn polls for that lock, for all callers in the line. The time spent waiting for it is
 * counted in one place: a caller is refused once this time has reached `busyTimeout` since its arrival. Time in which
 * this process itself uses the database does not count.
 */
import type { SqlError } from "@effect/sql/SqlError"
import { StoreUnavailable } from "@sluice/core/QueueError"
import * as Retry from "@sluice/core/Retry"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Dialect } from "../../Dialect.ts"
import type { Breaks, Restore } from "@sluice/core/unstable/Fibers"
import { Lock } from "./lock.ts"
import { Turn, type Turns } from "./turns.ts"

/** Whose locks are waited for, and how long. */
export interface Bound {
  /** The path of the file, or where the server is: for errors. */
  readonly store: string
  readonly dialect: Dialect
  /** How long somebody else's lock is waited for. */
  readonly busyTimeoutMillis: number
}

/** How often a lock of somebody else is looked at: each time costs a statement. */
const whileBusy = Retry.exponential({ base: "2 millis", cap: "40 millis", jitter: 0.5 })

export class Line implements Turns {
  private readonly bound: Bound
  private readonly breaks: Breaks
  private readonly lock = new Lock<Turn>()
  /** The total time spent waiting for locks of others, until the current wait began. */
  private waited = 0
  private wait: { readonly by: Turn; readonly from: number } | undefined
  /** What said last that there is a lock. */
  private lastBusy: SqlError | undefined

  constructor(bound: Bound, breaks: Breaks) {
    this.bound = bound
    this.breaks = breaks
  }

  /** The total time spent waiting for locks of others, in milliseconds. */
  get waitedMillis(): number {
    return this.wait === undefined ? this.waited : this.waited + this.breaks.now - this.wait.from
  }

  /** Whether those who came at this point have waited as long as there is a bound. */
  isOver(since: number): boolean {
    return this.waitedMillis - since >= this.bound.busyTimeoutMillis
  }

  /** Whether somebody waits who goes before the others. */
  get hasFirst(): boolean {
    return this.lock.hasFirst
  }

  turn(first?: boolean): Turn {
    return new Turn(this.waitedMillis, first)
  }

  // --- taking turns -------------------------------------------------------------------------------------------------

  /** Waits for the turn. To be called where interruption is off, run at once, and followed by `release`. */
  take(turn: Turn, restore: Restore): Effect.Effect<void, StoreUnavailable> {
    if (this.lock.tryTake()) {
      turn.state = "granted"
      return Effect.void
    }
    return Effect.flatMap(this.lock.waitAs(turn, restore), (taken) => taken ? Effect.void : Effect.fail(this.locked()))
  }

  /** Ends the turn, if it is. */
  release(turn: Turn): void {
    if (!turn.isHeld) return
    turn.state = "outside"
    this.lock.release()
  }

  /** Runs something in a turn. */
  with<A, E, R>(turn: Turn, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | StoreUnavailable, R> {
    return Effect.uninterruptibleMask((restore) => {
      const held = Effect.matchCauseEffect(restore(effect), {
        onFailure: (cause) => {
          this.release(turn)
          return Effect.failCause(cause)
        },
        onSuccess: (value) => {
          this.release(turn)
          return Effect.succeed(value)
        }
      })
      return Effect.zipRight(this.take(turn, restore), held)
    })
  }

  // --- locks of somebody else ---------------------------------------------------------------------------------------

  /**
   * Runs something in a turn, again and again while somebody else has a lock, up to the bound, which began when the turn
   * was waited for. Between two attempts it lets those before it who go first: nothing may be open on the connection
   * then, and where this ends without the turn, it is somebody else's.
   */
  begin<X>(turn: Turn, run: Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError | StoreUnavailable> {
    const attempt = Effect.suspend(() =>
      this.lock.hasFirst && !turn.first ? Effect.zipRight(this.letFirstsBefore(turn), run) : run
    )
    return this.whileBusy(turn, run, attempt)
  }

  /** The same for what is done later in a turn: from some point on, or with the whole bound for itself. */
  goOn<X>(run: Effect.Effect<X, SqlError>, since?: number): Effect.Effect<X, SqlError | StoreUnavailable> {
    return Effect.suspend(() => this.whileBusy(new Turn(since ?? this.waitedMillis), run, run))
  }

  /** Runs what needs no turn. Where somebody else has a lock, it waits in line until that is gone. */
  withoutTurn<X>(run: Effect.Effect<X, SqlError>): Effect.Effect<X, SqlError | StoreUnavailable> {
    const inLine = Effect.suspend(() => {
      const turn = this.turn()
      return this.with(turn, this.begin(turn, run))
    })
    return Effect.suspend(() =>
      this.wait !== undefined
        ? inLine
        : Effect.catchAll(run, (error) => this.bound.dialect.isBusy(error) ? inLine : Effect.fail(error))
    )
  }

  private whileBusy<X, E>(
    turn: Turn,
    run: Effect.Effect<X, SqlError>,
    attempt: Effect.Effect<X, SqlError | E>
  ): Effect.Effect<X, SqlError | E | StoreUnavailable> {
    return Effect.catchAll(run, (error) => {
      if (!this.isBusy(error)) return Effect.fail(error)
      this.found(turn, error)
      const again = Effect.tapError(attempt, (error) =>
        Effect.sync(() => {
          if (this.isBusy(error)) this.found(turn, error)
        }))
      const schedule = Schedule.modifyDelay(whileBusy, (_, delay) => this.untilNext(turn, Duration.toMillis(delay)))
      const untilOver = again.pipe(
        Effect.retry({ schedule, while: (error) => this.isBusy(error) && !this.isOver(turn.since) }),
        Effect.delay(1)
      )
      return (this.isOver(turn.since) ? Effect.fail(error) : untilOver).pipe(
        Effect.mapError((error) => this.isBusy(error) ? this.locked() : error),
        Effect.ensuring(Effect.sync(() => this.gone(turn)))
      )
    })
  }

  private isBusy(error: unknown): error is SqlError {
    return !(error instanceof StoreUnavailable) && this.bound.dialect.isBusy(error as SqlError)
  }

  /** Somebody else has a lock: so everybody in line waits for that. */
  private found(by: Turn, error: SqlError): void {
    this.lastBusy = error
    if (this.wait?.by !== by) {
      this.waited = this.waitedMillis
      this.wait = { by, from: this.breaks.now }
    }
    const over = this.waitedMillis - this.bound.busyTimeoutMillis
    for (const waiter of this.lock.waiting) {
      if (waiter.since <= over) this.lock.turnAway(waiter)
    }
  }

  /** The caller that polled for it no longer does. */
  private gone(by: Turn): void {
    if (this.wait?.by !== by) return
    this.waited = this.waitedMillis
    this.wait = undefined
  }

  /** When to look again: also when somebody's time is over, so that it is told then. */
  private untilNext(turn: Turn, delayMillis: number): number {
    const oldest = this.lock.waiting.reduce((oldest, { since }) => Math.min(oldest, since), turn.since)
    const left = oldest + this.bound.busyTimeoutMillis - this.waitedMillis
    return Math.min(delayMillis, Math.max(1, Math.ceil(left)))
  }

  private letFirstsBefore(turn: Turn): Effect.Effect<void, StoreUnavailable> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        this.gone(turn)
        return Effect.flatMap(
          this.lock.letFirstsBefore(turn, restore),
          (taken) => taken ? Effect.void : Effect.fail(this.locked())
        )
      })
    )
  }

  private locked(): StoreUnavailable {
    return new StoreUnavailable({ store: this.bound.store, reason: "locked", cause: this.lastBusy?.cause })
  }
}
