/** The bell that wakes the fiber of a queue, against `Latch` of Effect. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { Bell } from "../../../core/dist/internal/fibers/bell.js"
import { type Plan, timed, timesAsFast } from "../Benchmark.ts"

const items = 20_000

interface Waking {
  /** Waits until there is something; to be called by one fiber. */
  readonly wait: Effect.Effect<void>
  readonly ring: () => void
}

/** One fiber takes what another brings, which makes way after each item. */
const handingOver = (make: (isReady: () => boolean) => Waking): Effect.Effect<void> =>
  Effect.gen(function*() {
    let waiting = 0
    let taken = 0
    const { ring, wait } = make(() => waiting > 0)
    const take = Effect.map(wait, () => {
      taken += waiting
      waiting = 0
    })
    const consumer = yield* Effect.fork(
      Effect.whileLoop({ while: () => taken < items, body: () => take, step: () => {} })
    )
    let left = items
    const bring = Effect.suspend(() => {
      waiting += 1
      ring()
      return Effect.yieldNow()
    })
    yield* Effect.whileLoop({ while: () => left-- > 0, body: () => bring, step: () => {} })
    yield* Fiber.join(consumer)
    if (taken !== items) throw new Error(`${taken} of ${items}`)
  })

const bell = timed(
  "Bell",
  items,
  handingOver((isReady) => {
    const bell = new Bell(isReady)
    return { wait: bell.wait, ring: () => bell.ring() }
  })
)

const latch = timed(
  "Latch",
  items,
  handingOver((isReady) => {
    const latch = Effect.unsafeMakeLatch()
    const wait = Effect.suspend(() => {
      latch.unsafeClose()
      return isReady() ? Effect.void : latch.await
    })
    return { wait, ring: () => void latch.unsafeOpen() }
  })
)

export const bells: Plan = {
  cases: [bell, latch],
  ratios: [timesAsFast("a fiber that is woken, against Latch", bell.name, latch.name)]
}
