import { BackingQueue, Backpressure, PolicyQueue, type QueueError } from "@sluice/core"
import type * as SeededRun from "@sluice/core/testing/SeededRun"
import * as SeededScheduler from "@sluice/core/testing/SeededScheduler"
import { Cause, Effect, Exit, Fiber, Option, Queue } from "effect"
import { describe, expect, it } from "vitest"
import { atLeast, forSeeds } from "./support/campaigns.ts"

// Random producers, consumers, interruptions, timeouts and closings, under thousands of schedules. What became of each
// item is known from what the callers were told; all of it must agree, item by item.

interface Item {
  readonly id: number
  readonly producer: number
  readonly key: string
  readonly weight: number
}

type Fate =
  | "taken"
  | "dropped"
  | "coalesced"
  | "refused"
  /** Interrupted before it was offered, or when it had just been refused: the caller cannot tell. */
  | "out"

interface Setting {
  readonly policy: Backpressure.Policy<Item>
  readonly weighed: boolean
  /** Whether the policy refuses when the queue is full, at once or after a time. */
  readonly refuses?: boolean
  /** Whether offers are interrupted. A strategy of one's own alone knows whether the item of such an offer is in. */
  readonly interrupts?: boolean
  readonly capacities: ReadonlyArray<number>
}

class Violation extends Error {}

const fail = (message: string): never => {
  throw new Violation(message)
}

/** The choices of one run. */
const choices = (seed: number) => {
  const next = SeededScheduler.mulberry32(seed ^ 0x5eed)
  const below = (limit: number) => next() % limit
  const chance = (probability: number) => next() < probability * 2 ** 32
  return { below, chance }
}

const program = ({ capacities, interrupts = true, policy, refuses = false, weighed }: Setting) => (seed: number) =>
  Effect.gen(function*() {
    const { below, chance } = choices(seed)
    const capacity = capacities[below(capacities.length)]
    const closesEarly = chance(0.3)
    const canFail = closesEarly || refuses
    const sharesKeys = chance(0.3)
    const fates = new Map<Item, Fate>()
    const items: Array<Item> = []
    const taken: Array<Item> = []
    /** Items that have replaced another one. */
    const newcomers = new Set<Item>()
    const interruptions: Array<{ readonly taken: number; readonly notTaken: ReadonlyArray<Item> }> = []

    const settle = (item: Item, fate: Fate) => {
      const before = fates.get(item)
      if (before !== undefined) fail(`item ${item.id} was ${before}, and then ${fate}`)
      fates.set(item, fate)
    }
    const queue = yield* PolicyQueue.make<Item>({
      policy,
      capacity,
      weigh: weighed ? (item) => item.weight : undefined,
      onDrop: (item) => {
        settle(item, "dropped")
        checkBound()
      },
      onCoalesce: (replaced, item) => {
        settle(replaced, "coalesced")
        newcomers.add(item)
        checkBound()
      },
      onInterrupt: (taken, notTaken) => interruptions.push({ taken, notTaken })
    })
    const checkBound = () => {
      if (queue.unsafeLength() > capacity) fail(`${queue.unsafeLength()} are held, more than ${capacity}`)
    }
    const take = (limit: number) => {
      checkBound()
      for (const item of queue.unsafeTakeUpTo(limit)) {
        settle(item, "taken")
        taken.push(item)
      }
    }
    const make = (producer: number): Item => {
      const item = {
        id: items.length,
        producer,
        key: `${sharesKeys ? "" : producer}/${below(2)}`,
        weight: 1 + below(weighed ? capacity : 1)
      }
      items.push(item)
      return item
    }

    /** What the caller was told, against what has become of the items. Looked at when all is over. */
    const verdicts: Array<() => void> = []
    const isIn = (item: Item) => ["taken", "dropped", "coalesced"].includes(fates.get(item) ?? "")
    const refused = (offered: ReadonlyArray<Item>, from: number) => {
      for (const [index, item] of offered.entries()) {
        if (index < from && !isIn(item)) fail(`item ${item.id} was taken, but is ${fates.get(item) ?? "lost"}`)
        if (index >= from) settle(item, "refused")
      }
    }
    const judge = (
      offered: ReadonlyArray<Item>,
      exit: Exit.Exit<PolicyQueue.Taken, QueueError.OfferError<Item>>
    ) => {
      if (Exit.isSuccess(exit)) {
        const { accepted, coalesced, dropped } = exit.value
        if (accepted + coalesced + dropped !== offered.length) fail("the counts of the call do not add up")
        const replacing = offered.filter((item) => newcomers.has(item)).length
        if (coalesced !== replacing) fail(`${coalesced} are said to be coalesced, but ${replacing} were`)
        if (dropped > offered.filter((item) => fates.get(item) === "dropped").length) {
          fail("fewer were dropped than said")
        }
        return refused(offered, offered.length)
      }
      const failure = Cause.failureOption(exit.cause)
      if (Option.isSome(failure)) {
        const { notTaken, taken } = failure.value
        if (notTaken.length + taken !== offered.length) fail("the error does not add up")
        if (notTaken.some((item, index) => offered[taken + index] !== item)) fail("the error carries the wrong items")
        return refused(offered, taken)
      }
      if (!Cause.isInterruptedOnly(exit.cause)) fail(Cause.pretty(exit.cause))
      const told = interruptions.find(({ notTaken }) =>
        notTaken.length > 0 && notTaken[0].id >= offered[0].id
        && notTaken[0].id <= offered[offered.length - 1].id
      )
      if (told !== undefined) {
        if (told.taken + told.notTaken.length !== offered.length) fail("the interruption does not add up")
        return refused(offered, told.taken)
      }
      // It was interrupted before it began, or when it was over: only then can part of it be in, with an error that
      // nobody has heard any more.
      const taken = offered.filter(isIn).length
      if (taken > 0 && taken < offered.length && !canFail) fail(`nobody was told that ${taken} items are in`)
      for (const [index, item] of offered.entries()) if (index >= taken) settle(item, "out")
    }

    const offer = (producer: number) => {
      const count = chance(0.4) ? 1 + below(4) : 1
      const offered = Array.from({ length: count }, () => make(producer))
      if (count === 1 && chance(0.3)) {
        return Effect.sync(() => {
          const outcome = queue.unsafeOffer(offered[0])
          verdicts.push(() => refused(offered, outcome === "full" || outcome === "closed" ? 0 : 1))
        })
      }
      const call = count === 1
        ? Effect.map(queue.offer(offered[0]), (outcome) => ({ accepted: 0, coalesced: 0, dropped: 0, [outcome]: 1 }))
        : queue.offerAll(offered)
      const judged = Effect.tap(
        Effect.exit(Effect.interruptible(call)),
        (exit) => Effect.sync(() => verdicts.push(() => judge(offered, exit)))
      )
      if (!chance(0.4) || !interrupts) {
        return judged
      }
      const delay = below(4)
      return Effect.gen(function*() {
        // The verdict must be heard also of an offer that is interrupted, even before it begins.
        const fiber = yield* Effect.uninterruptible(Effect.fork(judged))
        yield* delay === 3 ? Effect.sleep(20) : Effect.repeatN(Effect.yieldNow(), delay)
        yield* Fiber.interrupt(fiber)
      })
    }
    const producers = Array.from(
      { length: 3 },
      (_, producer) =>
        Effect.forEach(Array.from({ length: 1 + below(5) }), () => Effect.suspend(() => offer(producer)), {
          discard: true
        })
    )

    const producing = yield* Effect.fork(Effect.all(producers, { concurrency: "unbounded", discard: true }))
    const consuming = yield* Effect.fork(Effect.forever(
      Effect.zipRight(
        Effect.sync(() => take(1 + below(2))),
        Effect.sleep(5 + below(30))
      )
    ))
    if (closesEarly) {
      yield* Effect.sleep(below(60))
      yield* queue.close
    }
    yield* Fiber.await(producing)
    yield* Fiber.interrupt(consuming)
    if (chance(0.5)) {
      take(Infinity)
    }
    yield* queue.shutdown
    const counts = queue.unsafeCounts()

    for (const verdict of verdicts) {
      verdict()
    }
    const of = (fate: Fate) => items.filter((item) => fates.get(item) === fate).length
    for (const item of items) if (!fates.has(item)) fail(`nothing is known of item ${item.id}`)
    const refusedOut = counts.refused - of("refused")
    if (refusedOut < 0 || refusedOut > of("out")) fail(`refused is counted ${counts.refused}, but is ${of("refused")}`)
    const expected = {
      offered: items.length - of("out") + refusedOut,
      coalesced: of("coalesced"),
      dropped: of("dropped"),
      taken: of("taken"),
      held: 0
    }
    for (const name of Object.keys(expected) as Array<keyof typeof expected>) {
      if (counts[name] !== expected[name]) fail(`${name} is counted ${counts[name]}, but is ${expected[name]}`)
    }
    // Each producer offers one item after the other, but for those whose offer it interrupts: it waits for those too.
    const lines = new Map<string, number>()
    for (const { id, key, producer } of taken) {
      const line = policy._tag === "coalesceByKey" ? key : String(producer)
      const last = lines.get(line) ?? -1
      if (id < last && !(sharesKeys && line === key)) fail(`item ${id} came out after item ${last}`)
      lines.set(line, id)
    }
    return counts
  })

const check = (run: SeededRun.Run<PolicyQueue.Counts, unknown>) => {
  if (Exit.isFailure(run.exit)) throw new Error(Cause.pretty(run.exit.cause))
  if (run.leftFibers.length > 0) throw new Error(`${run.leftFibers.length} fibers are left`)
  if (run.leftTimers > 0) throw new Error(`${run.leftTimers} timers are left`)
}

/** A strategy of one's own, which refuses, and reports what is left. */
const own: Backpressure.Policy<unknown> = {
  _tag: "own",
  pair: <A>(options: Backpressure.PairOptions<A>): Backpressure.Pair<A> => {
    const backing = BackingQueue.refusing(options)
    return {
      backing,
      strategy: {
        surplusSize: () => 0,
        handleSurplus: () => Effect.as(Effect.yieldNow(), false),
        onRoom: () => {},
        shutdown: Effect.sync(() => {
          for (const item of backing.pollUpTo(Infinity)) options.report.dropped(item, "shutdown")
        })
      }
    }
  }
}

const settings: ReadonlyArray<readonly [name: string, setting: Setting]> = [
  ["suspend", { policy: Backpressure.suspend(), weighed: false, capacities: [1, 2, 3] }],
  ["suspend, with weights", { policy: Backpressure.suspend(), weighed: true, capacities: [1, 2, 3, 5] }],
  ["suspend, with a timeout", {
    policy: Backpressure.suspend({ timeout: "15 millis" }),
    weighed: true,
    refuses: true,
    capacities: [1, 2, 3]
  }],
  ["reject", { policy: Backpressure.reject, weighed: false, refuses: true, capacities: [1, 2, 3] }],
  ["a strategy of one's own", {
    policy: own,
    weighed: true,
    refuses: true,
    interrupts: false,
    capacities: [1, 2, 3]
  }],
  ["dropNewest", { policy: Backpressure.dropNewest, weighed: true, capacities: [1, 2, 3] }],
  ["dropOldest", { policy: Backpressure.dropOldest, weighed: true, capacities: [1, 2, 3] }],
  ["coalesceByKey", {
    policy: Backpressure.coalesceByKey((item: Item) => item.key),
    weighed: false,
    capacities: [1, 2, 3]
  }],
  ["coalesceByKey, which waits when full", {
    policy: Backpressure.coalesceByKey((item: Item) => item.key, { whenFull: Backpressure.suspend() }),
    weighed: false,
    capacities: [1, 2, 3]
  }],
  ["coalesceByKey, which waits for a time when full", {
    policy: Backpressure.coalesceByKey((item: Item) => item.key, {
      whenFull: Backpressure.suspend({ timeout: "15 millis" })
    }),
    weighed: false,
    refuses: true,
    capacities: [1, 2]
  }],
  ["coalesceByKey, which rejects when full", {
    policy: Backpressure.coalesceByKey((item: Item) => item.key, { whenFull: Backpressure.reject }),
    weighed: false,
    refuses: true,
    capacities: [1, 2]
  }]
]

describe.each(settings)("under random schedules, %s", (_, setting) => {
  it("loses no item, tells each caller the truth, keeps order, and nothing hangs or leaks", async () => {
    const summary = await forSeeds(program(setting), { runs: 250, timerProbability: 0.05 }, check)
    expect(summary.schedules).toBeGreaterThanOrEqual(atLeast(240))
  })
})

describe("a consumer that waits in take, under random schedules", () => {
  it("gets every item once and in order, while producers wait and are interrupted", async () => {
    const consuming = (seed: number) =>
      Effect.gen(function*() {
        const { below, chance } = choices(seed)
        let gone = 0
        const queue = yield* PolicyQueue.make<number>({
          policy: Backpressure.suspend(),
          capacity: 1 + below(2),
          onInterrupt: (_, notTaken) => {
            gone += notTaken.length
          }
        })
        const got: Array<number> = []
        const consumer = yield* Effect.fork(
          Effect.forever(Effect.map(Queue.take(queue.dequeue), (item) => got.push(item)))
        )
        let offered = 0
        for (let item = 0; item < 12; item += 3) {
          const fiber = yield* Effect.fork(queue.offerAll([item, item + 1, item + 2]))
          if (chance(0.3)) yield* Fiber.interrupt(fiber)
          else yield* Fiber.join(fiber)
          offered = queue.unsafeCounts().offered
        }
        while (queue.unsafeLength() > 0 || got.length < offered - gone) yield* Effect.sleep(1)
        yield* Fiber.interrupt(consumer)
        const counts = queue.unsafeCounts()
        if (counts.taken !== got.length) fail(`taken is counted ${counts.taken}, but is ${got.length}`)
        if (counts.refused !== gone) fail(`refused is counted ${counts.refused}, but is ${gone}`)
        if (got.some((item, index) => index > 0 && item <= got[index - 1])) fail(`out of order: ${got.join()}`)
        return counts
      })
    await forSeeds(consuming, { runs: 500 }, check)
  })
})
