/**
 * Lets a system close under a clock that stands still. That is the TestClock of a test that has ended: nobody moves it
 * any more, and what waits for it, such as a backoff or the time to drain itself, would wait forever.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { interruptNow } from "./fiber.ts"
import { forkInterruptible } from "./forking.ts"

const liveClock = Context.get(DefaultServices.liveServices, Clock.Clock)

/** A second in all. A process that is slow has as many turns to move the clock. */
const lookEvery = Duration.millis(10)
const mostLooks = 100

/** Whether a clock only moves when it is told to, as Effect's TestClock. */
const isMovedByHand = (clock: Clock.Clock): boolean => "adjust" in clock

/** Waits until a clock has stood still for a second of real time. */
const standstill = (clock: Clock.Clock): Effect.Effect<void> =>
  Effect.suspend(() => {
    let seen = clock.unsafeCurrentTimeMillis()
    let looks = 0
    return Effect.whileLoop({
      while: () => looks < mostLooks,
      body: () => liveClock.sleep(lookEvery),
      step: () => {
        const now = clock.unsafeCurrentTimeMillis()
        looks = now === seen ? looks + 1 : 0
        seen = now
      }
    })
  })

const told = Effect.logWarning("the TestClock stands still, so what closes waits for it no longer")

/**
 * Runs an effect in which something closes. Under a clock that is moved by hand, `ring` is called each time that it has
 * stood still for a second of real time: it does what it would do once all time to close is over. Elsewhere it is the
 * effect itself.
 */
export const closingUnderTestClock = <A, E, R>(
  closing: Effect.Effect<A, E, R>,
  ring: () => void
): Effect.Effect<A, E, R> =>
  Clock.clockWith((clock) => {
    if (!isMovedByHand(clock)) return closing
    const again = Effect.forever(Effect.zipRight(standstill(clock), Effect.sync(ring)))
    const watching = Effect.zipRight(
      standstill(clock),
      Effect.zipRight(told, Effect.zipRight(Effect.sync(ring), again))
    )
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        forkInterruptible(watching),
        (watch) => Effect.ensuring(restore(closing), Effect.sync(() => interruptNow(watch)))
      )
    )
  })
