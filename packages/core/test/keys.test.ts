/**
 * One key has one meaning: whatever goes by keys agrees on which pairs of them are the same, and on what is none.
 */
import { describe, expect, it } from "@effect/vitest"
import {
  Backpressure,
  BatchQueue,
  BatchStore,
  Buffer,
  KeyedBatch,
  PolicyQueue,
  Sharding,
  ShardPool,
  WriteBehind
} from "@sluice/core"
import { Effect, Schema } from "effect"
import * as FastCheck from "effect/FastCheck"
import type { Scope } from "effect"

interface Item {
  readonly key: any
}

const item = (key: unknown): Item => ({ key })

const keyOf = ({ key }: Item): Sharding.Key => key

/** What two things are, as keys: refused is what has one that is none. */
type Verdict = "same" | "different" | "refused"

const invalid: ReadonlyArray<unknown> = [
  NaN,
  Infinity,
  -Infinity,
  1n,
  true,
  null,
  undefined,
  {},
  [1],
  new String("1"),
  new Date(1),
  Symbol.iterator,
  Object.create(null),
  "a\0",
  "\ud800",
  "a".repeat(513),
  "é".repeat(257)
]

const valid: ReadonlyArray<Sharding.Key> = [
  "",
  "0",
  "-0",
  0,
  -0,
  1,
  "1",
  "01",
  "true",
  "__proto__",
  1e21,
  "1e+21",
  "u\u0308",
  "a".repeat(512)
]

const isValid = (key: unknown): boolean => !invalid.some((each) => Object.is(each, key))

const expected = (one: unknown, other: unknown): Verdict => {
  if (!isValid(one) || !isValid(other)) return "refused"
  return String(one) === String(other) ? "same" : "different"
}

const pairs = (seed: number): ReadonlyArray<readonly [unknown, unknown]> => [
  ...valid.flatMap((one) => valid.map((other) => [one, other] as const)),
  ...invalid.flatMap((one) => [[one, one], [one, "1"], [1, one]] as const),
  ...FastCheck.sample(
    FastCheck.oneof(
      FastCheck.integer(),
      FastCheck.double({ noNaN: true, noDefaultInfinity: true })
    ).map((number) => [number, String(number)] as const),
    { seed, numRuns: 40 }
  )
]

type Offering = Effect.Effect<(first: Item, second: Item) => Effect.Effect<Verdict>, unknown, Scope.Scope>

const coalesced = (outcomes: ReadonlyArray<string>): Verdict => {
  if (outcomes.some((outcome) => outcome === "invalid-key" || outcome === "malformed")) return "refused"
  return outcomes[1] === "coalesced" ? "same" : "different"
}

const policy = Backpressure.coalesceByKey(keyOf)

/** Each is made anew for every pair. */
const systems: Readonly<Record<string, Offering>> = {
  "a PolicyQueue that coalesces": Effect.map(
    PolicyQueue.make<Item>({ capacity: 2, policy }),
    (queue) => (...both) => Effect.sync(() => coalesced(both.map(queue.unsafeOffer.bind(queue))))
  ),
  "a WriteBehind that coalesces, in many shards": Effect.map(
    WriteBehind.make<Item, never, never>({ name: "q", capacity: 2, shards: 8, policy, flush: () => Effect.void }),
    (queue) => (...both) => Effect.sync(() => coalesced(both.map(queue.unsafeOffer)))
  ),
  "a BatchQueue that coalesces": Effect.map(
    BatchQueue.make({
      name: "q",
      schema: Schema.Any,
      metrics: false,
      policy,
      limits: { maxItemBytes: 1e6 },
      format: anyFormat(),
      workers: 0,
      process: () => Effect.void
    }).pipe(Effect.provide(BatchStore.layerMemory)),
    (queue) => (...both) => Effect.sync(() => coalesced(both.map(queue.unsafeOffer)))
  ),
  "a KeyedBatch": Effect.map(
    KeyedBatch.make({ name: "q", shards: 2, initial: () => 0, minDuration: 0 }),
    (processor) => (...both) =>
      Effect.match(
        Effect.forEach(both, ({ key }) => processor.modify(key, (count) => [count, count + 1]), {
          concurrency: "unbounded"
        }),
        {
          onFailure: ({ _tag }) => _tag === "InvalidKey" ? "refused" : "different",
          onSuccess: (counts): Verdict => counts[1] === 1 ? "same" : "different"
        }
      )
  ),
  "a ShardPool": Effect.map(
    ShardPool.make({ name: "q", shards: 2, key: keyOf, execute: (_, { version }) => Effect.succeed(version) }),
    (pool) => (...both) =>
      Effect.match(Effect.forEach(both, (command) => pool.submit(command)), {
        onFailure: ({ _tag }) => _tag === "InvalidKey" ? "refused" : "different",
        onSuccess: (versions): Verdict => versions[1] === 2 ? "same" : "different"
      })
  )
}

/** It carries everything: what a key may be is not the format's business here. */
function anyFormat() {
  return { name: "any", encode: () => new Uint8Array(), decode: () => [], carries: () => true }
}

describe("one key has one meaning", () => {
  for (const [name, make] of Object.entries(systems)) {
    it.effect(`for ${name}`, () =>
      Effect.gen(function*() {
        const seed = Math.floor(Math.random() * 2 ** 31)
        for (const [one, other] of pairs(seed)) {
          const verdict = yield* Effect.scoped(Effect.flatMap(make, (ask) => ask(item(one), item(other))))
          expect(`${typeof one} ${typeof other} ${verdict}`, `seed ${seed}: ${shown(one)}, ${shown(other)}`).toBe(
            `${typeof one} ${typeof other} ${expected(one, other)}`
          )
        }
      }))
  }

  it("for a merging buffer", () => {
    const buffer = Buffer.merging(keyOf, (held) => held)
    for (const [one, other] of pairs(7)) {
      if (expected(one, other) === "refused") continue
      const merged = [one, other].map(item).reduce(buffer.push, buffer.empty())
      expect(buffer.size(merged)).toBe(expected(one, other) === "same" ? 1 : 2)
    }
  })

  it("for the shard of a key", () => {
    for (const [one, other] of pairs(7)) {
      if (expected(one, other) !== "same") continue
      expect(Sharding.shardOf(one as Sharding.Key, 1024)).toBe(Sharding.shardOf(other as Sharding.Key, 1024))
    }
  })
})

const shown = (key: unknown): string => typeof key === "object" ? "an object" : String(key)

describe("what has no valid key is refused with InvalidKey, which carries it, by", () => {
  it.scoped("offer, offerAll and offerAllOrNone of a queue that coalesces, whatever it does when it is full", () =>
    Effect.gen(function*() {
      for (const whenFull of [Backpressure.dropOldest, Backpressure.reject, Backpressure.suspend()]) {
        const queue = yield* WriteBehind.make<Item, never, never>({
          name: "q",
          capacity: 8,
          policy: Backpressure.coalesceByKey(keyOf, { whenFull }),
          flush: () => Effect.void
        })
        const [good, bad] = [item(1), item(NaN)]
        const told = { _tag: "InvalidKey", queue: "q", key: NaN, item: bad }
        expect(yield* Effect.flip(queue.offer(bad))).toMatchObject({ ...told, taken: 0, notTaken: [bad] })
        expect(yield* Effect.flip(queue.offerAll([good, bad, good]))).toMatchObject({
          ...told,
          taken: 1,
          notTaken: [bad, good]
        })
        expect(yield* Effect.flip(queue.offerAllOrNone([good, bad]))).toMatchObject({
          ...told,
          taken: 0,
          notTaken: [good, bad]
        })
        expect(yield* queue.metrics).toMatchObject({ offered: 6, refused: 5 })
      }
    }))

  it.scoped("a WriteBehind with shardBy", () =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<Item, never, never>({
        name: "q",
        capacity: 8,
        shards: 4,
        shardBy: keyOf,
        flush: () => Effect.void
      })
      expect(yield* Effect.flip(queue.offer(item({})))).toMatchObject({ _tag: "InvalidKey", notTaken: [item({})] })
      expect(queue.unsafeOffer(item(undefined))).toBe("invalid-key")
      expect(yield* Effect.flip(queue.offerAllOrNone([item("a"), item(NaN)]))).toMatchObject({ _tag: "InvalidKey" })
      expect(yield* queue.metrics).toMatchObject({ offered: 4, refused: 4 })
    }))

  it.scoped("a BatchQueue that coalesces, and as MalformedItem by one whose buffer merges", () =>
    Effect.gen(function*() {
      const options = {
        name: "q",
        schema: Schema.Struct({ key: Schema.String }),
        metrics: false,
        process: () => Effect.void
      } as const
      const bad = item("b".repeat(600))
      const coalescing = yield* BatchQueue.make({ ...options, policy })
      expect(yield* Effect.flip(coalescing.offerAll([item("a"), bad]))).toMatchObject({
        _tag: "InvalidKey",
        item: bad,
        taken: 1,
        notTaken: [bad]
      })
      const merging = yield* BatchQueue.make({ ...options, name: "r", buffer: Buffer.merging(keyOf, (held) => held) })
      expect(yield* Effect.flip(merging.offer(bad))).toMatchObject({ _tag: "MalformedItem", item: bad })
    }).pipe(Effect.provide(BatchStore.layerMemory)))

  it.scoped("a ShardPool", () =>
    Effect.gen(function*() {
      const pool = yield* ShardPool.make({ name: "q", key: keyOf, execute: () => Effect.void })
      const bad = item(undefined)
      expect(yield* Effect.flip(pool.submit(bad))).toMatchObject({ _tag: "InvalidKey", item: bad, notTaken: [bad] })
    }))
})

it.scoped("shardOf is asked about what a key is known by, so that it cannot tell 1 from \"1\"", () =>
  Effect.gen(function*() {
    const asked: Array<unknown> = []
    const shardOf: Sharding.ShardOf = (key, shards) => {
      asked.push(key)
      return Sharding.shardOf(key, shards)
    }
    const pool = yield* ShardPool.make({ name: "q", shardOf, key: keyOf, execute: () => Effect.void })
    yield* pool.submit(item(1))
    yield* pool.submit(item("1"))
    expect(asked).toEqual(["1", "1"])
  }))
