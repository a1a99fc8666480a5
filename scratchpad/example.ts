// A place to try things: `npm --prefix scratchpad run example`, after `npx tsc -b`. Only this file is kept in git.
import { Backpressure, PolicyQueue } from "@sluice/core"
import { Effect } from "effect"

const program = Effect.gen(function*() {
  const queue = yield* PolicyQueue.make<number>({ policy: Backpressure.dropOldest, capacity: 2 })
  yield* queue.offerAll([1, 2, 3])
  yield* Effect.log(queue.unsafeTakeUpTo(10), queue.unsafeCounts())
})

await Effect.runPromise(program)
