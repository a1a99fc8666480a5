/**
 * Recent and live events of the queues. Events are numbered across all queues, and also per queue, so that a client
 * that reconnects can name its last event and learn how many it has missed.
 */
import { forkScoped } from "@sluice/core/unstable/Fibers"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { HttpQueue, Told } from "../HttpQueue.ts"

export interface Recorded {
  readonly number: number
  readonly queue: string
  readonly atMillis: number
  readonly event: Told
}

/** An event, and which one of its queue it is. */
interface Entry {
  readonly recorded: Recorded
  readonly ordinal: number
}

/** The events of one queue that are kept, and how many there ever were. */
interface Kept {
  /** Which of the queues it is, for ids: a name may hold anything. */
  readonly index: number
  readonly entries: Array<Entry>
  count: number
}

/**
 * What a watcher is told: where it begins, an event, or that so many of those that it watches are not there any more,
 * because it was away for long, or too slow. With an `id` it can go on from there when it comes again.
 */
export type Watched =
  | { readonly _tag: "Begun"; readonly id: string }
  | { readonly _tag: "Event"; readonly id: string; readonly recorded: Recorded }
  | { readonly _tag: "Missed"; readonly missed: number }

/** How far a watcher may be behind before it misses events. */
const watcherCapacity = 1024

export class EventLog {
  private readonly kept = new Map<string, Kept>()
  private readonly keep: number
  private readonly watchers: PubSub.PubSub<Entry>
  private readonly clock: Clock.Clock
  /** In every id: a number of another process, which has begun with 1 as well, says nothing here. */
  private readonly process: string
  /** Events are numbered and told in one turn: watchers take a number that is too high for a gap. */
  private readonly turn = Effect.unsafeMakeSemaphore(1)
  private nextNumber = 1

  constructor(keep: number, watchers: PubSub.PubSub<Entry>, clock: Clock.Clock, process: string) {
    this.keep = keep
    this.watchers = watchers
    this.clock = clock
    this.process = process
  }

  /** Records the events of a queue, until it is closed. */
  follow({ events, name }: HttpQueue): Effect.Effect<void> {
    const kept: Kept = { index: this.kept.size, entries: [], count: 0 }
    this.kept.set(name, kept)
    return Stream.runForEachChunk(events, (events) =>
      this.turn.withPermits(1)(Effect.suspend(() => {
        const now = this.clock.unsafeCurrentTimeMillis()
        const entries: Array<Entry> = []
        for (const { atMillis = now, ...event } of events) {
          const recorded = { number: this.nextNumber++, queue: name, atMillis, event }
          entries.push({ recorded, ordinal: kept.count += 1 })
        }
        for (const each of entries) kept.entries.push(each)
        kept.entries.splice(0, kept.entries.length - this.keep)
        return PubSub.publishAll(this.watchers, entries)
      })))
  }

  /** The last events of a queue, oldest first. */
  recent(queue: string, limit: number): ReadonlyArray<Recorded> {
    const entries = this.kept.get(queue)?.entries ?? []
    return entries.slice(Math.max(0, entries.length - limit)).map(({ recorded }) => recorded)
  }

  /**
   * The events of one queue, or of all, as they happen. After the event of an id come those first that have happened
   * since, as far as they are kept. An id that is none of this process, or was told to who watches something else, says
   * nothing of what its watcher has seen: all that is kept comes then.
   */
  live(queue: string | undefined, lastId: string | undefined): Stream.Stream<Watched> {
    return Stream.unwrapScoped(
      Effect.map(PubSub.subscribe(this.watchers), (subscription) => {
        const { entries, last, positionOf, prefix } = this.view(queue)
        const after = lastId === undefined ? last : positionIn(prefix, lastId, last) ?? 0
        const live = Stream.fromQueue(subscription).pipe(
          Stream.filter(({ recorded }) => queue === undefined || recorded.queue === queue)
        )
        const events = Stream.concat(Stream.fromIterable(entries), live).pipe(
          Stream.mapAccum(after + 1, (expected, entry) => {
            const position = positionOf(entry)
            // It has been seen, or is kept and comes from the subscription as well.
            if (position < expected) return [expected, []]
            const event: Watched = { _tag: "Event", id: `${prefix}${position}`, recorded: entry.recorded }
            const missed: Watched = { _tag: "Missed", missed: position - expected }
            return [position + 1, missed.missed === 0 ? [event] : [missed, event]]
          }),
          Stream.mapConcat((events: ReadonlyArray<Watched>) => events)
        )
        return Stream.concat(Stream.succeed<Watched>({ _tag: "Begun", id: `${prefix}${after}` }), events)
      })
    )
  }

  /** What there is to watch, oldest first, and how its events are counted. */
  private view(queue: string | undefined): {
    readonly prefix: string
    readonly entries: ReadonlyArray<Entry>
    readonly last: number
    readonly positionOf: (entry: Entry) => number
  } {
    if (queue === undefined) {
      const entries = Array.from(this.kept.values(), ({ entries }) => entries).flat()
      return {
        prefix: `${this.process}-`,
        entries: entries.sort((a, b) => a.recorded.number - b.recorded.number),
        last: this.nextNumber - 1,
        positionOf: ({ recorded }) => recorded.number
      }
    }
    const { count, entries, index } = this.kept.get(queue) ?? { count: 0, entries: [], index: 0 }
    return {
      prefix: `${this.process}-${index}-`,
      entries: entries.slice(),
      last: count,
      positionOf: ({ ordinal }) => ordinal
    }
  }
}

/** The position that an id has told, where it has told one. */
const positionIn = (prefix: string, id: string, last: number): number | undefined => {
  if (!id.startsWith(prefix)) return undefined
  const position = id.slice(prefix.length)
  return /^\d{1,15}$/.test(position) && Number(position) <= last ? Number(position) : undefined
}

/** Of this process alone: when it has begun, and a number that no other has drawn at the same time. */
const processId: Effect.Effect<string> = Effect.zipWith(
  Effect.clock,
  Random.nextIntBetween(0, 2 ** 31),
  (clock, drawn) => `${clock.unsafeCurrentTimeMillis().toString(36)}.${drawn.toString(36)}`
)

export const make = (
  queues: ReadonlyArray<HttpQueue>,
  keep: number
): Effect.Effect<EventLog, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const watchers = yield* Effect.acquireRelease(PubSub.sliding<Entry>(watcherCapacity), PubSub.shutdown)
    const log = new EventLog(keep, watchers, clock, yield* processId)
    if (keep > 0) { for (const queue of queues) yield* forkScoped(log.follow(queue)) }
    return log
  })
