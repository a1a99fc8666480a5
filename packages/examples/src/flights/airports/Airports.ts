/**
 * What a departure asks of its airport: it is counted, and where it departs late, it needs a new slot.
 *
 * Each question is a fiber of its own, because its answer takes a while: that of the statistics comes when the row is
 * saved, for all who have asked since the last time. So that there are not too many of them, the producer waits for room.
 */
import { Retry } from "@sluice/core"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { MalformedFlight, problemOf } from "../errors.ts"
import type { NumberedFlight } from "../Flight.ts"
import { SlotsPool } from "./SlotsPool.ts"
import { departed, isLate } from "./Statistics.ts"
import { StatisticsBatch } from "./StatisticsBatch.ts"
import { Told } from "./Told.ts"

/** A question was not answered, and will not be. */
export class AirportsFailed extends Data.TaggedError("AirportsFailed")<{ readonly problem: string }> {
  override get message(): string {
    return `the airports: ${this.problem}`
  }
}

type Failed = MalformedFlight | AirportsFailed

export interface Airports {
  /** Asks for a flight. Waits for room, and not for the answers. */
  readonly ask: (flight: NumberedFlight) => Effect.Effect<void>
  /** Fails as soon as a question has. */
  readonly watch: Effect.Effect<never, Failed>
  /** To be called when everything is asked. Answers what was answered. */
  readonly finish: Effect.Effect<Told, Failed>
}

/** Numbers that are shown to the user as well. */
export const settings = { questionsAtOnce: 10_000 }

const retry = Retry.exponential({ base: "10 millis", cap: "200 millis", retries: 10 })

/** Asks on behalf of a file, whose name is for messages. What is not answered when the scope is closed is interrupted. */
export const make = (
  file: string
): Effect.Effect<Airports, never, StatisticsBatch | SlotsPool | Scope.Scope> =>
  Effect.gen(function*() {
    const statistics = yield* StatisticsBatch
    const slots = yield* SlotsPool
    const scope = yield* Effect.scope
    const room = yield* Effect.makeSemaphore(settings.questionsAtOnce)
    const failed = yield* Deferred.make<never, Failed>()
    const told = new Told()

    const failure = (error: { readonly _tag: string; readonly message: string }, { seq }: NumberedFlight): Failed =>
      error._tag === "InvalidKey"
        ? new MalformedFlight({ file, line: seq, problem: `the code of an airport: ${error.message}` })
        : new AirportsFailed({ problem: problemOf(error) })

    /** A schedule costs more than the rest of a question does. So only one that has failed gets one. */
    const askAgain = <A, E>(question: Effect.Effect<A, E>, isPassing: (error: E) => boolean): Effect.Effect<A, E> =>
      Effect.catchIf(question, isPassing, () => Effect.retry(question, { schedule: retry, while: isPassing }))

    const count = (departing: NumberedFlight) => {
      const { origin } = departing.flight
      const question = Effect.tapErrorTag(statistics.modify(origin, departed(departing)), "SinkFailure", () =>
        Effect.sync(() =>
          told.countedAgain += 1
        ))
      // The load or the save has failed, and with it everybody who had a part in it. Nothing of it is saved.
      return Effect.map(
        askAgain(question, ({ _tag }) => _tag === "SinkFailure"),
        (number) => told.numbered(origin, number)
      )
    }

    const takeSlot = (departing: NumberedFlight) => {
      const given = (version: number) => Effect.sync(() => told.given.set(departing.seq, version))
      const question = Effect.tapErrorTag(slots.submit(departing), "AnswerLost", () =>
        Effect.sync(() =>
          told.answersLost += 1
        ))
      // It may have a slot by now. Asking again is safe, because the book looks for the flight first.
      return askAgain(question, ({ _tag }) =>
        _tag === "AnswerLost").pipe(
          Effect.flatMap(given),
          Effect.catchTags({
            AlreadyGiven: ({ version }) => {
              told.found += 1
              return given(version)
            },
            NoSlotLeft: () => Effect.sync(() => told.refused.add(departing.seq))
          })
        )
    }

    /** Fibers begin in the order in which they are forked: so the flights of an airport ask in the order of the file. */
    const begin = <E extends { readonly _tag: string; readonly message: string }>(
      flight: NumberedFlight,
      question: Effect.Effect<unknown, E>
    ) =>
      question.pipe(
        Effect.mapError((error) => failure(error, flight)),
        Effect.catchAllCause((cause) => Deferred.failCause(failed, cause)),
        Effect.ensuring(room.release(1)),
        // The program around it is uninterruptible, and a fiber inherits that.
        Effect.interruptible,
        Effect.forkIn(scope),
        // Whoever is interrupted has taken no room, or has forked the one that gives it back.
        (fork) => Effect.uninterruptibleMask((restore) => Effect.zipRight(restore(room.take(1)), fork))
      )

    const failedAlready = Effect.flatMap(
      Deferred.poll(failed),
      Option.match({ onNone: () => Effect.void, onSome: (failure) => failure })
    )

    return {
      ask: (flight) =>
        Effect.all([
          isLate(flight) ? begin(flight, takeSlot(flight)) : Effect.void,
          begin(flight, count(flight))
        ], { discard: true }),
      watch: Deferred.await(failed),
      // When all the room is free, every question is answered, or has failed.
      finish: room.take(settings.questionsAtOnce).pipe(
        Effect.zipRight(failedAlready),
        Effect.as(told)
      )
    }
  })
