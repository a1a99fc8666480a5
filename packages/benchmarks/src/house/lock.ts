/** The lock that is handed over in order, against `Effect.Semaphore`. */
import * as Effect from "effect/Effect"
import { Lock } from "../../../sql/dist/internal/writer/lock.js"
import { type Plan, timed, timesAsFast } from "../Benchmark.ts"

const holders = 20_000

/** Nobody waits, as mostly. */
const holding = (hold: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.suspend(() => {
    let left = holders
    return Effect.whileLoop({ while: () => left-- > 0, body: () => hold, step: () => {} })
  })

const lock = timed("Lock", holders, holding(new Lock().with(Effect.void)))
const semaphore = timed("Semaphore", holders, holding(Effect.unsafeMakeSemaphore(1).withPermits(1)(Effect.void)))

export const locks: Plan = {
  cases: [lock, semaphore],
  ratios: [timesAsFast("a lock that is free, against Semaphore", lock.name, semaphore.name)]
}
