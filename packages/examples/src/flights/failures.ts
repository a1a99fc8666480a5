/**
 * Makes a flush fail now and then, so that retries are seen. The same seed gives the same failures: the first attempt
 * that a queue makes fails or not, the second, and so on.
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"

export class SinkFailure extends Data.TaggedError("SinkFailure")<{ readonly queue: string }> {}

/** One attempt in twenty. */
const likelihood = 0.05

export class Failures extends Context.Tag("flights/Failures")<Failures, {
  /** Fails now and then. */
  readonly strike: (queue: string) => Effect.Effect<void, SinkFailure>
}>() {}

export const layer = (seed: number): Layer.Layer<Failures> =>
  Layer.sync(Failures, () => {
    // A sequence for each queue: which of them comes first is a matter of timing, and no seed's.
    const sequences = new Map<string, Random.Random>()
    return {
      strike: (queue) =>
        Effect.suspend(() => {
          let sequence = sequences.get(queue)
          if (sequence === undefined) sequences.set(queue, sequence = Random.make(`${seed} ${queue}`))
          return Effect.flatMap(
            sequence.next,
            (drawn) => drawn < likelihood ? Effect.fail(new SinkFailure({ queue })) : Effect.void
          )
        })
    }
  })
