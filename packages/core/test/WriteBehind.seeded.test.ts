import { Backpressure, Batch, type QueueEvent, WriteBehind } from "@sluice/core"
import { Effect, Exit, Fiber, Random, Schedule, Scope, Stream } from "effect"
import { describe, expect, it } from "vitest"
import { accounted } from "./support/sink.ts"
import { atLeast, forSeeds } from "./support/campaigns.ts"

/** An item knows its producer's key, its place in that key's order, and nothing else. */
interface Item {
  readonly key: number
  readonly place: number
}

const keyOf = ({ key }: Item) => key

const policies: ReadonlyArray<Backpressure.Policy<Item>> = [
  Backpressure.suspend(),
  Backpressure.suspend({ timeout: "20 millis" }),
  Backpressure.reject,
  Backpressure.dropNewest,
  Backpressure.dropOldest,
  Backpressure.coalesceByKey(keyOf),
  Backpressure.coalesceByKey(keyOf, { whenFull: Backpressure.suspend() }),
  Backpressure.coalesceByKey(keyOf, { whenFull: Backpressure.suspend({ timeout: "5 millis" }) }),
  Backpressure.coalesceByKey(keyOf, { whenFull: Backpressure.reject })
]

/** Producers, a sink that fails in every way, callers that give up, `flushNow`, and a close in the middle of it all. */
const program = (everyEventIsHeard: boolean) =>
  Effect.gen(function*() {
    const between = (min: number, max: number) => Random.nextIntBetween(min, max + 1)
    const chance = (percent: number) => Effect.map(Random.nextIntBetween(0, 100), (n) => n < percent)
    const policy = policies[yield* between(0, policies.length - 1)]
    const shards = yield* between(1, 3)
    const settled: Array<Item> = []
    const dropped: Array<Item> = []
    const told: Array<QueueEvent.QueueEvent<Item>> = []
    const options = {
      name: "seeded",
      capacity: yield* between(1, 4),
      batchSize: yield* between(1, 4),
      flushInterval: yield* between(1, 30),
      drainTimeout: yield* between(0, 200),
      shards,
      shardBy: ({ key }: Item) => key,
      policy
    }
    const flush = (batch: Batch.Batch<Item>): Effect.Effect<void, unknown> =>
      Effect.gen(function*() {
        expect(batch.items.length).toBeGreaterThan(0)
        expect(batch.items.length).toBeLessThanOrEqual(options.batchSize)
        if (yield* chance(50)) yield* Effect.sleep(yield* between(0, 40))
        const outcome = yield* between(0, 9)
        if (outcome === 0) return yield* Effect.fail("down")
        if (outcome === 1) return yield* Effect.die("bug")
        if (outcome === 2) return yield* Effect.interrupt
        if (outcome === 3) {
          settled.push(...batch.items.slice(1))
          return yield* Batch.failSome([0], "some")
        }
        settled.push(...batch.items)
      })
    const scope = yield* Scope.make()
    const queue = yield* WriteBehind.make<Item, unknown, never>({
      ...options,
      flush,
      retry: Schedule.intersect(Schedule.spaced("10 millis"), Schedule.recurs(2)),
      onDrop: (item) => dropped.push(item)
    }).pipe(Scope.extend(scope))
    const listening = yield* Effect.fork(
      Stream.runForEach(queue.events, (event) => Effect.sync(() => told.push(event)))
    )
    // Where time moves only when nothing is ready, the listener listens by then.
    yield* Effect.sleep(1)

    const holds = Effect.map(queue.metrics, (metrics) => {
      expect(accounted(metrics)).toBe(metrics.offered)
      expect(metrics.depth).toBeLessThanOrEqual(options.capacity * shards)
      expect(metrics.inFlight).toBeLessThanOrEqual(options.batchSize * shards)
    })
    const offered: Array<Item> = []
    const producer = (key: number) =>
      Effect.gen(function*() {
        let place = 0
        const next = (): Item => {
          const item = { key, place: place++ }
          offered.push(item)
          return item
        }
        for (let step = 0; step < 12; step++) {
          const kind = yield* between(0, 4)
          if (kind === 0) queue.unsafeOffer(next())
          if (kind === 1) yield* Effect.ignore(queue.offer(next()))
          if (kind === 2) yield* Effect.ignore(queue.offerAll([next(), next(), next()]))
          if (kind === 3) {
            const waiting = yield* Effect.fork(Effect.ignore(queue.offer(next())))
            yield* Effect.sleep(yield* between(0, 3))
            yield* Fiber.interrupt(waiting)
          }
          if (kind === 4) yield* Effect.sleep(yield* between(0, 20))
          yield* holds
        }
      })
    const flusher = Effect.gen(function*() {
      for (let i = 0; i < 3; i++) {
        yield* Effect.sleep(yield* between(0, 40))
        const hurry = yield* chance(50)
        yield* Effect.ignore(hurry ? queue.flushNow : queue.awaitIdle)
      }
    })
    const work = yield* Effect.fork(
      Effect.all([producer(0), producer(1), producer(2), producer(3), flusher], { concurrency: "unbounded" })
    )
    if (yield* chance(50)) yield* Fiber.join(work)
    else yield* Effect.sleep(yield* between(0, 100))
    yield* Scope.close(scope, Exit.void)
    yield* Fiber.join(work)
    yield* Fiber.join(listening)
    yield* holds

    const metrics = yield* queue.metrics
    expect(metrics.held).toBe(0)
    // An offer that is interrupted before it begins is none.
    expect(metrics.offered).toBeLessThanOrEqual(offered.length)
    expect(dropped.length).toBe(metrics.dropped)
    if (everyEventIsHeard) {
      expect(told.filter(({ _tag }) => _tag === "Dropped").length).toBe(metrics.dropped)
      expect(told.filter(({ _tag }) => _tag === "Coalesced").length).toBe(metrics.coalesced)
    }
    // A flush that was cut off by the end of the drain has written items that count as dropped.
    const written = settled.length - (metrics.droppedByReason["shutdown"] ?? 0)
    expect(metrics.settled).toBeLessThanOrEqual(settled.length)
    expect(metrics.settled).toBeGreaterThanOrEqual(written)
    // The order of a key, among first writings: a partial failure lets later items of a key pass.
    expect(new Set(settled).size).toBe(settled.length)
    return metrics
  })

describe("over random sequences of offers, failures, interruptions and clock steps", () => {
  it.each([
    ["in time", 0],
    ["on a machine that is too slow", 0.02]
  ])(
    "%s every item is accounted for, nothing hangs, and closing leaves no fiber and no timer",
    async (_, timerProbability) => {
      const seen = { settled: 0, dropped: 0, coalesced: 0, refused: 0, retries: 0 }
      await forSeeds(
        program(timerProbability === 0),
        { runs: 500, yieldProbability: 0.1, timerProbability },
        ({ exit, leftFibers, leftTimers }) => {
          if (Exit.isFailure(exit)) throw new Error(String(exit.cause))
          expect(leftFibers).toEqual([])
          expect(leftTimers).toBe(0)
          for (const key of ["settled", "dropped", "coalesced", "refused", "retries"] as const) {
            seen[key] += exit.value[key]
          }
        }
      )
      // The sequences are only worth something while they reach every outcome.
      for (const count of Object.values(seen)) expect(count).toBeGreaterThanOrEqual(atLeast(500))
    }
  )

  it("with patient producers nothing is lost, and each key keeps its order", async () => {
    const ordered = Effect.gen(function*() {
      const settled: Array<Item> = []
      yield* Effect.scoped(Effect.gen(function*() {
        const queue = yield* WriteBehind.make<Item, string, never>({
          name: "ordered",
          capacity: yield* Random.nextIntBetween(1, 4),
          batchSize: yield* Random.nextIntBetween(1, 4),
          shards: yield* Random.nextIntBetween(1, 4),
          shardBy: ({ key }) => key,
          policy: Backpressure.suspend(),
          retry: Schedule.spaced("10 millis"),
          flush: (batch) =>
            Effect.gen(function*() {
              yield* Effect.sleep(yield* Random.nextIntBetween(0, 5))
              if (yield* Random.nextBoolean) return yield* Effect.fail("down")
              settled.push(...batch.items)
            })
        })
        yield* Effect.forEach(
          [0, 1, 2, 3],
          (key) =>
            Effect.forEach(Array.from({ length: 10 }, (_, place) => place), (place) => queue.offer({ key, place })),
          { concurrency: "unbounded" }
        )
      }))
      for (const key of [0, 1, 2, 3]) {
        expect(settled.filter((item) => item.key === key).map(({ place }) => place)).toEqual([
          0,
          1,
          2,
          3,
          4,
          5,
          6,
          7,
          8,
          9
        ])
      }
    })
    await forSeeds(ordered, { runs: 200, yieldProbability: 0.1 })
  })
})
