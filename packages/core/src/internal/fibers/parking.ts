/**
 * Waits for what others do: a fiber parks, and is resumed once.
 */
import * as Effect from "effect/Effect"

/**
 * Parks the fiber. `begin` is called in the step in which it parks, with what resumes it; it may answer what is to be done
 * where the fiber is interrupted meanwhile.
 *
 * Resuming may run the fiber at once, on the stack of who resumes it, or later. So do what comes after in a step of its
 * own, and leave nothing half done when you resume: see decision 12.
 */
export const park: <A, E = never>(
  begin: (resume: (ending: Effect.Effect<A, E>) => void) => void | Effect.Effect<void>
) => Effect.Effect<A, E> = Effect.async
