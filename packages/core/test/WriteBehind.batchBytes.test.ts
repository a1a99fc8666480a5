/**
 * A batch that is bounded by bytes never has more, unless one item alone has.
 */
import { describe, expect, it } from "@effect/vitest"
import { BackingQueue, Backpressure, Strategy, WriteBehind } from "@sluice/core"
import {
  Config,
  ConfigProvider,
  Context,
  Effect,
  Exit,
  FastCheck,
  Layer,
  Schedule,
  Scope,
  TestClock,
  TestContext
} from "effect"
import { accounted, failing, failingSome, Sink } from "./support/sink.ts"

interface Item {
  readonly key: string
  readonly bytes: number
}

const item = (bytes: number, key = "k") => ({ key, bytes })
const bytesOf = ({ bytes }: Item) => bytes

type Options = Partial<WriteBehind.Options<Item, unknown, never>>

const makeQueue = (sink: Sink<Item>, limit: number, options?: Options) =>
  WriteBehind.make<Item, unknown, never>({
    name: "test",
    capacity: 100,
    flush: sink.flush,
    batchBytes: { limit, of: bytesOf },
    ...options
  })

const settle = TestClock.adjust(0)

const flushed = (sink: Sink<Item>) => sink.attempts.map(({ items }) => items.map(bytesOf))

const expectWithin = (sink: Sink<Item>, limit: number) => {
  for (const bytes of flushed(sink)) {
    if (bytes.length > 1) expect(bytes.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(limit)
  }
}

const merging = (whenFull: Backpressure.CoalesceByKey<Item>["whenFull"]) =>
  Backpressure.coalesceByKey(({ key }: Item) => key, {
    merge: (held, next) => item(held.bytes + next.bytes, held.key),
    whenFull
  })

const policies: ReadonlyArray<readonly [string, Backpressure.Policy<Item>]> = [
  ["suspend", Backpressure.suspend()],
  ["reject", Backpressure.reject],
  ["dropNewest", Backpressure.dropNewest],
  ["dropOldest", Backpressure.dropOldest],
  ["coalesceByKey, merging", merging(Backpressure.dropOldest)],
  ["coalesceByKey, merging, suspend", merging(Backpressure.suspend())],
  ["coalesceByKey, the last", Backpressure.coalesceByKey(({ key }: Item) => key, { whenFull: Backpressure.reject })]
]

describe.each(policies)("under %s", (_, policy) => {
  it("no batch is larger, and every item is accounted for, whatever comes and fails", () => {
    const step = FastCheck.oneof(
      {
        weight: 6,
        arbitrary: FastCheck.record({ offer: FastCheck.nat(6), key: FastCheck.constantFrom("a", "b", "c") })
      },
      { weight: 1, arbitrary: FastCheck.constantFrom("adjust" as const, "flush" as const, "fail" as const) }
    )
    return FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.array(step, { maxLength: 30 }),
        FastCheck.constantFrom(1, 2, 3, 10),
        FastCheck.integer({ min: 1, max: 8 }),
        FastCheck.constantFrom(1, 3, 100),
        (steps, capacity, limit, batchSize) =>
          Effect.gen(function*() {
            const sink = new Sink<Item>()
            const scope = yield* Scope.make()
            const queue = yield* Scope.extend(makeQueue(sink, limit, { capacity, batchSize, policy }), scope)
            for (const step of steps) {
              if (step === "adjust") yield* TestClock.adjust("1 second")
              else if (step === "flush") yield* Effect.fork(queue.flushNow)
              else if (step === "fail") sink.script.push((batch) => failingSome([batch.items.length - 1], "no")())
              else yield* Effect.fork(Effect.exit(queue.offer(item(step.offer, step.key))))
            }
            yield* settle
            yield* Effect.fork(Scope.close(scope, Exit.void))
            yield* TestClock.adjust("1 minute")
            expectWithin(sink, limit)
            const metrics = yield* queue.metrics
            expect(accounted(metrics)).toBe(metrics.offered)
            expect(metrics.held).toBe(0)
          }).pipe(Effect.provide(TestContext.TestContext), Effect.runPromise)
      ),
      { seed: 41, numRuns: 60 }
    )
  })
})

describe("batchBytes", () => {
  it.scoped("makes a batch due when what waits has as many, and leaves the rest for the next", () =>
    Effect.gen(function*() {
      const sink = new Sink<Item>()
      const queue = yield* makeQueue(sink, 10, { batchSize: 4 })
      yield* queue.offerAll([item(4), item(5)])
      yield* settle
      expect(flushed(sink)).toEqual([])
      yield* queue.offer(item(1))
      yield* settle
      expect(flushed(sink)).toEqual([[4, 5, 1]])
      yield* queue.offerAll([item(4), item(5), item(6)])
      yield* settle
      expect(flushed(sink).slice(1)).toEqual([[4, 5]])
      // Of four items, of which the first two are as many as fit.
      yield* queue.offerAll([item(3), item(0), item(2)])
      yield* settle
      expect(flushed(sink).slice(2)).toEqual([[6, 3, 0]])
      expect(new Set(sink.triggers)).toEqual(new Set(["bytes"]))
      yield* TestClock.adjust("1 second")
      expect(flushed(sink).slice(3)).toEqual([[2]])
      expect(sink.triggers.at(-1)).toBe("linger")
    }))

  it.scoped("says of a batch that has fewer than batchSize items that bytes have ended it", () =>
    Effect.gen(function*() {
      const sink = new Sink<Item>()
      const queue = yield* makeQueue(sink, 10, { batchSize: 3 })
      for (const bytes of [6, 6, 6]) queue.unsafeOffer(item(bytes))
      yield* settle
      expect(sink.triggers).toEqual(["bytes", "bytes"])
    }))

  it.scoped("counts what an item was merged to, as it is when the batch is taken", () =>
    Effect.gen(function*() {
      const sink = new Sink<Item>()
      const queue = yield* makeQueue(sink, 10, { policy: merging(Backpressure.reject) })
      yield* queue.offerAll([item(3, "a"), item(3, "b")])
      yield* settle
      yield* queue.offer(item(4, "a"))
      yield* settle
      expect(flushed(sink)).toEqual([[7, 3]])
      yield* queue.offerAll([item(3, "a"), item(3, "b")])
      yield* settle
      yield* queue.offer(item(5, "b"))
      yield* settle
      expect(flushed(sink).slice(1)).toEqual([[3]])
      yield* queue.flushNow
      expect(flushed(sink).slice(2)).toEqual([[8]])
    }))

  it.scoped("flushes an item by itself that is larger, or that cannot be counted", () =>
    Effect.gen(function*() {
      const sink = new Sink<Item>()
      const of = ({ bytes }: Item) => {
        if (bytes === 13) throw new Error("no thirteen")
        return bytes
      }
      const queue = yield* makeQueue(sink, 10, { batchBytes: { limit: 10, of } })
      for (const bytes of [1, 11, 1, 13, 1, -1, 1, NaN, 0.5, Infinity, 2]) queue.unsafeOffer(item(bytes))
      yield* queue.flushNow
      expect(flushed(sink)).toEqual([[1], [11], [1], [13], [1], [-1], [1], [NaN], [0.5], [Infinity], [2]])
    }))

  it.scoped("bounds what is retried, and what is flushed by hand and at the shutdown", () =>
    Effect.gen(function*() {
      const sink = new Sink<Item>()
      sink.script.push(failingSome([1, 2], "no"), failing("no"))
      const scope = yield* Scope.make()
      const queue = yield* Scope.extend(makeQueue(sink, 10, { retry: Schedule.recurs(2) }), scope)
      for (const bytes of [1, 4, 5, 9, 9]) queue.unsafeOffer(item(bytes))
      yield* settle
      expect(flushed(sink)).toEqual([[1, 4, 5], [4, 5], [4, 5], [9]])
      for (const bytes of [1, 1]) queue.unsafeOffer(item(bytes))
      yield* settle
      yield* Scope.close(scope, Exit.void)
      expect(flushed(sink).slice(4)).toEqual([[9, 1], [1]])
      expect(sink.triggers.at(-1)).toBe("shutdown")
    }))

  it.scoped("tells exactly since when the oldest item of a batch has waited", () =>
    Effect.gen(function*() {
      const sink = new Sink<Item>()
      const queue = yield* makeQueue(sink, 10, { flushInterval: "10 seconds" })
      yield* queue.offer(item(6))
      yield* TestClock.adjust(100)
      yield* queue.offer(item(3))
      yield* TestClock.adjust(100)
      yield* queue.offer(item(3))
      yield* TestClock.adjust("10 seconds")
      expect(sink.attempts.map(({ oldestAt, openedAt }) => [openedAt, oldestAt])).toEqual([[0, 0], [200, 200]])
    }))

  it.scoped.each<readonly [string, unknown, Options]>([
    ["batchBytes.limit", 0, { batchBytes: { limit: 0, of: bytesOf } }],
    ["batchBytes.limit", 1.5, { batchBytes: { limit: 1.5, of: bytesOf } }],
    ["batchBytes.of", undefined, { batchBytes: { limit: 1 } as never }]
  ])("must have a valid %s, and not %s", ([field, value, options]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(makeQueue(new Sink(), 1, options))
      expect(error).toMatchObject({ _tag: "InvalidOption", field, value })
    }))

  it.scoped("serves a policy of your own that makes its backing queue of what it is given, and no other", () =>
    Effect.gen(function*() {
      const policyOf = (isForeign: boolean): Backpressure.Policy<Item> => ({
        _tag: "custom",
        pair: (options) => {
          const { capacity, report } = options
          const backing = BackingQueue.refusing(isForeign ? { capacity, report } : options)
          return { backing, strategy: Strategy.answering({ backing, report }) }
        }
      })
      const sink = new Sink<Item>()
      const queue = yield* makeQueue(sink, 10, { policy: policyOf(false) })
      for (const bytes of [6, 6]) queue.unsafeOffer(item(bytes))
      yield* queue.flushNow
      expect(flushed(sink)).toEqual([[6], [6]])
      const error = yield* Effect.flip(makeQueue(sink, 10, { policy: policyOf(true) }))
      expect(error).toMatchObject({ _tag: "InvalidOption", field: "policy" })
      yield* WriteBehind.make<Item, unknown, never>({
        name: "unbounded",
        capacity: 1,
        policy: policyOf(true),
        flush: sink.flush
      })
    }))

  it.scoped("has a limit that may be configured", () =>
    Effect.gen(function*() {
      class Items extends Context.Tag("Items")<Items, WriteBehind.WriteBehind<Item>>() {}
      const sink = new Sink<Item>()
      const layer = WriteBehind.layerConfig(
        Items,
        { name: "test", capacity: 10, batchBytes: { limit: 100, of: bytesOf }, flush: sink.flush },
        { batchBytesLimit: Config.integer("LIMIT") }
      )
      const provided = Layer.provide(layer, Layer.setConfigProvider(ConfigProvider.fromMap(new Map([["LIMIT", "10"]]))))
      const queue = Context.get(yield* Layer.build(provided), Items)
      yield* queue.offerAll([item(6), item(6)])
      yield* queue.flushNow
      expect(flushed(sink)).toEqual([[6], [6]])
    }))
})
