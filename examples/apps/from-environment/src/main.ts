// Puts something into each queue, and prints what became of it.
import { NodeRuntime } from "@effect/platform-node"
import { Array, Console, Effect } from "effect"
import { Audit, Emails, Orders, QueuesLive, Stocks } from "./Queues.ts"

const items = Array.makeBy(50, (i) => `${i}`)
const unbounded = { concurrency: "unbounded" } as const

const program = Effect.gen(function*() {
  const { audit, emails, orders, stocks } = yield* Effect.all({
    audit: Audit,
    emails: Emails,
    orders: Orders,
    stocks: Stocks
  })

  const audited = yield* audit.offerAll(items).pipe(
    Effect.map(({ accepted, dropped }) => ({ accepted, dropped, full: false })),
    Effect.catchTag("QueueFull", ({ taken }) => Effect.succeed({ accepted: taken, dropped: 0, full: true }))
  )

  yield* emails.offerAll(items.slice(0, 5))
  yield* emails.flush

  const ordered = yield* Effect.forEach(items, () => Effect.either(orders.submit("tea")), unbounded)
  const full = ordered.filter((answer) => answer._tag === "Left" && answer.left._tag === "QueueFull")

  yield* Effect.forEach(items, () => stocks.modify("tea", (stock) => [stock, stock + 1]), unbounded)

  yield* Console.log(JSON.stringify({
    audit: audited,
    emails: { pending: (yield* emails.stats).pending.items },
    orders: { full: full.length },
    stocks: { batches: (yield* stocks.metrics).batches }
  }))
})

program.pipe(Effect.provide(QueuesLive), NodeRuntime.runMain)
