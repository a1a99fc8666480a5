import { BackingQueue, QueueError, type Sharding } from "@sluice/core"
import * as SeededScheduler from "@sluice/core/testing/SeededScheduler"
import { describe, expect, it } from "vitest"

interface Entry {
  readonly key: Sharding.Key
  readonly value: number
}

const reporting = <A>() => {
  const reports: Array<string> = []
  const report: BackingQueue.Report<A> = {
    dropped: (item, reason) => reports.push(`dropped ${JSON.stringify(item)} ${reason}`),
    coalesced: (replaced, item) => reports.push(`coalesced ${JSON.stringify(replaced)} ${JSON.stringify(item)}`)
  }
  return { report, reports }
}

const all = <A>(queue: BackingQueue.BackingQueue<A>) => queue.pollUpTo(Infinity)

describe("a backing queue", () => {
  const { report } = reporting<number>()
  const key = (item: number) => item
  const queues: ReadonlyArray<readonly [string, () => BackingQueue.BackingQueue<number>]> = [
    ["refusing", () => BackingQueue.refusing({ capacity: 3, report })],
    ["droppingNewest", () => BackingQueue.droppingNewest({ capacity: 3, report })],
    ["droppingOldest", () => BackingQueue.droppingOldest({ capacity: 3, report })],
    ["coalescing", () => BackingQueue.coalescing({ capacity: 3, report, key, whenFull: "refuse" })]
  ]

  describe.each(queues)("%s", (_, make) => {
    it("holds as much as it is told", () => {
      expect(make().capacity()).toBe(3)
    })

    it("answers the default when it is empty", () => {
      expect(make().poll("nothing")).toBe("nothing")
      expect(make().pollUpTo(5)).toEqual([])
    })

    it("takes what fits of several, and answers the surplus", () => {
      const queue = make()
      queue.offer(0)
      expect(queue.length()).toBe(1)
      expect(queue.offerAll([1, 2])).toEqual([])
      expect(all(queue)).toEqual([0, 1, 2])
    })

    it.each([[0, 0], [-1, 0], [0.5, 1], [1.5, 2], [2, 2], [Number.NaN, 0], [Infinity, 3]])(
      "pollUpTo %f takes %i of three",
      (limit, count) => {
        const queue = make()
        queue.offerAll([1, 2, 3])
        expect(queue.pollUpTo(limit)).toHaveLength(count)
        expect(queue.length()).toBe(3 - count)
      }
    )
  })
})

describe("what does not fit", () => {
  it("is left to the strategy by refusing, together with all that came after it", () => {
    const { report, reports } = reporting<number>()
    const queue = BackingQueue.refusing({ capacity: 3, report, weigh: (item) => item })
    // 1 would fit, but must not overtake 3.
    expect(queue.offerAll([2, 3, 1])).toEqual([3, 1])
    expect(reports).toEqual([])
  })

  it("is dropped by droppingNewest, each item by itself: a lighter one may fit", () => {
    const { report, reports } = reporting<number>()
    const queue = BackingQueue.droppingNewest({ capacity: 3, report, weigh: (item) => item })
    expect(queue.offerAll([2, 3, 1])).toEqual([3])
    expect(reports).toEqual(["dropped 3 drop-newest"])
    expect(all(queue)).toEqual([2, 1])
  })

  it("is refused while others wait for the room", () => {
    const { report } = reporting<number>()
    let reserved = true
    const queue = BackingQueue.refusing({ capacity: 3, report, reserved: () => reserved })
    expect(queue.offer(1)).toBe(false)
    reserved = false
    expect(queue.offer(1)).toBe(true)
  })
})

describe("a weight", () => {
  it.each([0, -1, 1.5, Number.NaN, Infinity, 4])(
    "of %f is refused by every queue, and nothing is dropped for it",
    (bad) => {
      for (const make of [BackingQueue.refusing, BackingQueue.droppingNewest, BackingQueue.droppingOldest]) {
        const { report, reports } = reporting<number>()
        const queue = make<number>({ capacity: 3, report, weigh: (item) => item })
        expect(queue.offer(bad)).toBe(false)
        queue.offer(2)
        expect(queue.offer(bad)).toBe(false)
        expect(reports).toEqual([])
        expect(all(queue)).toEqual([2])
      }
    }
  )
})

describe("who is told of a drop or of a coalescing", () => {
  it("sees the state after it, and may offer again", () => {
    const seen: Array<number> = []
    const queue: BackingQueue.BackingQueue<number> = BackingQueue.droppingOldest<number>({
      capacity: 2,
      report: {
        dropped: (item) => {
          seen.push(queue.length())
          if (item === 1) queue.offer(9)
        },
        coalesced: () => {}
      }
    })
    queue.offerAll([1, 2, 3])
    expect(seen).toEqual([2, 2])
    expect(all(queue)).toEqual([3, 9])
  })

  it("sees the new value in place", () => {
    let seen: ReadonlyArray<Entry> = []
    const queue: BackingQueue.BackingQueue<Entry> = BackingQueue.coalescing<Entry>({
      capacity: 2,
      key: (item) => item.key,
      whenFull: "refuse",
      report: {
        dropped: () => {},
        coalesced: () => {
          seen = all(queue)
        }
      }
    })
    queue.offer({ key: "a", value: 0 })
    queue.offer({ key: "a", value: 1 })
    expect(seen).toEqual([{ key: "a", value: 1 }])
  })
})

describe("keys", () => {
  const make = (whenFull: BackingQueue.WhenFull, merge?: (queued: Entry, offered: Entry) => Entry) => {
    const { report, reports } = reporting<Entry>()
    return {
      queue: BackingQueue.coalescing<Entry>({ capacity: 3, report, key: (item) => item.key, whenFull, merge }),
      reports
    }
  }

  it.each(["__proto__", "constructor", "", 0, -1, 1e300])(
    "%s is a key like any other",
    (key) => {
      const { queue } = make("drop-oldest")
      queue.offer({ key: "other", value: 0 })
      queue.offer({ key, value: 0 })
      queue.offer({ key, value: 1 })
      expect(all(queue)).toEqual([{ key: "other", value: 0 }, { key, value: 1 }])
      queue.offer({ key, value: 2 })
      expect(queue.length()).toBe(1)
    }
  )

  it("are compared by what they are known by", () => {
    const { queue } = make("drop-oldest")
    queue.offer({ key: 0, value: 0 })
    queue.offer({ key: -0, value: 1 })
    queue.offer({ key: "0", value: 2 })
    queue.offer({ key: "-0", value: 3 })
    expect(all(queue).map(({ value }) => value)).toEqual([2, 3])
  })

  it("that are none are thrown back, and nothing changes", () => {
    const { queue, reports } = make("drop-oldest")
    expect(() => queue.offer({ key: NaN, value: 0 })).toThrow(QueueError.InvalidKey)
    expect([queue.length(), reports]).toEqual([0, []])
  })

  it("are remembered, so that an item may change while it waits", () => {
    const { report } = reporting<{ key: string }>()
    const queue = BackingQueue.coalescing<{ key: string }>({
      capacity: 3,
      report,
      key: (item) => item.key,
      whenFull: "refuse"
    })
    const item = { key: "a" }
    queue.offer(item)
    item.key = "b"
    expect(all(queue)).toEqual([item])
    queue.offer({ key: "a" })
    // A stale index would have kept the old key.
    expect(queue.length()).toBe(1)
    queue.offer({ key: "a" })
    expect(queue.length()).toBe(1)
  })

  it.each(["drop-newest", "drop-oldest"] as const)("of later items still coalesce where %s goes on", (whenFull) => {
    const { queue, reports } = make(whenFull)
    queue.offerAll(["a", "b", "c"].map((key) => ({ key, value: 0 })))
    queue.offerAll(["d", "c"].map((key) => ({ key, value: 1 })))
    expect(reports).toHaveLength(2)
    expect(all(queue).find(({ key }) => key === "c")).toEqual({ key: "c", value: 1 })
  })

  it("of later items wait behind what was refused", () => {
    const { queue } = make("refuse")
    queue.offerAll(["a", "b", "c"].map((key) => ({ key, value: 0 })))
    expect(queue.offerAll(["d", "c"].map((key) => ({ key, value: 1 })))).toHaveLength(2)
  })

  it("a merge that throws leaves everything as it was", () => {
    const { queue, reports } = make("drop-oldest", () => {
      throw new Error("no merge")
    })
    queue.offer({ key: "a", value: 0 })
    expect(() => queue.offer({ key: "a", value: 1 })).toThrow("no merge")
    expect(reports).toEqual([])
    expect(all(queue)).toEqual([{ key: "a", value: 0 }])
  })

  it.each([[1, 3], [3, 5], [3, 4000], [500, 700], [1500, 4000], [5000, 20_000]])(
    "are found however many have come and gone, with capacity %i and %i keys",
    (capacity, keys) => {
      const seed = 1 + Math.floor(Math.random() * 2 ** 31)
      const next = SeededScheduler.mulberry32(seed)
      const { report } = reporting<Entry>()
      const queue = BackingQueue.coalescing<Entry>({
        capacity,
        report,
        key: (item) => item.key,
        whenFull: "drop-oldest"
      })
      // A Map keeps the order in which its keys first came.
      const model = new Map<unknown, Entry>()
      for (let value = 0; value < 30_000; value++) {
        const item = { key: next() % keys, value }
        queue.offer(item)
        if (!model.has(item.key) && model.size === capacity) model.delete(model.keys().next().value)
        model.set(item.key, item)
        if (next() % (2 * capacity) !== 0) continue
        const count = next() % (capacity + 1)
        const taken = Array.from(model.values()).slice(0, count)
        for (const { key } of taken) model.delete(key)
        expect(queue.pollUpTo(count), `seed ${seed}`).toEqual(taken)
      }
      expect(all(queue), `seed ${seed}`).toEqual(Array.from(model.values()))
    }
  )

  it("cost the same however many there are", () => {
    const { report } = reporting<number>()
    let asked = 0
    const queue = BackingQueue.coalescing<number>({
      capacity: 100_000,
      report,
      whenFull: "drop-oldest",
      key: (item) => {
        asked += 1
        return item
      }
    })
    for (let i = 0; i < 200_000; i++) queue.offer(i)
    expect(all(queue)).toHaveLength(100_000)
    expect(asked).toBe(200_000)
  })
})
