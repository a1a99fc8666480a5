/** What a user does with any queue: takes its methods off it, and logs it. */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchQueue, BatchStore, KeyedBatch, PolicyQueue, ShardPool, WriteBehind } from "@sluice/core"
import { Cause, Effect, Exit, Inspectable, Logger, Queue, Schema, Scope, Stream, TestClock } from "effect"
import { inspect } from "node:util"
import { faultsOfTakenOff, given, run, subscribed } from "./support/takenOff.ts"

const lines = WriteBehind.make<string>({ name: "lines", capacity: 10, flush: () => Effect.void })
const mails = BatchQueue.make({ name: "mails", schema: Schema.String, process: () => Effect.void }).pipe(
  Effect.provide(BatchStore.layerMemory)
)
const commands = ShardPool.make({
  name: "commands",
  key: (command: string) => command,
  execute: (command: string) => Effect.succeed(command.length)
})
const totals = KeyedBatch.make<string, number>({ name: "totals", initial: () => 0, minDuration: 0 })
const letters = PolicyQueue.make<string>({ name: "letters", policy: Backpressure.reject, capacity: 10 })

describe("every member that is taken off a queue does what it does on it:", () => {
  it.scoped("WriteBehind", () =>
    Effect.gen(function*() {
      const faults = yield* faultsOfTakenOff<WriteBehind.WriteBehind<string>>(yield* lines, {
        queueName: given,
        offer: (offer) => offer("a"),
        offerAll: (offerAll) => offerAll(["a"]),
        sink: (sink) => Stream.run(Stream.make("a"), sink),
        enqueue: (enqueue) => Queue.offer(enqueue, "a"),
        enqueueTakes: (enqueueTakes) => Stream.runIntoQueue(Stream.make("a"), enqueueTakes),
        unsafeOffer: (unsafeOffer) => Effect.sync(() => unsafeOffer("a")),
        offerAllOrNone: (offerAllOrNone) => offerAllOrNone(["a"]),
        offerTracked: (offerTracked) => offerTracked(["a"]),
        flushNow: run,
        offerSettled: (offerSettled) =>
          Effect.zip(offerSettled(["a"]), TestClock.adjust("1 second"), { concurrent: true }),
        awaitIdle: run,
        depth: run,
        inFlight: run,
        events: subscribed,
        metrics: run
      })
      expect(faults).toEqual([])
    }))

  it.scoped("BatchQueue", () =>
    Effect.gen(function*() {
      const queue = yield* mails
      const faults = yield* faultsOfTakenOff<BatchQueue.BatchQueue<string>>(queue, {
        queueName: given,
        offer: (offer) => offer("a"),
        offerAll: (offerAll) => offerAll(["a"]),
        sink: (sink) => Stream.run(Stream.make("a"), sink),
        enqueue: (enqueue) => Queue.offer(enqueue, "a"),
        enqueueTakes: (enqueueTakes) => Stream.runIntoQueue(Stream.make("a"), enqueueTakes),
        unsafeOffer: (unsafeOffer) => Effect.sync(() => unsafeOffer("a")),
        offerStored: (offerStored) => offerStored("a"),
        offerAllOrNone: (offerAllOrNone) => offerAllOrNone(["a"]),
        offerStoredAllOrNone: (offerStoredAllOrNone) => offerStoredAllOrNone(["a"]),
        flush: run,
        pause: run,
        resume: run,
        isPaused: run,
        deadLetters: given,
        stats: run,
        events: subscribed,
        metrics: run
      })
      expect(faults).toEqual([])
      expect(
        yield* faultsOfTakenOff<BatchQueue.DeadLetters<string>>(queue.deadLetters, {
          list: (list) => list(),
          inspect: (inspect) => inspect(1),
          redrive: (redrive) => redrive("all"),
          discard: (discard) => discard("all")
        })
      ).toEqual([])
    }))

  it.scoped("ShardPool", () =>
    Effect.gen(function*() {
      const faults = yield* faultsOfTakenOff<ShardPool.ShardPool<string, number>>(yield* commands, {
        queueName: given,
        submit: (submit) => submit("a"),
        offer: (offer) => offer("a"),
        depth: run,
        events: subscribed,
        metrics: run,
        drain: (drain) => drain("1 second")
      })
      expect(faults).toEqual([])
    }))

  it.scoped("KeyedBatch", () =>
    Effect.gen(function*() {
      const faults = yield* faultsOfTakenOff<KeyedBatch.KeyedBatch<string, number>>(yield* totals, {
        queueName: given,
        modify: (modify) => modify("a", (n) => [n, n + 1]),
        modifyEffect: (modifyEffect) => modifyEffect("a", (n) => Effect.succeed([n, n + 1])),
        mutate: (mutate) => mutate("a", (n) => n),
        events: subscribed,
        metrics: run
      })
      expect(faults).toEqual([])
    }))

  it.effect("PolicyQueue", () =>
    Effect.gen(function*() {
      const faults = yield* faultsOfTakenOff<PolicyQueue.PolicyQueue<string>>(yield* letters, {
        queueName: given,
        capacity: given,
        offer: (offer) => offer("a"),
        offerAll: (offerAll) => offerAll(["a"]),
        unsafeOffer: (unsafeOffer) => Effect.sync(() => unsafeOffer("a")),
        unsafeTakeUpTo: (unsafeTakeUpTo) => Effect.sync(() => unsafeTakeUpTo(1)),
        dequeue: (dequeue) => Queue.take(dequeue),
        unsafeLength: (unsafeLength) => Effect.sync(() => unsafeLength()),
        unsafeWaiting: (unsafeWaiting) => Effect.sync(() => unsafeWaiting()),
        unsafeCounts: (unsafeCounts) => Effect.sync(() => unsafeCounts()),
        close: run,
        shutdown: run
      })
      expect(faults).toEqual([])
    }))
})

/** What is in every item, and must not be in a log. */
const secret = "4111 1111 1111 1111"

/** All that a value is shown as. */
const shown = (value: unknown) =>
  Effect.gen(function*() {
    const logs: Array<string> = []
    const loggers = [Logger.stringLogger, Logger.logfmtLogger, Logger.jsonLogger]
    yield* Effect.log("queue", value).pipe(
      Effect.provide(Logger.replace(
        Logger.defaultLogger,
        Logger.make((options) => logs.push(...loggers.map((logger) => logger.log(options))))
      ))
    )
    const structured = inspect(value, { depth: Infinity, showHidden: true })
    return [
      inspect(value),
      structured,
      JSON.stringify(value),
      String(value),
      Inspectable.toStringUnknown(value),
      ...logs
    ]
  })

/** It says its name, the state and a count, in every way in which it may be shown, and nothing of an item. */
const expectShown = (queue: unknown, name: string, state: string, held: number) =>
  Effect.map(shown(queue), (texts) => {
    for (const text of texts) {
      expect(text).not.toContain(secret)
      expect(text).toContain(name)
      expect(text).toContain(state)
      expect(text.length).toBeLessThan(1200)
    }
    expect(JSON.parse(JSON.stringify(queue))).toMatchObject({ queueName: name, state, counts: { held } })
  })

/** A scope of its own, which the test closes. */
const inScope = <A, E, R>(make: Effect.Effect<A, E, R | Scope.Scope>) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    return { queue: yield* Scope.extend(make, scope), close: Scope.close(scope, Exit.void) }
  })

const secrets = Array.from({ length: 1000 }, (_, n) => `${secret} ${n}`)

describe("a queue is shown with its name, its state and its counts, and without its items:", () => {
  it.effect("WriteBehind", () =>
    Effect.gen(function*() {
      const flushing = yield* Effect.makeLatch()
      const { close, queue } = yield* inScope(WriteBehind.make<string>({
        name: "lines",
        capacity: 1000,
        batchSize: 10,
        flush: () => flushing.await
      }))
      yield* expectShown(queue, "lines", "open", 0)
      yield* queue.offerAll(secrets)
      yield* TestClock.adjust("1 second")
      yield* expectShown(queue, "lines", "open", 1000)
      const closing = yield* Effect.fork(close)
      yield* Effect.yieldNow()
      yield* expectShown(queue, "lines", "closing", 1000)
      yield* flushing.open
      yield* closing
      yield* expectShown(queue, "lines", "closed", 0)
    }))

  it.effect("BatchQueue", () =>
    Effect.gen(function*() {
      const handling = yield* Effect.makeLatch()
      const { close, queue } = yield* inScope(BatchQueue.make({
        name: "mails",
        schema: Schema.String,
        capacity: 2000,
        flush: { linger: "1 hour" },
        process: () => handling.await
      }))
      yield* queue.pause
      yield* expectShown(queue, "mails", "paused", 0)
      yield* queue.offerStored(secrets[0])
      yield* Effect.forEach(secrets.slice(0, 5), queue.offer)
      yield* expectShown(queue, "mails", "paused", 5)
      yield* queue.resume
      yield* expectShown(queue, "mails", "open", 5)
      yield* handling.open
      yield* Effect.zip(close, TestClock.adjust("1 minute"), { concurrent: true })
      yield* expectShown(queue, "mails", "closed", 0)
    }).pipe(Effect.provide(BatchStore.layerMemory)))

  it.effect("ShardPool", () =>
    Effect.gen(function*() {
      const running = yield* Effect.makeLatch()
      const { close, queue } = yield* inScope(ShardPool.make({
        name: "commands",
        key: (command: string) => command,
        execute: () => running.await
      }))
      yield* Effect.forEach(secrets.slice(0, 100), queue.offer)
      yield* expectShown(queue, "commands", "open", 100)
      const closing = yield* Effect.fork(close)
      yield* Effect.yieldNow()
      yield* expectShown(queue, "commands", "closing", 100)
      yield* running.open
      yield* closing
      yield* expectShown(queue, "commands", "closed", 0)
    }))

  it.effect("KeyedBatch", () =>
    Effect.gen(function*() {
      const saving = yield* Effect.makeLatch()
      const { close, queue } = yield* inScope(KeyedBatch.make<string, { text: string }>({
        name: "totals",
        initial: () => ({ text: secret }),
        save: () => saving.await,
        minDuration: 0
      }))
      const change = Effect.forEach(
        secrets.slice(0, 10),
        (key) => queue.modify(key, () => [secret, { text: secret }]),
        {
          concurrency: "unbounded"
        }
      )
      const changes = yield* Effect.fork(change)
      yield* TestClock.adjust(0)
      yield* expectShown(queue, "totals", "open", 10)
      const closing = yield* Effect.fork(close)
      yield* Effect.yieldNow()
      yield* expectShown(queue, "totals", "closing", 10)
      yield* saving.open
      yield* closing
      yield* changes
      yield* expectShown(queue, "totals", "closed", 0)
    }))

  it.effect("PolicyQueue", () =>
    Effect.gen(function*() {
      const queue = yield* PolicyQueue.make<string>({
        name: "letters",
        policy: Backpressure.coalesceByKey((item: string) => item),
        capacity: 1000
      })
      yield* queue.offerAll(secrets)
      yield* expectShown(queue, "letters", "open", 1000)
      yield* queue.close
      yield* expectShown(queue, "letters", "closed", 1000)
    }))

  it.effect("as the service of a layer, too", () => {
    class Lines extends Effect.Service<Lines>()("test/Lines", {
      scoped: WriteBehind.make<string>({ name: "lines", capacity: 1000, flush: () => Effect.never, drainTimeout: 0 })
    }) {}
    return Effect.gen(function*() {
      const lines = yield* Lines
      yield* lines.offerAll(secrets)
      yield* expectShown(lines, "lines", "open", 1000)
    }).pipe(Effect.provide(Lines.Default))
  })
})

it.effect("the errors of offers say nothing of their items in their texts and in printed causes", () =>
  Effect.gen(function*() {
    const queue = yield* PolicyQueue.make<string>({ name: "letters", policy: Backpressure.reject, capacity: 1 })
    const full = yield* Effect.flip(queue.offerAll(secrets))
    yield* queue.close
    const closed = yield* Effect.flip(queue.offer(secret))
    const { close, queue: pool } = yield* inScope(commands)
    yield* close
    const over = yield* Effect.flip(pool.submit(secret))
    expect([full._tag, closed._tag, over._tag]).toEqual(["QueueFull", "QueueClosed", "PoolClosed"])
    for (const error of [full, closed, over]) {
      const texts = [String(error), error.message, Cause.pretty(Cause.fail(error)), String(error.stack)]
      for (const text of texts) expect(text).not.toContain(secret)
    }
  }))
