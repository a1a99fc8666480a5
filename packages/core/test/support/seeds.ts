import * as SeededRun from "@sluice/core/testing/SeededRun"
import { Cause, type Effect, Exit, Logger, LogLevel } from "effect"

/** How many runs there are in one turn of the event loop: the test runner wants to hear from us now and then. */
const atOnce = 10

/** Runs a program under many seeds, quietly, with turns for others in between. */
export const forSeeds = async <A, E>(
  program: (seed: number) => Effect.Effect<A, E>,
  { runs, ...options }: Omit<SeededRun.SeedsOptions, "seed"> & { readonly runs: number },
  check: (run: SeededRun.Run<A, E>) => void
): Promise<void> => {
  for (let seed = 1; seed <= runs; seed += atOnce) {
    SeededRun.forSeeds(
      (seed) => Logger.withMinimumLogLevel(program(seed), LogLevel.Fatal),
      { ...options, seed, runs: Math.min(atOnce, runs - seed + 1) },
      check
    )
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** What a run has come to. */
export const valueOf = <A, E>({ exit }: SeededRun.Run<A, E>): A => {
  if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
  return exit.value
}
