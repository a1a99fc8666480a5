/**
 * `PolicyQueue.unsafeOffer` and taking, synchronously: batches of 100 are offered and taken again, and once a queue
 * that is full is offered more.
 */
import { Backpressure, PolicyQueue } from "@sluice/core"
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import fastq from "fastq"
import { type Case, type Plan, timed, timedSync, timesAsFast } from "../Benchmark.ts"
import { batchSize, expectCount, makeItems } from "./items.ts"
import { Ring } from "./Ring.ts"

const capacity = 1_000
const items = makeItems(batchSize)
const batches = 5_000
const operations = batches * batchSize
const slowBatches = 1_000
const slowOperations = slowBatches * batchSize

const offerAndTake = (name: string, policy: Backpressure.Policy<unknown>): Effect.Effect<Case> =>
  Effect.map(Effect.orDie(PolicyQueue.make({ policy, capacity })), (queue) =>
    timedSync(name, operations, () => {
      let accepted = 0
      let taken = 0
      for (let batch = 0; batch < batches; batch++) {
        for (const item of items) if (queue.unsafeOffer(item) === "accepted") accepted += 1
        taken += queue.unsafeTakeUpTo(batchSize).length
      }
      expectCount(name, accepted, operations)
      expectCount(name, taken, operations)
      // The counts are part of what is compared: that they are right is looked at once a sample.
      expectCount(name, queue.unsafeCounts().taken % operations, 0)
    }))

const offerWhileFull = (name: string, policy: Backpressure.Policy<unknown>): Effect.Effect<Case> =>
  Effect.map(Effect.orDie(PolicyQueue.make({ policy, capacity })), (queue) => {
    for (let i = 0; i < capacity; i++) queue.unsafeOffer(items[i % batchSize])
    return timedSync(name, operations, () => {
      let outcomes = 0
      for (let batch = 0; batch < batches; batch++) {
        for (const item of items) outcomes += queue.unsafeOffer(item).length
      }
      if (outcomes === 0) throw new Error("no outcomes")
      expectCount(name, queue.unsafeLength(), capacity)
    })
  })

/** The same through the Effect Queue's own `takeUpTo`, as somebody would who has only the dequeue. */
const takeFromDequeue = Effect.map(
  Effect.orDie(PolicyQueue.make({ policy: Backpressure.dropOldest, capacity })),
  (queue) =>
    timed(
      "dropOldest, Queue.takeUpTo",
      operations,
      Effect.gen(function*() {
        let taken = 0
        for (let batch = 0; batch < batches; batch++) {
          for (const item of items) queue.unsafeOffer(item)
          taken += (yield* Queue.takeUpTo(queue.dequeue, batchSize)).length
        }
        expectCount("dropOldest, Queue.takeUpTo", taken, operations)
      })
    )
)

const effectQueue = Effect.map(Queue.sliding<unknown>(capacity), (queue) =>
  timed(
    "Queue.sliding unsafeOffer",
    slowOperations,
    Effect.gen(function*() {
      let accepted = 0
      let taken = 0
      for (let batch = 0; batch < slowBatches; batch++) {
        for (const item of items) if (Queue.unsafeOffer(queue, item)) accepted += 1
        taken += (yield* Queue.takeUpTo(queue, batchSize)).length
      }
      expectCount("Queue.sliding", accepted, slowOperations)
      expectCount("Queue.sliding", taken, slowOperations)
    })
  ))

/** Only `offer` slides: `unsafeOffer` never asks the strategy. */
const effectQueueSlides = Effect.map(
  Effect.tap(Queue.sliding<unknown>(capacity), Queue.offerAll(Array.from({ length: capacity }))),
  (queue) =>
    timed(
      "Queue.sliding offer while full",
      slowOperations,
      Effect.gen(function*() {
        for (let batch = 0; batch < slowBatches; batch++) {
          for (const item of items) yield* Queue.offer(queue, item)
        }
        expectCount("Queue.sliding", yield* Queue.size(queue), capacity)
      })
    )
)

const effectQueueRefuses = Effect.map(
  Effect.tap(Queue.dropping<unknown>(capacity), Queue.offerAll(Array.from({ length: capacity }))),
  (queue) =>
    timedSync("Queue.dropping unsafeOffer while full", operations, () => {
      let refused = 0
      for (let batch = 0; batch < batches; batch++) {
        for (const item of items) if (!Queue.unsafeOffer(queue, item)) refused += 1
      }
      expectCount("Queue.dropping", refused, operations)
    })
)

const mailbox = Effect.map(Mailbox.make<unknown>({ capacity, strategy: "sliding" }), (box) =>
  timed(
    "Mailbox",
    operations,
    Effect.gen(function*() {
      let taken = 0
      for (let batch = 0; batch < batches; batch++) {
        for (const item of items) box.unsafeOffer(item)
        taken += (yield* box.takeAll)[0].length
      }
      expectCount("Mailbox", taken, operations)
    })
  ))

const others = Effect.sync(() => {
  const ring = new Ring<unknown>()
  let array: Array<unknown> = []
  let worked = 0
  const worker = fastq((_: unknown, done) => {
    worked += 1
    done(null)
  }, 1)
  return [
    timedSync("plain ring", operations, () => {
      let taken = 0
      for (let batch = 0; batch < batches; batch++) {
        for (const item of items) ring.push(item)
        taken += ring.takeUpTo(batchSize).length
      }
      expectCount("plain ring", taken, operations)
    }),
    timedSync("plain array", operations, () => {
      let taken = 0
      for (let batch = 0; batch < batches; batch++) {
        for (const item of items) array.push(item)
        taken += array.length
        array = []
      }
      expectCount("plain array", taken, operations)
    }),
    // Paused, so that it queues: else it would hand each task to the worker at once.
    timedSync("fastq", operations, () => {
      worked = 0
      for (let batch = 0; batch < batches; batch++) {
        worker.pause()
        for (const item of items) worker.push(item)
        worker.resume()
      }
      expectCount("fastq", worked, operations)
    })
  ]
})

export const policies: Effect.Effect<Plan, never, Scope.Scope> = Effect.gen(function*() {
  const cases = yield* Effect.all([
    effectQueue,
    offerAndTake("dropOldest", Backpressure.dropOldest),
    offerAndTake("suspend", Backpressure.suspend()),
    offerAndTake("reject", Backpressure.reject),
    offerAndTake("dropNewest", Backpressure.dropNewest),
    takeFromDequeue,
    mailbox,
    effectQueueSlides,
    offerWhileFull("dropOldest while full", Backpressure.dropOldest),
    effectQueueRefuses,
    offerWhileFull("dropNewest while full", Backpressure.dropNewest),
    offerWhileFull("reject while full", Backpressure.reject)
  ])
  const fast = { atLeast: 4 }
  const unsafeOffer = "unsafeOffer and take, "
  return {
    cases: [...cases, ...yield* others],
    ratios: [
      timesAsFast(`${unsafeOffer}dropOldest, against Queue.sliding`, "dropOldest", "Queue.sliding unsafeOffer", fast),
      timesAsFast(`${unsafeOffer}suspend, against Queue.sliding`, "suspend", "Queue.sliding unsafeOffer", fast),
      timesAsFast(`${unsafeOffer}reject, against Queue.sliding`, "reject", "Queue.sliding unsafeOffer", fast),
      timesAsFast(`${unsafeOffer}dropNewest, against Queue.sliding`, "dropNewest", "Queue.sliding unsafeOffer", fast),
      timesAsFast(
        `${unsafeOffer}dropOldest through Queue.takeUpTo, against Queue.sliding`,
        "dropOldest, Queue.takeUpTo",
        "Queue.sliding unsafeOffer"
      ),
      timesAsFast(
        "unsafeOffer while full, dropOldest evicts, against Queue.sliding's offer",
        "dropOldest while full",
        "Queue.sliding offer while full",
        fast
      ),
      timesAsFast(
        "unsafeOffer while full, dropNewest drops, against Queue.dropping's unsafeOffer",
        "dropNewest while full",
        "Queue.dropping unsafeOffer while full"
      ),
      timesAsFast(
        "unsafeOffer while full, reject refuses, against Queue.dropping's unsafeOffer",
        "reject while full",
        "Queue.dropping unsafeOffer while full"
      ),
      timesAsFast(`${unsafeOffer}dropOldest, against Mailbox`, "dropOldest", "Mailbox"),
      timesAsFast(`${unsafeOffer}dropOldest, against fastq`, "dropOldest", "fastq"),
      timesAsFast(`${unsafeOffer}dropOldest, against the plain ring`, "dropOldest", "plain ring"),
      timesAsFast(`${unsafeOffer}dropOldest, against a plain array`, "dropOldest", "plain array")
    ]
  }
})
