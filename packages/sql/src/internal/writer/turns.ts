/**
 * How callers come to use a connection. In SQLite they stand in a line for the one connection that writes (`Line`). On a
 * server each has a connection of its own, and nobody waits here: the server keeps apart what they do.
 */
import type { SqlError } from "@effect/sql/SqlError"
import type { StoreUnavailable } from "@sluice/core/QueueError"
import type { Restore } from "@sluice/core/unstable/Fibers"
import * as Effect from "effect/Effect"
import { Waiter } from "./lock.ts"

/** The turn of somebody, from the moment when it begins to wait for it. */
export class Turn extends Waiter {
  /** The total time spent waiting for others at that point. */
  readonly since: number

  constructor(since: number, first = false) {
    super(first)
    this.since = since
  }

  /** Whether it has the lock. */
  get isHeld(): boolean {
    return this.state === "granted"
  }
}

export interface Turns {
  /** The total time spent waiting for locks of others, in milliseconds. */
  readonly waitedMillis: number
  /** Whether those who came at this point have waited as long as there is a bound. */
  readonly isOver: (since: number) => boolean
  /** Whether somebody waits who goes before the others. */
  readonly hasFirst: boolean
  readonly turn: (first?: boolean) => Turn
  /** Waits for the turn. To be called where interruption is off, run at once, and followed by `release`. */
  readonly take: (turn: Turn, restore: Restore) => Effect.Effect<void, StoreUnavailable>
  /** Ends the turn, if it is. */
  readonly release: (turn: Turn) => void
  /** Runs something in a turn. */
  readonly with: <A, E, R>(turn: Turn, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | StoreUnavailable, R>
  /** Runs something in a turn, again and again while somebody else has a lock, up to the bound. */
  readonly begin: <X>(turn: Turn, run: Effect.Effect<X, SqlError>) => Effect.Effect<X, SqlError | StoreUnavailable>
  /** The same for what is done later in a turn: from some point on, or with the whole bound for itself. */
  readonly goOn: <X>(run: Effect.Effect<X, SqlError>, since?: number) => Effect.Effect<X, SqlError | StoreUnavailable>
  /** Runs what needs no turn. Where somebody else has a lock, it waits until that is gone. */
  readonly withoutTurn: <X>(run: Effect.Effect<X, SqlError>) => Effect.Effect<X, SqlError | StoreUnavailable>
}

/** Everybody has a turn at once. */
export const sideBySide: Turns = {
  waitedMillis: 0,
  isOver: () => true,
  hasFirst: false,
  turn: (first) => new Turn(0, first),
  take: (turn) =>
    Effect.sync(() => {
      turn.state = "granted"
    }),
  release: (turn) => {
    turn.state = "outside"
  },
  with: (_, effect) => effect,
  begin: (_, run) => run,
  goOn: (run) => run,
  withoutTurn: (run) => run
}
