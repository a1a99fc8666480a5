/**
 * What has happened in the queues of late, and what happens. The events of all queues are numbered together, so that
 * whoever watches, and was away for a while, can say what the last one was.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { HttpQueue, Told } from "../HttpQueue.ts"

/** @internal */
export interface Recorded {
  readonly number: number
  readonly queue: string
  readonly atMillis: number
  readonly event: Told
}

/** A watcher was too slow: so many events, of whichever queues, were not kept for it. */
interface Missed {
  readonly missed: number
}

/** How far a watcher may be behind before it misses events. */
const watcherCapacity = 1024

/** @internal */
export class EventLog {
  private readonly kept = new Map<string, Array<Recorded>>()
  private readonly keep: number
  private readonly watchers: PubSub.PubSub<Recorded>
  private readonly clock: Clock.Clock
  /** Events are numbered and told in one turn: watchers take a number that is too high for a gap. */
  private readonly turn = Effect.unsafeMakeSemaphore(1)
  private nextNumber = 1

  constructor(keep: number, watchers: PubSub.PubSub<Recorded>, clock: Clock.Clock) {
    this.keep = keep
    this.watchers = watchers
    this.clock = clock
  }

  /** Records the events of a queue, until it is closed. */
  follow({ events, name }: HttpQueue): Effect.Effect<void> {
    const kept: Array<Recorded> = []
    this.kept.set(name, kept)
    return Stream.runForEachChunk(events, (events) =>
      this.turn.withPermits(1)(Effect.suspend(() => {
        const atMillis = this.clock.unsafeCurrentTimeMillis()
        const recorded: Array<Recorded> = []
        for (const event of events) recorded.push({ number: this.nextNumber++, queue: name, atMillis, event })
        for (const each of recorded) kept.push(each)
        kept.splice(0, kept.length - this.keep)
        return PubSub.publishAll(this.watchers, recorded)
      })))
  }

  /** The last events of a queue, oldest first. */
  recent(queue: string, limit: number): ReadonlyArray<Recorded> {
    const kept = this.kept.get(queue) ?? []
    return kept.slice(Math.max(0, kept.length - limit))
  }

  /** The events that are kept and come after the one of this number, and then those that happen: of one queue, or all. */
  live(queue: string | undefined, after: number | undefined): Stream.Stream<Recorded | Missed> {
    return Stream.unwrapScoped(
      Effect.map(PubSub.subscribe(this.watchers), (subscription) => {
        const queues = queue === undefined ? Array.from(this.kept.values()) : [this.kept.get(queue) ?? []]
        const kept = after === undefined
          ? []
          : queues.flatMap((each) => each.filter(({ number }) => number > after)).sort((a, b) => a.number - b.number)
        const live = Stream.fromQueue(subscription).pipe(
          Stream.mapAccum(this.nextNumber, (expected, recorded) => {
            // What is kept may come from the subscription as well.
            if (recorded.number < expected) return [expected, []]
            const missed = recorded.number - expected
            return [recorded.number + 1, missed === 0 ? [recorded] : [{ missed }, recorded]]
          }),
          Stream.mapConcat((events: ReadonlyArray<Recorded | Missed>) => events),
          Stream.filter((event) => queue === undefined || "missed" in event || event.queue === queue)
        )
        return Stream.concat(Stream.fromIterable(kept), live)
      })
    )
  }
}

/** @internal */
export const make = (
  queues: ReadonlyArray<HttpQueue>,
  keep: number
): Effect.Effect<EventLog, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const watchers = yield* Effect.acquireRelease(PubSub.sliding<Recorded>(watcherCapacity), PubSub.shutdown)
    const log = new EventLog(keep, watchers, clock)
    if (keep > 0) { for (const queue of queues) yield* Effect.forkScoped(Effect.interruptible(log.follow(queue))) }
    return log
  })
