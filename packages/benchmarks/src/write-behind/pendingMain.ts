/**
 * Fills a queue with a million items that exist already, and prints by how many bytes for each the heap has grown.
 * A program: `node --expose-gc pendingMain.js <contender>`.
 */
import { Backpressure, PolicyQueue, WriteBehind } from "@sluice/core"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { expectCount } from "./items.ts"

const count = 1_000_000

interface Item {
  readonly id: number
}

const latest = Backpressure.coalesceByKey((item: Item) => item.id)

const policyQueue = (policy: Backpressure.Policy<Item>, capacity: number) =>
  Effect.map(Effect.orDie(PolicyQueue.make<Item>({ policy, capacity })), (queue) => ({
    offer: (item: Item) => queue.unsafeOffer(item),
    length: Effect.sync(() => queue.unsafeLength())
  }))

const contenders = {
  "Queue.sliding": (capacity: number) =>
    Effect.map(Queue.sliding<Item>(capacity), (queue) => ({
      offer: (item: Item) => Queue.unsafeOffer(queue, item),
      length: Queue.size(queue)
    })),
  dropOldest: (capacity: number) => policyQueue(Backpressure.dropOldest, capacity),
  coalesceByKey: (capacity: number) => policyQueue(latest, capacity),
  WriteBehind: (capacity: number) =>
    Effect.map(
      Effect.orDie(WriteBehind.make<Item, never, never>({ name: "pending", capacity, flush: () => Effect.void })),
      (queue) => ({ offer: (item: Item) => queue.unsafeOffer(item), length: queue.depth })
    )
}

export type Contender = keyof typeof contenders

const heapUsed = (): number => {
  globalThis.gc!()
  globalThis.gc!()
  return process.memoryUsage().heapUsed
}

// One fiber, which never makes way: no shard has its turn before the heap has been looked at.
const program = Effect.scoped(Effect.gen(function*() {
  const contender = contenders[process.argv[2] as Contender]
  const items = Array.from({ length: count }, (_, id): Item => ({ id }))
  // Once for nothing, so that what is made only once is there.
  const first = yield* contender(1)
  first.offer(items[0])
  const queue = yield* contender(count)
  const before = heapUsed()
  for (const item of items) queue.offer(item)
  const after = heapUsed()
  expectCount("pending", yield* queue.length, count)
  // Looked at once more, so that the array has not been collected and does not count as memory that was given back.
  expectCount("pending", items.length, count)
  process.stdout.write(String((after - before) / count))
}))

// A drain of a million items is nobody's concern here.
process.exit(await Effect.runPromise(Effect.as(program, 0)))
