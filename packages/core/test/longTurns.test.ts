/**
 * A call with many items gives others their turn now and then. What it costs is told by a clock on which time passes with
 * each item, so that nothing depends on how fast this machine is.
 */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchQueue, BatchStore, Codec, PolicyQueue, WriteBehind } from "@sluice/core"
import * as FaultyStore from "@sluice/core/testing/FaultyStore"
import { Clock, Duration, Effect, Exit, Iterable, Layer, Schema, Scope } from "effect"
import { Macrotask } from "../src/unstable/Macrotask.ts"

/** No call may hold the others up for longer, in milliseconds. */
const longestTurn = 50

class WorkClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  now = 0
  /** When others had their turn. */
  turns: Array<number> = []
  private readonly perLook: number
  constructor(perLook = 0) {
    this.perLook = perLook
  }
  readonly unsafeCurrentTimeMillis = () => Math.floor(this.now += this.perLook)
  readonly unsafeCurrentTimeNanos = () => BigInt(Math.floor((this.now += this.perLook) * 1_000_000))
  readonly currentTimeMillis = Effect.sync(() => this.unsafeCurrentTimeMillis())
  readonly currentTimeNanos = Effect.sync(() => this.unsafeCurrentTimeNanos())
  readonly sleep = (duration: Duration.Duration): Effect.Effect<void> =>
    Duration.toMillis(duration) === 0 ? Effect.yieldNow() : Effect.never
  /** What one item costs. */
  readonly work = <A>(answer: A): A => {
    this.now += 0.05
    return answer
  }
  readonly macrotask = (task: () => void): void => {
    this.turns.push(this.now)
    setImmediate(task)
  }
  /** Runs a call, and answers how long others had to wait for their turn at most, and how many they had. */
  measure<A, E, R>(call: Effect.Effect<A, E, R>) {
    return Effect.suspend(() => {
      this.turns = [this.now]
      return Effect.map(call, (answer) => {
        const turns = [...this.turns, this.now]
        const gaps = turns.slice(1).map((at, index) => at - turns[index])
        return { answer, longest: Math.max(...gaps), turns: turns.length - 2 }
      })
    })
  }
}

/** A clock by which whoever sleeps wakes soon, and no time has passed. */
class ImpatientClock extends WorkClock {
  override readonly sleep = () => Effect.async<void>((resume) => void setTimeout(() => resume(Effect.void), 1))
}

const on = <A, E, R>(clock: WorkClock, effect: Effect.Effect<A, E, R>) =>
  effect.pipe(Effect.withClock(clock), Effect.provideService(Macrotask, clock.macrotask))

const many = Array.from({ length: 100_000 }, (_, n) => n)

/** Of 100,000 items that take 5 seconds. */
const isCut = ({ longest, turns }: { readonly longest: number; readonly turns: number }) => {
  expect(longest).toBeLessThanOrEqual(longestTurn)
  expect(turns).toBeGreaterThanOrEqual(100)
}

describe("others have their turn while", () => {
  it.live("a PolicyQueue is offered very many items", () =>
    Effect.gen(function*() {
      const clock = new WorkClock()
      const queue = yield* on(
        clock,
        PolicyQueue.make<number>({ capacity: 10, policy: Backpressure.dropOldest, weigh: () => clock.work(1) })
      )
      const measured = yield* clock.measure(queue.offerAll(many))
      expect(measured.answer).toEqual({ accepted: 100_000, coalesced: 0, dropped: 0 })
      isCut(measured)
    }))

  it.live("a WriteBehind is, in many shards", () =>
    Effect.gen(function*() {
      const clock = new WorkClock()
      const queue = yield* on(
        clock,
        WriteBehind.make<number, never, never>({
          name: "q",
          capacity: 10,
          shards: 4,
          shardBy: clock.work,
          drainTimeout: 0,
          flush: () => Effect.void
        })
      )
      isCut(yield* clock.measure(queue.offerAll(many)))
    }).pipe(Effect.scoped))

  it.live("a generator takes its time for each of very many items", () =>
    Effect.gen(function*() {
      const clock = new WorkClock()
      const queue = yield* on(clock, PolicyQueue.make<number>({ capacity: 10, policy: Backpressure.dropOldest }))
      const measured = yield* clock.measure(queue.offerAll(Iterable.map(many, clock.work)))
      expect(measured.answer).toEqual({ accepted: 100_000, coalesced: 0, dropped: 0 })
      isCut(measured)
    }))

  it.live("a WriteBehind that has no more time drops very many", () =>
    Effect.gen(function*() {
      const clock = new WorkClock()
      const dropped: Array<number> = []
      const scope = yield* Scope.make()
      const queue = yield* on(
        clock,
        WriteBehind.make<number, never, never>({
          name: "q",
          capacity: 100_000,
          drainTimeout: 0,
          onDrop: (item) => dropped.push(clock.work(item)),
          flush: () => Effect.never
        })
      ).pipe(Scope.extend(scope))
      yield* queue.offerAll(many)
      isCut(yield* on(clock, clock.measure(Scope.close(scope, Exit.void))))
      expect([...dropped].sort((a, b) => a - b)).toEqual(many)
    }))

  const batchQueue = (clock: WorkClock, options?: object) =>
    on(
      clock,
      BatchQueue.make({
        name: "q",
        schema: Schema.Number.pipe(Schema.filter(() => clock.work(true))),
        capacity: 200_000,
        flush: { size: 1000 },
        workers: 0,
        metrics: false,
        drainTimeout: 0,
        process: () => Effect.void,
        ...options
      })
    )

  const half = many.slice(0, 50_000)

  it.live("a BatchQueue is", () =>
    Effect.gen(function*() {
      const clock = new WorkClock()
      const queue = yield* batchQueue(clock)
      const measured = yield* clock.measure(queue.offerAll(many))
      expect(measured.answer.accepted).toBe(100_000)
      isCut(measured)
    }).pipe(Effect.scoped, Effect.provide(BatchStore.layerMemory)))

  it.live("a BatchQueue is offered many, all or none", () =>
    Effect.gen(function*() {
      const clock = new WorkClock()
      const queue = yield* batchQueue(clock)
      isCut(yield* clock.measure(queue.offerAllOrNone(half)))
      isCut(yield* clock.measure(queue.offerStoredAllOrNone(half)))
      const bad = [...half.slice(1), NaN]
      const refused = yield* clock.measure(Effect.flip(queue.offerAllOrNone(bad)))
      expect(refused.answer).toMatchObject({ _tag: "MalformedItem", item: NaN, notTaken: bad })
      isCut(refused)
      expect(yield* queue.metrics).toMatchObject({ offered: 150_000, refused: 50_000 })
    }).pipe(Effect.scoped, Effect.provide(BatchStore.layerMemory)))

  it.live("a handler offers 200,000 items back", () =>
    Effect.gen(function*() {
      const clock = new WorkClock()
      const done = yield* Effect.makeLatch()
      let measured = { longest: Infinity, turns: 0 }
      const queue = yield* batchQueue(clock, {
        workers: 1,
        flush: { size: 1 },
        process: (_: unknown, own: BatchQueue.Handle<number>) =>
          Effect.zipRight(
            Effect.map(clock.measure(own.offer([...many, ...many])), (all) => {
              measured = all
            }),
            Effect.zipRight(done.open, Effect.never)
          )
      })
      yield* queue.offerStored(1)
      yield* done.await
      isCut(measured)
      expect(yield* queue.metrics).toMatchObject({ offered: 200_001, refused: 0 })
    }).pipe(Effect.scoped, Effect.provide(BatchStore.layerMemory)))

  const hanging = Layer.provide(
    FaultyStore.layer(({ operation }) => operation === "append" ? { _tag: "Hangs" } : undefined),
    BatchStore.layerMemory
  )

  it.live("a BatchQueue that has no more time drops very many", () =>
    Effect.gen(function*() {
      const clock = new ImpatientClock()
      const dropped: Array<number> = []
      const scope = yield* Scope.make()
      const onDrop = (item: number) => dropped.push(clock.work(item))
      const queue = yield* Scope.extend(batchQueue(clock, { onDrop }), scope)
      yield* queue.offerAll(many)
      isCut(yield* on(clock, clock.measure(Scope.close(scope, Exit.void))))
      expect([...dropped].sort((a, b) => a - b)).toEqual(many)
    }).pipe(Effect.provide(hanging)))

  it.live("very much is encoded for one transaction", () =>
    Effect.gen(function*() {
      const clock = new WorkClock()
      const format = {
        ...Codec.json,
        name: "slow",
        encode: (values: ReadonlyArray<unknown>) => Codec.json.encode(values.map(clock.work))
      }
      const queue = yield* batchQueue(clock, { schema: Schema.Number, flush: { size: 100, linger: "1 day" }, format })
      yield* queue.offerAll(many)
      const measured = yield* clock.measure(queue.flush)
      expect(yield* queue.metrics).toMatchObject({ stored: 100_000 })
      isCut(measured)
    }).pipe(Effect.scoped, Effect.provide(BatchStore.layerMemory)))

  it.live("50,000 dead letters are listed", () =>
    Effect.gen(function*() {
      const stores = yield* BatchStore.BatchStore
      const store = yield* stores.queue("q")
      const batch = { payload: new Uint8Array(), items: 1, oldestAtMillis: 0 }
      yield* store.append({ batches: [batch, ...half.slice(1).map(() => batch)] })
      const { batches } = yield* store.claim({ limit: 50_000, leaseMillis: 1e9 })
      const failure = { attempts: 1, failedAtMillis: 0, error: "no" }
      yield* store.deadLetter(batches, { reason: "rejected", failure })
      // Each look at it tells that a good part of the time has passed.
      const clock = new WorkClock(8)
      const measured = yield* on(clock, clock.measure(store.deadLetters({ filter: {}, limit: 50_000 })))
      expect(measured.answer.length).toBe(50_000)
      expect(measured.answer.map(({ id }) => id)).toEqual(batches.map(({ sequence }) => sequence))
      expect(measured.turns).toBeGreaterThanOrEqual(10)
    }).pipe(Effect.provide(BatchStore.layerMemory)))
})

describe("what is put in at one go is bounded:", () => {
  const tooMany = Array.from({ length: PolicyQueue.mostAllOrNone + 1 }, (_, n) => n)
  const told = { _tag: "TooManyItems", capacity: PolicyQueue.mostAllOrNone, taken: 0, notTaken: tooMany }

  it.live("more items than that are TooManyItems for a WriteBehind, however large it is", () =>
    Effect.gen(function*() {
      const queue = yield* WriteBehind.make<number, never, never>({
        name: "q",
        capacity: 1_000_000,
        drainTimeout: 0,
        flush: () => Effect.void
      })
      expect(yield* Effect.flip(queue.offerAllOrNone(tooMany))).toMatchObject(told)
      expect(yield* Effect.flip(queue.offerSettled(tooMany))).toMatchObject(told)
      expect(yield* queue.metrics).toMatchObject({ offered: 2 * tooMany.length, refused: 2 * tooMany.length, held: 0 })
    }).pipe(Effect.scoped))

  it.live("and for a BatchQueue, which does not even encode them", () =>
    Effect.gen(function*() {
      let encoded = 0
      const queue = yield* BatchQueue.make({
        name: "q",
        schema: Schema.Number.pipe(Schema.filter(() => ++encoded > 0)),
        capacity: 1_000_000,
        metrics: false,
        drainTimeout: 0,
        process: () => Effect.void
      })
      expect(yield* Effect.flip(queue.offerAllOrNone(tooMany))).toMatchObject(told)
      expect(yield* Effect.flip(queue.offerStoredAllOrNone(tooMany))).toMatchObject(told)
      expect(encoded).toBe(0)
      expect(yield* queue.metrics).toMatchObject({ offered: 2 * tooMany.length, refused: 2 * tooMany.length })
    }).pipe(Effect.scoped, Effect.provide(BatchStore.layerMemory)))
})
