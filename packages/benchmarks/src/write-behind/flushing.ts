/**
 * From offered to flushed, in batches of at most 100, into a sink that only counts. Every item is flushed and nothing
 * is dropped, whoever does it: producers offer what has room at once and wait with what has none, and make way for
 * their consumer after each thousand.
 */
import { Backpressure, WriteBehind } from "@sluice/core"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import fastq from "fastq"
import { type Case, type Plan, timed, timesAsFast } from "../Benchmark.ts"
import { batchSize, expectCount, makeItems } from "./items.ts"

const capacity = 10_000
/** What a producer offers before it makes way. */
const stretch = 1_000
const items = makeItems(stretch)
/**
 * The longest that a batch stays open. It costs the same whatever it is, but must not come to pass: what it flushes is
 * no whole batch, and then the last one of a sample waits for it too.
 */
const linger = "1 hour"

/** Counts what is flushed, and tells when that is everything. */
class Sink {
  private expected = 0
  private flushed = 0
  private done: Deferred.Deferred<void> | undefined

  flush(count: number): Effect.Effect<void> {
    if (count > batchSize) throw new Error(`a batch of ${count}`)
    this.flushed += count
    return this.flushed < this.expected || this.done === undefined
      ? Effect.void
      : Effect.asVoid(Deferred.succeed(this.done, undefined))
  }

  /** Produces so many items and waits until all have been flushed. */
  drain(expected: number, produce: Effect.Effect<void>): Effect.Effect<void> {
    return Effect.flatMap(Deferred.make<void>(), (done) => {
      this.expected = expected
      this.flushed = 0
      this.done = done
      return Effect.zipRight(produce, Deferred.await(done)).pipe(
        Effect.map(() => expectCount("flushed", this.flushed, expected))
      )
    })
  }
}

/** How a producer gets an item in. */
interface Intake {
  readonly offer: (item: unknown) => Effect.Effect<unknown, unknown>
  /** At once, if there is room. */
  readonly unsafeOffer: (item: unknown) => boolean
}

const produce = (count: number, { offer }: Intake) =>
  Effect.gen(function*() {
    for (let offered = 0; offered < count; offered += stretch) {
      for (const item of items) yield* offer(item)
      yield* Effect.yieldNow()
    }
  })

const unsafeProduce = (count: number, { offer, unsafeOffer }: Intake) =>
  Effect.gen(function*() {
    for (let offered = 0; offered < count; offered += stretch) {
      for (const item of items) if (!unsafeOffer(item)) yield* offer(item)
      yield* Effect.yieldNow()
    }
  })

/** Sets a consumer up that hands batches to the sink, and answers where to offer. */
type Contender = (sink: Sink) => Effect.Effect<Intake, never, Scope.Scope>

/** The contender is set up once: queues live long, and what is made anew each time is never warm. */
const fromOfferedToFlushed = (
  name: string,
  contender: Contender,
  produceSome: typeof produce,
  operations: number
): Effect.Effect<Case, never, Scope.Scope> => {
  const sink = new Sink()
  return Effect.map(
    contender(sink),
    (intake) => timed(name, operations, sink.drain(operations, Effect.orDie(produceSome(operations, intake))))
  )
}

const throughWriteBehind: Contender = (sink) =>
  Effect.map(
    Effect.orDie(WriteBehind.make<unknown, never, never>({
      name: "benchmark",
      capacity,
      policy: Backpressure.suspend(),
      batchSize,
      flushInterval: linger,
      flush: (batch) => sink.flush(batch.items.length)
    })),
    (queue) => ({ offer: queue.offer, unsafeOffer: (item) => queue.unsafeOffer(item) === "accepted" })
  )

const fourShards: Contender = (sink) =>
  Effect.map(
    Effect.orDie(WriteBehind.make<any, never, never>({
      name: "benchmark-shards",
      capacity,
      policy: Backpressure.suspend(),
      batchSize,
      shards: 4,
      shardBy: (item) => item.key,
      // What is left in the four shards at the end fills no batch.
      flushInterval: "1 millis",
      flush: (batch) => sink.flush(batch.items.length)
    })),
    (queue) => ({ offer: queue.offer, unsafeOffer: (item) => queue.unsafeOffer(item) === "accepted" })
  )

const throughStream: Contender = (sink) =>
  Effect.gen(function*() {
    const queue = yield* Queue.bounded<unknown>(capacity)
    yield* Effect.forkScoped(
      Stream.fromQueue(queue).pipe(
        Stream.groupedWithin(batchSize, linger),
        Stream.runForEach((batch) => sink.flush(batch.length))
      )
    )
    return { offer: (item) => Queue.offer(queue, item), unsafeOffer: (item) => Queue.unsafeOffer(queue, item) }
  })

const throughTakeBetween: Contender = (sink) =>
  Effect.gen(function*() {
    const queue = yield* Queue.bounded<unknown>(capacity)
    yield* Effect.forkScoped(
      Effect.forever(Effect.flatMap(Queue.takeBetween(queue, 1, batchSize), (batch) => sink.flush(batch.length)))
    )
    return { offer: (item) => Queue.offer(queue, item), unsafeOffer: (item) => Queue.unsafeOffer(queue, item) }
  })

const throughMailbox: Contender = (sink) =>
  Effect.gen(function*() {
    const box = yield* Mailbox.make<unknown>({ capacity })
    yield* Effect.forkScoped(
      Effect.forever(Effect.flatMap(box.takeN(batchSize), ([batch]) => sink.flush(Chunk.size(batch))))
    )
    return { offer: (item) => box.offer(item), unsafeOffer: (item) => box.unsafeOffer(item) }
  })

/** fastq has no batches: its worker gathers them, and answers when one is full. */
const throughFastq: Contender = (sink) =>
  Effect.sync(() => {
    let gathered: Array<unknown> = []
    const queue = fastq((item: unknown, done) => {
      gathered.push(item)
      if (gathered.length === batchSize) {
        Effect.runSync(sink.flush(gathered.length))
        gathered = []
      }
      done(null)
    }, 1)
    const unsafeOffer = (item: unknown) => {
      queue.push(item)
      return true
    }
    return { unsafeOffer, offer: (item) => Effect.sync(() => unsafeOffer(item)) }
  })

const many = 500_000
const some = 50_000
const few = 10_000

export const flushing: Effect.Effect<Plan, never, Scope.Scope> = Effect.gen(function*() {
  const cases = yield* Effect.all([
    fromOfferedToFlushed("WriteBehind unsafeOffer", throughWriteBehind, unsafeProduce, many),
    fromOfferedToFlushed("groupedWithin unsafeOffer", throughStream, unsafeProduce, few),
    fromOfferedToFlushed("takeBetween unsafeOffer", throughTakeBetween, unsafeProduce, some),
    fromOfferedToFlushed("WriteBehind offer", throughWriteBehind, produce, some),
    fromOfferedToFlushed("groupedWithin offer", throughStream, produce, few),
    fromOfferedToFlushed("takeBetween offer", throughTakeBetween, produce, some),
    fromOfferedToFlushed("Mailbox.takeN unsafeOffer", throughMailbox, unsafeProduce, some),
    fromOfferedToFlushed("fastq push, gathered", throughFastq, unsafeProduce, many),
    fromOfferedToFlushed("WriteBehind unsafeOffer, 4 shards", fourShards, unsafeProduce, many)
  ])
  return {
    cases,
    ratios: [
      timesAsFast(
        "offered to flushed by unsafeOffer, against Stream.groupedWithin",
        "WriteBehind unsafeOffer",
        "groupedWithin unsafeOffer",
        { atLeast: 100 }
      ),
      timesAsFast(
        "offered to flushed by offer, against Stream.groupedWithin",
        "WriteBehind offer",
        "groupedWithin offer",
        { atLeast: 15 }
      ),
      timesAsFast(
        "offered to flushed by unsafeOffer, against Queue.bounded and takeBetween",
        "WriteBehind unsafeOffer",
        "takeBetween unsafeOffer",
        { atLeast: 3 }
      ),
      timesAsFast(
        "offered to flushed by offer, against Queue.bounded and takeBetween",
        "WriteBehind offer",
        "takeBetween offer"
      ),
      timesAsFast(
        "offered to flushed by unsafeOffer, against Mailbox.takeN",
        "WriteBehind unsafeOffer",
        "Mailbox.takeN unsafeOffer"
      ),
      timesAsFast(
        "offered to flushed by unsafeOffer, against fastq that gathers",
        "WriteBehind unsafeOffer",
        "fastq push, gathered"
      ),
      timesAsFast(
        "offered to flushed by unsafeOffer, 4 shards by key, against 1",
        "WriteBehind unsafeOffer, 4 shards",
        "WriteBehind unsafeOffer"
      )
    ]
  }
})
