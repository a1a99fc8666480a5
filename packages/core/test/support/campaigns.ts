/**
 * Campaigns: tests that run one program under many seeds.
 *
 * How many, is decided here alone. `SLUICE_CAMPAIGN` is the part of the full number: all of them where it is 1, as in CI
 * and with `npm run test:soak`, and a tenth where nothing is said.
 */
import * as SeededRun from "@sluice/core/testing/SeededRun"
import { Cause, type Effect, Exit, Logger, LogLevel } from "effect"

const part = Number(process.env["SLUICE_CAMPAIGN"] ?? (process.env["CI"] === undefined ? 0.1 : 1))
if (!(part > 0 && part < Infinity)) throw new Error(`SLUICE_CAMPAIGN is ${part}, and must be a number above 0`)

/** Fewer show nothing of chance. */
const fewest = 20

/** How many there are of what is done so many times in a full campaign. */
export const campaign = (full: number): number => Math.max(Math.min(full, fewest), Math.ceil(full * part))

/** How often something must have happened that happens at least so often in a full campaign. */
export const atLeast = (full: number): number => part >= 1 ? full : Math.floor(full * part / 4)

/** How many runs there are in one turn of the event loop: the test runner takes a worker for dead that says nothing. */
const atOnce = 10

/** A campaign: how many runs it has where it is complete, and how they are. */
export type Campaign = SeededRun.SeedsOptions & { readonly runs: number }

/** Runs a program under the seeds of a campaign, quietly, with turns for others in between. */
export const forSeeds = async <A, E>(
  program: Effect.Effect<A, E> | ((seed: number) => Effect.Effect<A, E>),
  { runs: full, seed: first = 1, ...options }: Campaign,
  check: (run: SeededRun.Run<A, E>) => void = valueOf
): Promise<SeededRun.Summary> => {
  const schedules = new Set<string>()
  const end = first + campaign(full)
  let steps = 0
  for (let seed = first; seed < end; seed += atOnce) {
    const runs = Math.min(atOnce, end - seed)
    const summary = SeededRun.forSeeds(
      (seed) => Logger.withMinimumLogLevel(typeof program === "function" ? program(seed) : program, LogLevel.Fatal),
      { ...options, seed, runs },
      (run) => {
        schedules.add(run.trace.hash)
        check(run)
      }
    )
    steps += summary.steps
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { runs: end - first, schedules: schedules.size, steps }
}

/** What a run has come to. */
export const valueOf = <A, E>({ exit }: SeededRun.Run<A, E>): A => {
  if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
  return exit.value
}
