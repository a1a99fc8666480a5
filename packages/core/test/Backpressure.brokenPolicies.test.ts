import { BackingQueue, type Backpressure, Strategy } from "@sluice/core"
import { PolicyLaws, PolicyModel } from "@sluice/core/testing"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { describe, expect, it } from "vitest"
import { ofEffect } from "./support/effectStrategy.ts"

// A law that no policy can break proves nothing. Each policy below has one bug, and the law that forbids it must find
// it; so the first two are right, and must pass.

type Item = PolicyLaws.Item
type Options = Backpressure.PairOptions<Item>

/** A plain queue over an array, which drops the oldest. Each bug overrides one method. */
class ArrayQueue implements BackingQueue.BackingQueue<Item> {
  items: Array<Item> = []
  used = 0
  readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  weigh(item: Item): number {
    return this.options.weigh?.(item) ?? 1
  }

  fits(item: Item): boolean {
    return this.used + this.weigh(item) <= this.options.capacity
  }

  push(item: Item): void {
    this.items.push(item)
    this.used += this.weigh(item)
  }

  shift(): Item {
    const item = this.items.shift()!
    this.used -= this.weigh(item)
    return item
  }

  dropped(item: Item): void {
    this.options.report.dropped(item, "drop-oldest")
  }

  offer(item: Item): boolean {
    const evicted: Array<Item> = []
    while (!this.fits(item)) evicted.push(this.shift())
    this.push(item)
    for (const old of evicted) this.dropped(old)
    return true
  }

  offerAll(items: Iterable<Item>): ReadonlyArray<Item> {
    return Array.from(items).filter((item) => !this.offer(item))
  }

  poll<Default>(whenEmpty: Default): Item | Default {
    return this.items.length === 0 ? whenEmpty : this.shift()
  }

  pollUpTo(limit: number): ReadonlyArray<Item> {
    return Array.from({ length: Math.min(limit, this.items.length) }, () => this.shift())
  }

  capacity(): number {
    return this.options.capacity
  }

  length(): number {
    return this.items.length
  }
}

const policyOf = (
  _tag: string,
  makeBacking: (options: Options) => BackingQueue.BackingQueue<Item>,
  makeStrategy = (backing: BackingQueue.BackingQueue<Item>, { report }: Options): Strategy.Strategy<Item> =>
    Strategy.answering({ backing, report })
): Backpressure.Policy<Item> => ({
  _tag,
  pair: (options) => {
    const backing = makeBacking(options as never)
    return { backing, strategy: makeStrategy(backing, options as never) } as never
  }
})

const capacity = 3
const weighed = {
  items: PolicyLaws.items({ keys: ["a", "b", "c", "d"], weights: [1, 2, 3] }),
  weigh: (item: Item) => item.weight
}
const counted = { items: PolicyLaws.items({ keys: ["a", "b", "c", "d"] }) }
const key = (item: Item) => item.key

const failureOf = (check: () => void): PolicyLaws.LawFailure => {
  try {
    check()
  } catch (error) {
    if (error instanceof PolicyLaws.LawFailure) return error
    throw error
  }
  throw new Error("the bug was not found")
}

/** Coalesces over an array; `place` is where a key's index says that its item is. */
class CoalescingArray extends ArrayQueue {
  readonly index = new Map<unknown, number>()

  override offer(item: Item): boolean {
    const place = this.index.get(item.key)
    if (place === undefined) {
      super.offer(item)
      this.index.set(item.key, this.items.length - 1)
      return true
    }
    const replaced = this.items[place]
    this.items[place] = item
    this.options.report.coalesced(replaced, item)
    return true
  }

  override shift(): Item {
    const item = super.shift()
    this.index.delete(item.key)
    for (const [key, place] of this.index) this.index.set(key, place - 1)
    return item
  }
}

/** Overrides some methods of an object. */
const withMethods = <T extends object>(target: T, methods: Partial<T>): T =>
  new Proxy(target, {
    get: (_, name) => {
      if (name in methods) return Reflect.get(methods, name)
      const value = Reflect.get(target, name, target)
      return typeof value === "function" ? value.bind(target) : value
    }
  })

/** What waits, waits as in Effect's bounded queue, and what is left is reported. Not for weights: it would loop. */
const waiting = (backing: BackingQueue.BackingQueue<Item>, { report }: Options): Strategy.Strategy<Item> => {
  const strategy = ofEffect(Queue.backPressureStrategy<Item>(), backing)
  const left = Effect.sync(() => {
    for (const item of backing.pollUpTo(Infinity)) report.dropped(item, "shutdown")
  })
  return withMethods(strategy, { shutdown: strategy.shutdown.pipe(Effect.zipRight(left)) })
}

/** Whoever fits is let in, whatever came before it. Interrupted offers are let in as well, where `ghosts` is set. */
const overtaking = (ghosts: boolean) => (backing: BackingQueue.BackingQueue<Item>, { report }: Options) => {
  let waiters: Array<{ readonly item: Item; readonly resume: (isIn: Effect.Effect<boolean>) => void }> = []
  const wait = (item: Item) =>
    Effect.async<boolean>((resume) => {
      const waiter = { item, resume }
      waiters.push(waiter)
      return Effect.sync(() => {
        if (!ghosts) waiters = waiters.filter((other) => other !== waiter)
      })
    })
  const strategy = Strategy.answering<Item>({ backing, report })
  const end = Effect.sync(() => {
    for (const { resume } of waiters) resume(Effect.interrupt)
    waiters = []
  })
  return withMethods(strategy, {
    surplusSize: () => waiters.length,
    handleSurplus: (items) => Effect.every(items, (item) => backing.offer(item) ? Effect.succeed(true) : wait(item)),
    onRoom: () => {
      for (const waiter of waiters) {
        if (!backing.offer(waiter.item)) continue
        waiters = waiters.filter((other) => other !== waiter)
        waiter.resume(Effect.succeed(true))
      }
    },
    shutdown: Effect.zipRight(end, strategy.shutdown)
  })
}

describe("a policy of one's own that is right", () => {
  it("keeps every law", () => {
    const subject = { policy: policyOf("array", (options) => new ArrayQueue(options)), capacity }
    PolicyLaws.all({ ...subject, ...counted, model: PolicyModel.last<Item>({ capacity }) })
    PolicyLaws.all({ ...subject, ...weighed, model: PolicyModel.last({ capacity, weigh: weighed.weigh }) })
  })

  it("keeps every law where it coalesces", () => {
    const policy = policyOf("coalescing array", (options) => new CoalescingArray(options))
    const model = PolicyModel.latestOfEachKey<Item>({ key, whenFull: PolicyModel.last<Item>({ capacity }) })
    PolicyLaws.all({ policy, capacity, key, ...counted, model })
  })

  it("keeps every law where it waits with a strategy of Effect's", () => {
    const policy = policyOf("effect", (options) => BackingQueue.refusing(options), waiting)
    PolicyLaws.all({ policy, capacity, ...counted }, { runs: 300 })
  })
})

interface Planted {
  readonly bug: string
  readonly law: PolicyLaws.Law
  readonly policy: Backpressure.Policy<Item>
  readonly weighed?: boolean
  readonly key?: (item: Item) => Item["key"]
}

const backing = (bug: string, Broken: new(options: Options) => BackingQueue.BackingQueue<Item>) =>
  policyOf(bug, (options) => new Broken(options))

const planted: ReadonlyArray<Planted> = [
  {
    bug: "holds one more than its capacity",
    law: "bounded",
    policy: backing(
      "off by one",
      class extends ArrayQueue {
        override fits(item: Item) {
          return this.used + this.weigh(item) <= this.options.capacity + 1
        }
      }
    )
  },
  {
    bug: "counts items where it should count weight",
    law: "bounded",
    weighed: true,
    policy: backing(
      "weightless",
      class extends ArrayQueue {
        override weigh() {
          return 1
        }
      }
    )
  },
  {
    bug: "holds one less than its capacity",
    law: "weights",
    policy: backing(
      "one short",
      class extends ArrayQueue {
        override fits(item: Item) {
          return this.items.length === 0 || this.used + this.weigh(item) < this.options.capacity
        }
      }
    )
  },
  {
    bug: "forgets that what has left weighs nothing",
    law: "weights",
    weighed: true,
    policy: backing(
      "heavy memory",
      class extends ArrayQueue {
        override shift() {
          const item = super.shift()
          this.used += this.items.length === 0 ? -this.used : this.weigh(item) - 1
          return item
        }
      }
    )
  },
  {
    bug: "drops silently",
    law: "conservation",
    policy: backing(
      "silent",
      class extends ArrayQueue {
        override dropped() {}
      }
    )
  },
  {
    bug: "reports a drop twice",
    law: "conservation",
    policy: backing(
      "twice",
      class extends ArrayQueue {
        override dropped(item: Item) {
          super.dropped(item)
          super.dropped(item)
        }
      }
    )
  },
  {
    bug: "reports the new item in place of the one that it drops",
    law: "conservation",
    policy: backing(
      "wrong item",
      class extends ArrayQueue {
        override offer(item: Item) {
          if (!this.fits(item)) {
            this.shift()
            this.dropped(item)
          }
          this.push(item)
          return true
        }
      }
    )
  },
  {
    bug: "says that a dropped item is in",
    law: "conservation",
    policy: backing(
      "sliding lie",
      class extends ArrayQueue {
        override offer(item: Item) {
          if (this.fits(item)) this.push(item)
          else this.options.report.dropped(item, "drop-newest")
          return true
        }
      }
    )
  },
  {
    bug: "does not report what is left at the shutdown",
    law: "conservation",
    policy: policyOf(
      "forgetful",
      (options) => new ArrayQueue(options),
      (backing) => ofEffect(Queue.droppingStrategy(), backing)
    )
  },
  {
    bug: "gives the newest first",
    law: "order",
    policy: backing(
      "stack",
      class extends ArrayQueue {
        override poll<Default>(whenEmpty: Default) {
          if (this.items.length === 0) return whenEmpty
          this.items.unshift(this.items.pop()!)
          return this.shift()
        }
      }
    )
  },
  {
    bug: "gives items twice",
    law: "no-invention",
    policy: backing(
      "echo",
      class extends ArrayQueue {
        override pollUpTo(limit: number) {
          return this.items.slice(0, limit)
        }
      }
    )
  },
  {
    bug: "makes items up",
    law: "no-invention",
    policy: backing(
      "inventor",
      class extends ArrayQueue {
        override shift() {
          return { ...super.shift() }
        }
      }
    )
  },
  {
    bug: "keeps an index of slots, which goes stale when the head is dropped",
    law: "conservation",
    key,
    policy: backing(
      "stale index",
      class extends CoalescingArray {
        override shift() {
          const item = this.items.shift()!
          this.used -= 1
          this.index.delete(item.key)
          return item
        }
      }
    )
  },
  {
    bug: "moves an item that is replaced to the end",
    law: "order",
    key,
    policy: backing(
      "moves",
      class extends CoalescingArray {
        override offer(item: Item) {
          const replaced = this.items.find((queued) => queued.key === item.key)
          if (replaced === undefined) return super.offer(item)
          this.items = [...this.items.filter((queued) => queued !== replaced), item]
          for (const [place, queued] of this.items.entries()) this.index.set(queued.key, place)
          this.options.report.coalesced(replaced, item)
          return true
        }
      }
    )
  },
  {
    bug: "does not report what it replaces",
    law: "conservation",
    key,
    policy: policyOf("quiet", (options) => new CoalescingArray({ ...options, report: { ...quiet(options) } }))
  },
  {
    bug: "lets a light item overtake a heavy one that waits",
    law: "order",
    weighed: true,
    policy: policyOf("overtaking", (options) => BackingQueue.refusing(options), overtaking(false))
  },
  {
    bug: "forgets an offer that waits",
    law: "conservation",
    policy: policyOf(
      "lost wake-up",
      (options) => BackingQueue.refusing(options),
      (backing, options) => withMethods(waiting(backing, options), { onRoom: () => {} })
    )
  },
  {
    bug: "lets an item in although its offer was interrupted",
    law: "conservation",
    policy: policyOf("ghost", (options) => BackingQueue.refusing(options), overtaking(true))
  }
]

function quiet({ report }: Options) {
  return { dropped: report.dropped, coalesced: () => {} }
}

const lawOf: Record<PolicyLaws.Law, (subject: PolicyLaws.Subject<Item>) => void> = {
  bounded: PolicyLaws.bounded,
  order: PolicyLaws.order,
  "no-invention": PolicyLaws.noInvention,
  conservation: PolicyLaws.conservation,
  weights: PolicyLaws.weights,
  kept: (subject) => PolicyLaws.kept({ ...subject, model: PolicyModel.last<Item>({ capacity }) })
}

describe.each(planted)("a policy that $bug", ({ key, law, policy, weighed: isWeighed }) => {
  const subject: PolicyLaws.Subject<Item> = { policy, capacity, key, ...(isWeighed === true ? weighed : counted) }

  it(`is found by the law "${law}"`, () => {
    const failure = failureOf(() => lawOf[law](subject))
    expect(failure.law).toBe(law)
    expect(failure.message).toContain(`law "${law}" does not hold for policy "${policy._tag}" with capacity 3`)
    expect(failure.message).toContain(`seed ${failure.seed}`)
    expect(failure.message).toContain(failure.counterexample)
  })

  it("is found by all laws together", () => {
    expect(failureOf(() => PolicyLaws.all(subject)).policy).toBe(policy._tag)
  })
})

describe("the law \"kept\"", () => {
  it("finds a policy that keeps the last items where the first should be", () => {
    const policy = policyOf("array", (options) => new ArrayQueue(options))
    const subject = { policy, capacity, ...counted, model: PolicyModel.first<Item>({ capacity }) }
    expect(failureOf(() => PolicyLaws.kept(subject)).law).toBe("kept")
    expect(failureOf(() => PolicyLaws.all(subject)).law).toBe("kept")
  })

  it("finds a key index that goes stale", () => {
    const { policy } = planted.find(({ bug }) => bug.includes("stale"))!
    const model = PolicyModel.latestOfEachKey<Item>({ key, whenFull: PolicyModel.last<Item>({ capacity }) })
    expect(failureOf(() => PolicyLaws.kept({ policy, capacity, ...counted, model })).law).toBe("kept")
  })
})

describe("a failed law", () => {
  const { policy } = planted[0]

  it("fails again in the same way with the same seed", () => {
    const first = failureOf(() => PolicyLaws.bounded({ policy, capacity, ...counted }))
    const second = failureOf(() => PolicyLaws.bounded({ policy, capacity, ...counted }, { seed: first.seed }))
    expect(second.message).toBe(first.message)
  })

  it("shows a shortest sequence of operations", () => {
    const failure = failureOf(() => PolicyLaws.bounded({ policy, capacity: 1, ...counted }, { seed: 1 }))
    // Two items are one too many.
    expect(failure.counterexample.match(/"key"/g)).toHaveLength(2)
  })

  it("names what a policy threw", () => {
    const throwing = policyOf("throwing", () => {
      throw new Error("no pair")
    })
    expect(failureOf(() => PolicyLaws.order({ policy: throwing, capacity, ...counted })).reason).toContain("no pair")
  })
})

describe("settings", () => {
  const counting = () => {
    let pairs = 0
    const policy = policyOf("array", (options) => {
      pairs += 1
      return new ArrayQueue(options)
    })
    return { policy, pairs: () => pairs }
  }

  it("a law tries 1,000 sequences by default", () => {
    const { pairs, policy } = counting()
    PolicyLaws.bounded({ policy, capacity, ...counted })
    expect(pairs()).toBe(1000)
  })

  it("a law tries as many sequences as it is told", () => {
    const { pairs, policy } = counting()
    PolicyLaws.bounded({ policy, capacity, ...counted }, { runs: 7 })
    expect(pairs()).toBe(7)
  })

  it("all leaves out the laws that a subject takes exception to", () => {
    const stack = planted.find(({ bug }) => bug === "gives the newest first")!
    PolicyLaws.all({ policy: stack.policy, capacity, ...counted, reorders: true }, { runs: 300 })
    const oneShort = planted.find(({ bug }) => bug === "holds one less than its capacity")!
    PolicyLaws.all({ policy: oneShort.policy, capacity, ...counted, dropsEarly: true }, { runs: 300 })
  })
})
