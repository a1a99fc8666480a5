/**
 * When each flight is offered, and how the producer leaves time for everybody else.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { departureMillis, type Flight } from "./Flight.ts"

export type Pace =
  | { readonly _tag: "AsFastAsPossible" }
  | { readonly _tag: "Rate"; readonly perSecond: number }
  /** So many times as fast as the flights really left. */
  | { readonly _tag: "Speed"; readonly factor: number }

/** How many flights are offered in one go. */
const breakEvery = 64

/** A turn of the event loop. Fibers that only yield to each other starve timers and I/O. */
const breathe: Effect.Effect<void> = Effect.async<void>((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

/**
 * Waits until the next flight is due. What is due is counted from the start and not from the flight before, so that
 * what the timers are late by does not add up.
 */
export const makePacer = (pace: Pace): Effect.Effect<(flight: Flight) => Effect.Effect<void>> =>
  Effect.map(Effect.clock, (clock: Clock.Clock) => {
    const startedAt = clock.unsafeCurrentTimeMillis()
    let offered = 0
    let firstDeparture: number | undefined
    const dueAfterMillis = (flight: Flight): number => {
      switch (pace._tag) {
        case "AsFastAsPossible":
          return 0
        case "Rate":
          return offered * 1000 / pace.perSecond
        case "Speed": {
          const departure = departureMillis(flight.date) ?? 0
          firstDeparture ??= departure
          return (departure - firstDeparture) / pace.factor
        }
      }
    }
    return (flight) =>
      Effect.suspend(() => {
        const millis = startedAt + dueAfterMillis(flight) - clock.unsafeCurrentTimeMillis()
        offered += 1
        if (millis >= 1) return Effect.sleep(millis)
        return offered % breakEvery === 0 ? breathe : Effect.void
      })
  })
