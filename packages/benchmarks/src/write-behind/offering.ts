/**
 * `offer` as an Effect, in a generator loop: not full, where 100 are taken after each 100; and full, where nothing is
 * taken and each offer makes the queue slide.
 */
import { Backpressure, PolicyQueue } from "@sluice/core"
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { type Plan, timed, timesAsFast, timesItsTime } from "../Benchmark.ts"
import { batchSize, expectCount, makeItems } from "./items.ts"
import { Ring } from "./Ring.ts"

const capacity = 1_000
const items = makeItems(batchSize)
const batches = 1_000
const operations = batches * batchSize

/** Offers batches, one item after the other, and takes each. */
const loop = (offer: (item: unknown) => Effect.Effect<unknown>, take: Effect.Effect<number>) =>
  Effect.gen(function*() {
    let taken = 0
    for (let batch = 0; batch < batches; batch++) {
      for (const item of items) yield* offer(item)
      taken += yield* take
    }
    return taken
  })

const notFull = (name: string, offer: (item: unknown) => Effect.Effect<unknown>, take: Effect.Effect<number>) =>
  timed(name, operations, Effect.map(loop(offer, take), (taken) => expectCount(name, taken, operations)))

const full = (name: string, offer: (item: unknown) => Effect.Effect<unknown>, take: Effect.Effect<number>) =>
  timed(name, operations, Effect.map(loop(offer, take), (taken) => expectCount(name, taken, 0)))

const makeQueue = Effect.orDie(PolicyQueue.make<unknown>({ policy: Backpressure.dropOldest, capacity }))

const nothing = Effect.succeed(0)

export const offering: Effect.Effect<Plan, never, Scope.Scope> = Effect.gen(function*() {
  const queue = yield* makeQueue
  const fullQueue = yield* makeQueue
  const sliding = yield* Queue.sliding<unknown>(capacity)
  const fullSliding = yield* Queue.sliding<unknown>(capacity)
  const box = yield* Mailbox.make<unknown>({ capacity, strategy: "sliding" })
  const ring = new Ring<unknown>()
  const fullRing = new Ring<unknown>()
  for (let i = 0; i < capacity; i++) {
    fullQueue.unsafeOffer(i)
    Queue.unsafeOffer(fullSliding, i)
    fullRing.push(i)
  }
  const fast = { atLeast: 1.5 }
  const nearTheFloor = { atMost: 1.6 }
  return {
    cases: [
      notFull(
        "offer",
        (item) => queue.offer(item) as Effect.Effect<unknown>,
        Effect.sync(() => queue.unsafeTakeUpTo(batchSize).length)
      ),
      full("offer while full", (item) => fullQueue.offer(item) as Effect.Effect<unknown>, nothing),
      notFull(
        "Queue.sliding offer",
        (item) => Queue.offer(sliding, item),
        Effect.map(Queue.takeUpTo(sliding, batchSize), (taken) => taken.length)
      ),
      full("Queue.sliding offer, sliding", (item) => Queue.offer(fullSliding, item), nothing),
      notFull(
        "Effect.sync(ring.push)",
        (item) => Effect.sync(() => ring.push(item)),
        Effect.sync(() => ring.takeUpTo(batchSize).length)
      ),
      full(
        "Effect.sync(ring.push and shift)",
        (item) =>
          Effect.sync(() => {
            fullRing.takeUpTo(1)
            fullRing.push(item)
          }),
        nothing
      ),
      notFull("Mailbox offer", (item) => box.offer(item), Effect.map(box.takeAll, ([taken]) => taken.length))
    ],
    ratios: [
      timesAsFast("offer, not full, against Queue.sliding", "offer", "Queue.sliding offer", fast),
      timesItsTime("offer, not full, against Effect.sync(ring.push)", "offer", "Effect.sync(ring.push)", nearTheFloor),
      timesAsFast(
        "offer, full and sliding, against Queue.sliding",
        "offer while full",
        "Queue.sliding offer, sliding",
        fast
      ),
      timesItsTime(
        "offer, full and sliding, against Effect.sync(ring.shift, ring.push)",
        "offer while full",
        "Effect.sync(ring.push and shift)",
        nearTheFloor
      ),
      timesAsFast("offer, not full, against Mailbox", "offer", "Mailbox offer")
    ]
  }
})
