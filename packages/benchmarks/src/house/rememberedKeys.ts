/** The keys of requests that are remembered, against `Cache` and `RcMap` of Effect. */
import * as Cache from "effect/Cache"
import * as Effect from "effect/Effect"
import * as RcMap from "effect/RcMap"
import type * as Scope from "effect/Scope"
import { RememberedKeys, type Span } from "../../../http/dist/internal/rememberedKeys.js"
import { type Plan, timed, timesAsFast } from "../Benchmark.ts"

const requests = 20_000
const limit = 10_000
const windowMillis = 3_600_000

/** More than are remembered, so that some are forgotten all the time. */
const keys = Array.from({ length: 3 * limit }, (_, at) => `request-${at}`)

const span: Span = { position: 0, size: 1, printAt: () => "5d41402abc4b2a76", isLast: true }

/** So many requests, each with the next key. */
const requesting = (request: (key: string) => Effect.Effect<boolean>): Effect.Effect<void> => {
  let next = 0
  return Effect.suspend(() => {
    let known = 0
    let left = requests
    const all = Effect.whileLoop({
      while: () => left-- > 0,
      body: () => request(keys[next++ % keys.length]),
      step: (wasKnown) => {
        if (wasKnown) known += 1
      }
    })
    return Effect.map(all, () => {
      if (known > 0) throw new Error(`${known} keys should have been forgotten`)
    })
  })
}

/** One request of a key at a time. */
type Alone = (key: string, take: Effect.Effect<void>) => Effect.Effect<void>

const takingTurns = (alone: Alone): Effect.Effect<void> =>
  Effect.suspend(() => {
    let taken = 0
    const take = Effect.sync(() => {
      taken += 1
    })
    return Effect.map(requesting((key) => Effect.as(alone(key, take), false)), () => {
      if (taken !== requests) throw new Error(`${taken} of ${requests}`)
    })
  })

export const rememberedKeys: Effect.Effect<Plan, never, Scope.Scope> = Effect.gen(function*() {
  const own = new RememberedKeys(limit, windowMillis)
  const remembering = timed(
    "RememberedKeys",
    requests,
    requesting((key) =>
      Effect.sync(() => {
        const now = Date.now()
        if (own.isOther(key, span, now)) return true
        const taken = own.taken(key, now)
        own.remember(key, span, true, now)
        return taken > 0
      })
    )
  )
  const cache = yield* Cache.make({
    capacity: limit,
    timeToLive: windowMillis,
    lookup: () => Effect.succeed({ taken: 1, offered: 1, print: span.printAt(1), isComplete: true })
  })
  const caching = timed(
    "Cache",
    requests,
    requesting((key) =>
      Effect.flatMap(cache.getOption(key), (found) =>
        Effect.as(
          cache.set(key, { taken: 1, offered: 1, print: span.printAt(1), isComplete: true }),
          found._tag === "Some"
        ))
    )
  )
  const turns = timed("turns of a key", requests, takingTurns((key, take) => own.alone(key, take)))
  const lookup: (key: string) => Effect.Effect<Effect.Semaphore> = () =>
    Effect.sync(() => Effect.unsafeMakeSemaphore(1))
  const semaphores = yield* RcMap.make({ lookup })
  const one = Effect.unsafeMakeSemaphore(1)
  const counted = timed(
    "RcMap",
    requests,
    takingTurns((key, take) =>
      Effect.scoped(Effect.flatMap(RcMap.get(semaphores, key), (semaphore) => semaphore.withPermits(1)(take)))
    )
  )
  // Asked twice at once it would make two.
  const guarded = timed(
    "RcMap, asked by one at a time",
    requests,
    takingTurns((key, take) =>
      Effect.scoped(
        Effect.flatMap(one.withPermits(1)(RcMap.get(semaphores, key)), (semaphore) => semaphore.withPermits(1)(take))
      )
    )
  )
  return {
    cases: [remembering, caching, turns, counted, guarded],
    ratios: [
      timesAsFast("keys looked at and remembered, against Cache", remembering.name, caching.name),
      timesAsFast("one request of a key at a time, against RcMap", turns.name, counted.name),
      timesAsFast("one request of a key at a time, against RcMap that one asks at a time", turns.name, guarded.name)
    ]
  }
})
