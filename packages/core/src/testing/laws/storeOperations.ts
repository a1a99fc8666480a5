/**
 * What random runs do with a store.
 */
import * as FastCheck from "effect/FastCheck"
import type { Turn } from "../../BatchStore.ts"
import { leaseMillis } from "./lawTrial.ts"

/** How a batch, or a part of one, is put back. */
export interface PutBack {
  readonly delay: number | undefined
  readonly version: number | undefined
  readonly giveBack: boolean
  readonly failed: boolean
}

export interface PartPlan extends PutBack {
  readonly becomes: "Kept" | "Released" | "Dead"
  readonly items: number
  readonly reason: string
}

export interface FilterPlan {
  readonly picks: ReadonlyArray<number> | undefined
  readonly reason: string | undefined
  readonly error: string | undefined
  readonly olderThanMillis: number | undefined
}

/** One step of a run. Picks are of claims, the latest of all first. */
export type Operation =
  | {
    readonly _tag: "append"
    readonly batches: ReadonlyArray<{ readonly items: number; readonly ids: ReadonlyArray<string> }>
    readonly room: number | undefined
  }
  | {
    readonly _tag: "claim"
    readonly limit: number
    readonly turn: Turn | undefined
    readonly version: number | undefined
    readonly settle: ReadonlyArray<number>
    readonly renew: ReadonlyArray<number>
  }
  | { readonly _tag: "settle" | "forgive"; readonly picks: ReadonlyArray<number> }
  | { readonly _tag: "extend"; readonly picks: ReadonlyArray<number>; readonly failed: boolean }
  | { readonly _tag: "deadLetter"; readonly picks: ReadonlyArray<number>; readonly reason: string }
  | { readonly _tag: "release"; readonly picks: ReadonlyArray<number>; readonly how: PutBack }
  | { readonly _tag: "divide"; readonly picks: ReadonlyArray<number>; readonly parts: ReadonlyArray<PartPlan> }
  | { readonly _tag: "hold"; readonly millis: number }
  | {
    readonly _tag: "redrive" | "discard" | "countDead" | "deadLetters"
    readonly filter: FilterPlan
    readonly after: number | undefined
    readonly limit: number
  }
  | { readonly _tag: "pass"; readonly millis: number }
  /** The clock is set back, and somebody claims. */
  | { readonly _tag: "setBack"; readonly millis: number }

const tag = <T extends string>(tag: T) => FastCheck.constant(tag)
const oneOf = <A>(...some: ReadonlyArray<A>) => FastCheck.constantFrom(...some)
/** Mostly of the latest claims, which are likely to be held. */
const pick = FastCheck.oneof({ weight: 3, arbitrary: FastCheck.nat(4) }, { weight: 1, arbitrary: FastCheck.nat(30) })
const picks = FastCheck.uniqueArray(pick, { maxLength: 4 })
/** Where every claim settled or renewed the latest ones, no lease would ever run out. */
const few = FastCheck.oneof({ weight: 3, arbitrary: FastCheck.constant([]) }, { weight: 1, arbitrary: picks })
const version = oneOf(undefined, undefined, 1, 2, 3)
const reason = oneOf("some", "other")
const items = FastCheck.integer({ min: 1, max: 3 })
const rarely = <A>(arbitrary: FastCheck.Arbitrary<A>) => FastCheck.option(arbitrary, { nil: undefined, freq: 2 })

const batch = FastCheck.record({
  items,
  ids: FastCheck.uniqueArray(oneOf(..."abcdefghij"), { maxLength: 2 })
})

const putBack = {
  delay: rarely(oneOf(0, 1, 500, 2000)),
  version: oneOf(undefined, undefined, undefined, 1, 2, 3),
  giveBack: FastCheck.boolean(),
  failed: FastCheck.boolean()
}

const part: FastCheck.Arbitrary<PartPlan> = FastCheck.record({
  ...putBack,
  becomes: oneOf<PartPlan["becomes"]>("Kept", "Released", "Released", "Dead"),
  items,
  reason
})

const filter: FastCheck.Arbitrary<FilterPlan> = FastCheck.record({
  picks: rarely(picks),
  reason: rarely(reason),
  error: rarely(oneOf("", "at", "AT", "00%", "_", "1")),
  olderThanMillis: rarely(oneOf(0, 1, 100, leaseMillis))
})

export const operation: FastCheck.Arbitrary<Operation> = FastCheck.oneof(
  {
    weight: 5,
    arbitrary: FastCheck.record({
      _tag: tag("append"),
      batches: FastCheck.array(batch, { minLength: 1, maxLength: 4 }),
      room: rarely(FastCheck.nat(20))
    })
  },
  {
    weight: 9,
    arbitrary: FastCheck.record({
      _tag: tag("claim"),
      limit: FastCheck.nat(4),
      turn: oneOf<Turn | undefined>(undefined, "fresh", "returned"),
      version,
      settle: few,
      renew: few
    })
  },
  {
    weight: 4,
    arbitrary: FastCheck.record({ _tag: oneOf("settle" as const, "forgive" as const, "forgive" as const), picks })
  },
  { weight: 2, arbitrary: FastCheck.record({ _tag: tag("extend"), picks, failed: FastCheck.boolean() }) },
  { weight: 4, arbitrary: FastCheck.record({ _tag: tag("deadLetter"), picks, reason }) },
  { weight: 4, arbitrary: FastCheck.record({ _tag: tag("release"), picks, how: FastCheck.record(putBack) }) },
  {
    weight: 4,
    arbitrary: FastCheck.record({ _tag: tag("divide"), picks, parts: FastCheck.array(part, { maxLength: 4 }) })
  },
  { weight: 1, arbitrary: FastCheck.record({ _tag: tag("hold"), millis: oneOf(0, 1, 100, 101, 1500) }) },
  {
    weight: 5,
    arbitrary: FastCheck.record({
      _tag: oneOf("redrive" as const, "discard" as const, "countDead" as const, "deadLetters" as const),
      filter,
      after: rarely(FastCheck.nat(10)),
      limit: oneOf(1, 2, 3, 1000)
    })
  },
  {
    weight: 5,
    arbitrary: FastCheck.record({ _tag: tag("pass"), millis: oneOf(1, 1, 100, 100, leaseMillis - 1, leaseMillis) })
  },
  { weight: 2, arbitrary: FastCheck.record({ _tag: tag("setBack"), millis: oneOf(1, 100, 600, 600, 3000, 100_000) }) }
)

/** The end of every run: everything that is left comes out, in order. */
export const ending: ReadonlyArray<Operation> = [
  { _tag: "hold", millis: 0 },
  { _tag: "pass", millis: 100_000 },
  ...Array.from({ length: 16 }, (_, n): Operation => ({
    _tag: "claim",
    limit: 2,
    turn: n % 3 === 0 ? "fresh" : "returned",
    version: n % 4 === 0 ? 2 : undefined,
    settle: [0, 1],
    renew: []
  }))
]
