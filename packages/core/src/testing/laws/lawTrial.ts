/**
 * The helpers that the laws of a store are written with.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import {
  type Amount,
  BatchStore,
  type Claim,
  type ClaimedBatch,
  type ClaimOptions,
  type DeadLetterFilter,
  type NewBatch,
  type Portioned,
  type QueueStore,
  type Stats
} from "../../BatchStore.ts"
import type { LeaseLost, StoreUnavailable } from "../../QueueError.ts"

/**
 * A store broke a law.
 *
 * @since 0.1.0
 * @category errors
 */
export class LawFailure extends Data.TaggedError("LawFailure")<{
  /** What the law says. */
  readonly law: string
  /** What was looked at. */
  readonly step: string
  readonly message: string
}> {}

export type Failures = LawFailure | StoreUnavailable | LeaseLost

/** A queue under trial. */
export interface Trial {
  readonly queue: QueueStore
  /** The same one, as another process has it. */
  readonly again: Effect.Effect<QueueStore, StoreUnavailable>
  /** Another one of the same store. */
  readonly other: Effect.Effect<QueueStore, StoreUnavailable>
  /** Fails where two values differ. */
  readonly same: (step: string, actual: unknown, expected: unknown) => Effect.Effect<void, LawFailure>
  /** Fails unless the leases of exactly these are lost. */
  readonly loses: (
    step: string,
    run: Effect.Effect<unknown, StoreUnavailable | LeaseLost>,
    claims: ReadonlyArray<Claim>
  ) => Effect.Effect<void, LawFailure | StoreUnavailable>
}

export interface Law {
  readonly name: string
  readonly check: Effect.Effect<void, Failures, BatchStore>
}

/** Shows bytes by their values, in any kind of array, and fields in any order. */
const plain = (value: unknown): unknown => {
  if (ArrayBuffer.isView(value)) return Array.from(value as Uint8Array)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== "object" || value === null) return value === undefined ? "undefined" : value
  const fields = Object.entries(value).sort(([one], [other]) => one < other ? -1 : 1)
  return Object.fromEntries(fields.map(([key, field]) => [key, plain(field)]))
}

const show = (value: unknown): string => JSON.stringify(plain(value))

export const differs = (law: string, step: string, actual: unknown, expected: unknown): LawFailure | undefined => {
  const [is, mustBe] = [show(actual), show(expected)]
  if (is === mustBe) return undefined
  // The message is made here and not by a getter: test runners copy an error's fields one by one.
  const message = `the law "${law}" does not hold\n${step}: expected ${mustBe}, but it was ${is}`
  return new LawFailure({ law, step, message })
}

/** Leases, in an order of their own. */
export const sorted = (claims: ReadonlyArray<Claim>): ReadonlyArray<Claim> =>
  claims.map(claimOf).sort((a, b) => a.sequence - b.sequence || a.token - b.token)

export const law = (name: string, check: (trial: Trial) => Effect.Effect<void, Failures>): Law => {
  const same: Trial["same"] = (step, actual, expected) => {
    const failure = differs(name, step, actual, expected)
    return failure === undefined ? Effect.void : Effect.fail(failure)
  }
  const loses: Trial["loses"] = (step, run, claims) =>
    Effect.matchEffect(run, {
      onFailure: (error): Effect.Effect<void, LawFailure | StoreUnavailable> =>
        error._tag === "LeaseLost"
          ? same(step, sorted(error.claims), sorted(claims))
          : Effect.fail(error),
      onSuccess: (answer) => same(step, answer, "LeaseLost")
    })
  return {
    name,
    check: Effect.gen(function*() {
      const store = yield* BatchStore
      // Laws speak of moments. The one before has left the clock somewhere.
      yield* TestClock.setTime(0)
      const queue = yield* store.queue(name)
      yield* check({ queue, again: store.queue(name), other: store.queue(`${name} (another)`), same, loses })
    })
  }
}

/** A batch whose bytes are this number. */
export const batch = (n: number, rest: Partial<NewBatch> = {}): NewBatch => ({
  payload: Uint8Array.of(n),
  items: 1,
  oldestAtMillis: n,
  ...rest
})

/** What the bytes of batches are. */
export const numbersOf = (batches: ReadonlyArray<{ readonly payload: Uint8Array }>): ReadonlyArray<number> =>
  batches.map(({ payload }) => payload[0])

/** Appends batches of these numbers. */
export const add = (queue: QueueStore, ...numbers: ReadonlyArray<number>) => {
  const [first, ...rest] = numbers.map((n) => batch(n))
  return queue.append({ batches: [first, ...rest] })
}

export const leaseMillis = 1000

export const take = (
  queue: QueueStore,
  limit = 1,
  options: Partial<ClaimOptions> = {}
): Effect.Effect<ReadonlyArray<ClaimedBatch>, StoreUnavailable> =>
  Effect.map(queue.claim({ limit, leaseMillis, ...options }), ({ batches }) => batches)

/** Everything that can be claimed now, claim by claim. */
export const takeAll = (
  queue: QueueStore,
  options: Partial<ClaimOptions> = {}
): Effect.Effect<ReadonlyArray<ReadonlyArray<ClaimedBatch>>, StoreUnavailable> =>
  Effect.gen(function*() {
    const claims: Array<ReadonlyArray<ClaimedBatch>> = []
    for (let batches = yield* take(queue, 1000, options); batches.length > 0;) {
      claims.push(batches)
      batches = yield* take(queue, 1000, options)
    }
    return claims
  })

/** Does something with every dead letter of a filter, portion by portion, and answers how many there were. */
export const inPortions = (
  queue: QueueStore,
  step: "redrive" | "discard" | "countDead",
  filter: DeadLetterFilter = {},
  limit = 1000,
  from?: number
): Effect.Effect<Amount, StoreUnavailable> =>
  Effect.gen(function*() {
    const sum = { batches: 0, items: 0 }
    let after = from
    do {
      const { batches, items, last }: Portioned = yield* queue[step]({ filter, after, limit })
      sum.batches += batches
      sum.items += items
      // One that does not go on would have us here for ever.
      if (batches > limit || last !== undefined && last <= (after ?? 0)) return { batches: NaN, items: NaN }
      after = last
    } while (after !== undefined)
    return sum
  })

/** What the counters say, where they say more than nothing. */
export const statsOf = (some: Partial<Stats>): Stats => ({
  pending: { batches: 0, items: 0 },
  dead: { batches: 0, items: 0 },
  newer: { batches: 0, items: 0 },
  oldestAtMillis: undefined,
  heldUntilMillis: undefined,
  ...some
})

export const claimOf = ({ sequence, token }: Claim): Claim => ({ sequence, token })

export const failure = { attempts: 3, failedAtMillis: 77, error: "it failed" }
