/**
 * Lists, inspects, redrives and deletes the dead letters of a queue: in portions, so that other operations can run in
 * between, and at a given rate.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Codec from "../../Codec.ts"
import type { InvalidOption, StoreUnavailable } from "../../QueueError.ts"
import type { DeadLetterReason } from "../../QueueEvent.ts"
import type { Amount, DeadLetter, DeadLetterFilter, Portion, Portioned, QueueStore } from "../../QueueStore.ts"
import * as Result from "../../Result.ts"
import * as Check from "../../unstable/OptionCheck.ts"
import { sleepFor } from "../../unstable/Sleep.ts"
import type { Breaks } from "../fibers/breaks.ts"
import type { Backlog } from "./backlog.ts"

/**
 * Selects dead letters: by id, all of them, or those that match every given field: the reason, a case-sensitive part of
 * their error, and how long ago they were set aside.
 *
 * @since 0.1.0
 * @category models
 */
export type WhichLetters = ReadonlyArray<number> | "all" | DeadLetterQuery

/**
 * The fields that a dead letter must match. Fields that are not given match every letter.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetterQuery {
  readonly reason?: DeadLetterReason | undefined
  readonly error?: string | undefined
  /** It was set aside at least this long ago. */
  readonly olderThan?: Duration.DurationInput | undefined
}

/**
 * How many dead letters to process, and how fast.
 *
 * @since 0.1.0
 * @category models
 */
export interface LetterOptions {
  /** At most this many dead letters, lowest ids first. Default: no limit. */
  readonly limit?: number | undefined
  /**
   * About this many dead letters a second, so as not to flood the destination. Not inside a transaction of the store's
   * database. Default: as fast as the store.
   */
  readonly rate?: number | undefined
  /** Counts them and changes nothing. Default: false. */
  readonly dryRun?: boolean | undefined
}

/**
 * The dead letters of every process: items, and batches that cannot be read.
 *
 * `redrive` and `discard` work in portions, and let other operations run in between.
 *
 * **Waits** for the store; changes also wait for their turn to write. **Errors**: `StoreUnavailable`: some portions may
 * be done; a retry continues with the rest. `InvalidOption`: nothing was done. **Interruption**: the current portion is
 * completed. Inside a transaction of the store's database the changes join that transaction, and are counted once it is
 * committed.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetters<out A> {
  /** Lists dead letters by id, starting after the id `after` (default: from the first). `limit` defaults to 100. */
  readonly list: (
    options?: DeadLetterQuery & { readonly limit?: number | undefined; readonly after?: number | undefined }
  ) => Effect.Effect<ReadonlyArray<DeadLetter>, StoreUnavailable | InvalidOption>
  /** One dead letter, with its items, or with the reason why they cannot be read. */
  readonly inspect: (id: number) => Effect.Effect<Option.Option<InspectedLetter<A>>, StoreUnavailable>
  /**
   * Puts them back, each in its own place, as if they had never been delivered. Returns how many it put back. An id
   * without a dead letter is ignored.
   */
  readonly redrive: (
    which: WhichLetters,
    options?: LetterOptions
  ) => Effect.Effect<Amount, StoreUnavailable | InvalidOption>
  /** Deletes them. Returns how many it deleted. */
  readonly discard: (
    which: WhichLetters,
    options?: LetterOptions
  ) => Effect.Effect<Amount, StoreUnavailable | InvalidOption>
}

/**
 * A dead letter with its decoded content.
 *
 * @since 0.1.0
 * @category models
 */
export interface InspectedLetter<out A> extends DeadLetter {
  readonly payload: Uint8Array
  readonly content: Result.Result<ReadonlyArray<A>, Codec.Unreadable>
}

/** Who is told what was done. It must not throw. */
interface Observer {
  readonly redrove: (amount: Amount) => void
  readonly discardedDead: (amount: Amount) => void
}

export const makeDeadLetters = <A>({ backlog, breaks, codec, name, observer, store }: {
  readonly name: string
  readonly store: QueueStore
  readonly codec: Codec.Codec<A>
  readonly backlog: Backlog
  readonly breaks: Breaks
  readonly observer: Observer
}): DeadLetters<A> => {
  // An interruption after the change must not leave it uncounted. In a transaction it takes effect with the commit.
  const counted = <B extends Amount>(
    operation: Effect.Effect<B, StoreUnavailable>,
    count: (amount: Amount) => void
  ) =>
    Effect.uninterruptible(
      Effect.zipWith(store.transaction, operation, (transaction, amount) => {
        if (Option.isNone(transaction)) count(amount)
        else transaction.value.unsafeOnEnd((committed) => committed && count(amount))
        return amount
      })
    )
  const isWhole = (value: number) => Number.isSafeInteger(value) && value >= 0
  const checkLimit = (limit: number) =>
    Check.check(limit === Infinity || isWhole(limit), name, "limit", limit, "a whole number of dead letters")
  const checkQuery = ({ olderThan = 0 }: DeadLetterQuery) => Check.millis(name, "olderThan", olderThan)
  const change = (
    which: WhichLetters,
    { dryRun = false, limit = Infinity, rate = Infinity }: LetterOptions,
    step: (portion: Portion) => Effect.Effect<Portioned, StoreUnavailable>
  ) =>
    Effect.gen(function*() {
      yield* checkLimit(limit)
      if (typeof which === "object" && !Array.isArray(which)) yield* checkQuery(which as DeadLetterQuery)
      yield* Check.check(rate > 0, name, "rate", rate, "more than 0 dead letters a second")
      const pace = { limit, rate: dryRun ? Infinity : rate }
      // The writer would be held for as long as that takes.
      const isFree = pace.rate === Infinity || Option.isNone(yield* store.transaction)
      yield* Check.check(isFree, name, "rate", rate, "none inside a transaction of the store")
      return yield* inPortions(which, pace, breaks, dryRun ? store.countDead.bind(store) : step)
    })
  return {
    list: ({ after, limit = 100, ...query } = {}) =>
      Effect.gen(function*() {
        yield* checkLimit(limit)
        yield* Check.check(
          after === undefined || Number.isSafeInteger(after),
          name,
          "after",
          after,
          "the id of a dead letter"
        )
        yield* checkQuery(query)
        return yield* store.deadLetters({ filter: filterOf(query), after, limit })
      }),
    inspect: (id) =>
      Effect.map(
        store.inspect(id),
        Option.map((letter) => ({
          ...letter,
          content: Result.map(codec.decodeBatch(letter.payload), ({ items }) => items)
        }))
      ),
    redrive: (which, options = {}) =>
      change(which, options, (portion) =>
        counted(store.redrive(portion), (amount) => {
          observer.redrove(amount)
          backlog.stored(amount.items)
          backlog.claimable(amount.batches)
        })),
    discard: (which, options = {}) =>
      change(which, options, (portion) =>
        counted(store.discard(portion), (amount) => {
          observer.discardedDead(amount)
          backlog.room()
        }))
  }
}

/** How many are done with in one step of the store. */
const mostAtOnce = 500

/** How often a step is taken, where there is a rate, in milliseconds. */
const stepMillis = 100

const filterOf = (which: Exclude<WhichLetters, ReadonlyArray<number>> | undefined): DeadLetterFilter => {
  if (which === undefined || which === "all") return {}
  const { error, olderThan, reason } = which
  return { error, reason, olderThanMillis: olderThan === undefined ? undefined : Duration.toMillis(olderThan) }
}

/** Those that are meant by ids, in portions; a filter is one for all of them. */
const filtersOf = (which: WhichLetters): ReadonlyArray<DeadLetterFilter> => {
  if (!Array.isArray(which)) return [filterOf(which as Exclude<WhichLetters, ReadonlyArray<number>>)]
  const ids = Array.from(new Set<number>(which)).sort((a, b) => a - b)
  return Array.from({ length: Math.ceil(ids.length / mostAtOnce) }, (_, i) => ({
    ids: ids.slice(i * mostAtOnce, (i + 1) * mostAtOnce)
  }))
}

interface Pace {
  /** The maximum number. */
  readonly limit: number
  /** The number per second. */
  readonly rate: number
}

/**
 * Does something with each portion of the dead letters that are meant, and answers how much that was. Upwards, or what
 * dies again meanwhile would be put back without end.
 */
const inPortions = (
  which: WhichLetters,
  { limit, rate }: Pace,
  breaks: Breaks,
  step: (portion: Portion) => Effect.Effect<Portioned, StoreUnavailable>
): Effect.Effect<Amount, StoreUnavailable> =>
  Effect.gen(function*() {
    const atOnce = Math.max(1, Math.min(mostAtOnce, Math.floor(rate * stepMillis / 1000)))
    const startedAt = breaks.now
    const done = { batches: 0, items: 0 }
    const filters = filtersOf(which)
    for (const filter of filters) {
      let after: number | undefined
      do {
        const left = limit - done.batches
        if (left <= 0) return done
        const { batches, items, last } = yield* step({ filter, after, limit: Math.min(atOnce, left) })
        done.batches += batches
        done.items += items
        after = last
        const early = done.batches * 1000 / rate - (breaks.now - startedAt)
        const isLast = after === undefined && filter === filters.at(-1)
        if (early > 0 && !isLast && done.batches < limit) yield* sleepFor(early)
        else if (breaks.isDue) yield* breaks.take
      } while (after !== undefined)
    }
    return done
  })
