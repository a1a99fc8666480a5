/**
 * Waiting for other fibers: a fiber parks, and is resumed once.
 */
import * as Effect from "effect/Effect"

/**
 * Parks the fiber. `begin` is called in the step in which the fiber parks, with the function that resumes it. It may
 * return an effect to run if the fiber is interrupted meanwhile.
 *
 * The resumed fiber runs after the current step of the caller of `resume`, never on its stack. `KeyedBatch` depends on
 * that: see decision 12.
 */
export const park: <A, E = never>(
  begin: (resume: (ending: Effect.Effect<A, E>) => void) => void | Effect.Effect<void>
) => Effect.Effect<A, E> = Effect.async
