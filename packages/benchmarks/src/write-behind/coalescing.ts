/**
 * `coalesceByKey`: against the plain ring, and a small queue against a large one.
 */
import { Backpressure, PolicyQueue } from "@sluice/core"
import * as Effect from "effect/Effect"
import { type Case, type Plan, timedSync, timesItsTime } from "../Benchmark.ts"
import { batchSize, expectCount, type Item, makeItems } from "./items.ts"
import { Ring } from "./Ring.ts"

const batches = 2_000
const operations = batches * batchSize

const latest = Backpressure.coalesceByKey((item: Item) => item.key)

const makeQueue = (capacity: number) => Effect.orDie(PolicyQueue.make<Item>({ policy: latest, capacity }))

/** Offers batches in which so many keys come again and again, and takes what is left of each. */
const offerAndTake = (name: string, keys: number): Effect.Effect<Case> =>
  Effect.map(makeQueue(1_000), (queue) => {
    const items = makeItems(batchSize, keys)
    return timedSync(name, operations, () => {
      let coalesced = 0
      let taken = 0
      for (let batch = 0; batch < batches; batch++) {
        for (const item of items) if (queue.unsafeOffer(item) === "coalesced") coalesced += 1
        taken += queue.unsafeTakeUpTo(batchSize).length
      }
      expectCount(name, taken, batches * keys)
      expectCount(name, coalesced + taken, operations)
    })
  })

const ringCase = Effect.sync(() => {
  const ring = new Ring<Item>()
  const items = makeItems(batchSize)
  return timedSync("plain ring, items with keys", operations, () => {
    let taken = 0
    for (let batch = 0; batch < batches; batch++) {
      for (const item of items) ring.push(item)
      taken += ring.takeUpTo(batchSize).length
    }
    expectCount("plain ring", taken, operations)
  })
})

// A queue is full; 100 items with new keys come and the 100 oldest leave, again and again. The small queue sees the very
// same items go by, so that both miss the caches alike when they touch an item. What the large one misses besides is
// the slots of its own ring and index: the bare Map shows how much of it that is.
const large = 1_000_000
const stream = large + 200_000

interface Numbered {
  readonly id: number
}

/** Sets up outside of what is timed, and forgets it all: a large heap would slow every other case down. */
const streaming = (
  name: string,
  held: number,
  step: (held: number) => (items: ReadonlyArray<Numbered>) => void
): Case => ({
  name,
  unit: "ns/op",
  selfContained: true,
  sample: Effect.sync(() => {
    const batches = Array.from(
      { length: stream / batchSize },
      (_, batch) => Array.from({ length: batchSize }, (_, index): Numbered => ({ id: batch * batchSize + index }))
    )
    const offerBatch = step(held)
    // Every batch once, to fill the queue; the second time it has room for none, and every key is new to it again.
    for (const batch of batches) offerBatch(batch)
    const startedAt = performance.now()
    for (const batch of batches) offerBatch(batch)
    return { cost: (performance.now() - startedAt) * 1e6 / stream }
  })
})

const queueStep = (held: number, capacity = held) => {
  const policy = Backpressure.coalesceByKey((item: Numbered) => item.id)
  const queue = Effect.runSync(PolicyQueue.make<Numbered>({ policy, capacity }))
  return (batch: ReadonlyArray<Numbered>) => {
    if (queue.unsafeLength() + batchSize > held) queue.unsafeTakeUpTo(batchSize)
    for (const item of batch) queue.unsafeOffer(item)
    if (queue.unsafeLength() > held) throw new Error("items have coalesced, or were not taken")
  }
}

/** The least that an index costs: look, set, and delete the oldest. */
const mapStep = (held: number) => {
  const index = new Map<number, number>()
  const ring = new Ring<Numbered>()
  let position = 0
  return (batch: ReadonlyArray<Numbered>) => {
    if (index.size + batchSize > held) { for (const { id } of ring.takeUpTo(batchSize)) index.delete(id) }
    for (const item of batch) {
      if (index.get(item.id) !== undefined) throw new Error("a key came twice")
      index.set(item.id, position++)
      ring.push(item)
    }
  }
}

export const coalescing: Effect.Effect<Plan> = Effect.gen(function*() {
  const cases = yield* Effect.all([
    ringCase,
    offerAndTake("coalesceByKey, distinct keys", batchSize),
    offerAndTake("coalesceByKey, 10 keys", batchSize / 10)
  ])
  const nearTheRing = { atMost: 8 }
  return {
    cases: [
      ...cases,
      streaming("coalesceByKey, capacity 100", batchSize, queueStep),
      streaming("coalesceByKey, capacity 1,000,000, 100 held", batchSize, (held) => queueStep(held, large)),
      streaming("coalesceByKey, capacity 1,000,000", large, queueStep),
      streaming("Map, 100 keys", batchSize, mapStep),
      streaming("Map, 1,000,000 keys", large, mapStep)
    ],
    ratios: [
      timesItsTime(
        "coalesceByKey, distinct keys, against the plain ring",
        "coalesceByKey, distinct keys",
        "plain ring, items with keys",
        nearTheRing
      ),
      timesItsTime(
        "coalesceByKey, repeated keys, against the plain ring",
        "coalesceByKey, 10 keys",
        "plain ring, items with keys",
        nearTheRing
      ),
      timesItsTime(
        "coalesceByKey per item, capacity 1,000,000 against 100, 100 held",
        "coalesceByKey, capacity 1,000,000, 100 held",
        "coalesceByKey, capacity 100",
        { atMost: 1.5 }
      ),
      timesItsTime(
        "coalesceByKey per item, capacity 1,000,000 against 100, full",
        "coalesceByKey, capacity 1,000,000",
        "coalesceByKey, capacity 100",
        { atMost: 1.5 }
      ),
      timesItsTime("a bare Map and ring per item, 1,000,000 keys against 100", "Map, 1,000,000 keys", "Map, 100 keys"),
      timesItsTime(
        "coalesceByKey of a million items, against a bare Map and ring",
        "coalesceByKey, capacity 1,000,000",
        "Map, 1,000,000 keys"
      )
    ]
  }
})
