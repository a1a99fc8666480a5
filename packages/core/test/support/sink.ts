import { Batch, type WriteBehind } from "@sluice/core"
import { Effect } from "effect"

/** A sink that remembers what it was given, and fails, dies or waits as it is told. */
export class Sink<A> {
  readonly attempts: Array<Batch.Batch<A>> = []
  /** What the next flushes do, in order. */
  readonly script: Array<(batch: Batch.Batch<A>) => Effect.Effect<void, unknown>> = []
  /** What every other flush does. */
  whenever: (batch: Batch.Batch<A>) => Effect.Effect<void, unknown> = () => Effect.void

  readonly flush = (batch: Batch.Batch<A>): Effect.Effect<void, unknown> =>
    Effect.suspend(() => {
      this.attempts.push(batch)
      return (this.script.shift() ?? this.whenever)(batch)
    })

  get items(): ReadonlyArray<ReadonlyArray<A>> {
    return this.attempts.map((batch) => batch.items)
  }

  get triggers(): ReadonlyArray<Batch.Trigger> {
    return this.attempts.map((batch) => batch.trigger)
  }
}

export const failing = (error: unknown) => () => Effect.fail(error)
export const failingSome = (indexes: ReadonlyArray<number>, error: unknown) => () => Batch.failSome(indexes, error)

/** offered = refused + coalesced + dropped + settled + held. */
export const accounted = (metrics: WriteBehind.Metrics): number =>
  metrics.refused + metrics.coalesced + metrics.dropped + metrics.settled + metrics.held
