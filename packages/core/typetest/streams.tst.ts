import type { BatchQueue, KeyedBatch, PolicyQueue, QueueError, QueueEvent, WriteBehind } from "@sluice/core"
import { type Effect, Queue, type Sink, Stream, type Take } from "effect"
import { describe, expect, it } from "tstyche"

declare const lines: WriteBehind.WriteBehind<string>
declare const mails: BatchQueue.BatchQueue<string>
/** An Effect that is made for its type alone. */
declare const unused: (effect: unknown) => void

declare const numbers: Stream.Stream<number>
declare const text: Stream.Stream<string, never, "app/Source">
declare const source: Stream.Stream<string, "gone", "app/Source">

describe("a sink", () => {
  it("answers what became of the items, and fails as an offer does, or as the stream", () => {
    expect(Stream.run(source, lines.sink)).type.toBe<
      Effect.Effect<PolicyQueue.Taken, "gone" | QueueError.OfferError<string>, "app/Source">
    >()
    expect(Stream.run(source, mails.sink)).type.toBe<
      Effect.Effect<PolicyQueue.Taken, "gone" | QueueError.BatchOfferError<string>, "app/Source">
    >()
  })

  it("takes items of the queue only", () => {
    expect(lines.sink).type.toBeAssignableTo<Sink.Sink<unknown, string, never, unknown>>()
    expect(lines.sink).type.not.toBeAssignableTo<Sink.Sink<unknown, number, never, unknown>>()
  })
})

describe("a view for producers of Effect Queues", () => {
  it("takes items of the queue, and tells of no errors", () => {
    expect(Queue.offer(lines.enqueue, "a")).type.toBe<Effect.Effect<boolean>>()
    expect(mails.enqueue).type.toBe<Queue.Enqueue<string>>()
    expect(mails.enqueue).type.not.toBeAssignableTo<Queue.Enqueue<number>>()
  })

  it("takes streams of them, which do not fail, because nobody would be told", () => {
    expect(lines.enqueueTakes).type.toBe<Queue.Enqueue<Take.Take<string>>>()
    expect(Stream.runIntoQueue(text, lines.enqueueTakes)).type.toBe<Effect.Effect<void, never, "app/Source">>()
    expect(text.pipe(Stream.runIntoQueue(mails.enqueueTakes))).type.toBe<Effect.Effect<void, never, "app/Source">>()
    expect(lines.enqueueTakes).type.not.toBeAssignableTo<Queue.Enqueue<Take.Take<number>>>()
    expect(lines.enqueueTakes).type.not.toBeAssignableTo<Queue.Enqueue<Take.Take<string, "gone">>>()
    // @ts-expect-error Argument of type 'Stream<number, never, never>' is not assignable to parameter of type 'Stream<string
    unused(Stream.runIntoQueue(numbers, lines.enqueueTakes))
  })
})

describe("an event", () => {
  it("has the name of its queue, and the time", () => {
    expect<QueueEvent.QueueEvent<string>>().type.toBeAssignableTo<QueueEvent.Stamp>()
    expect<QueueEvent.BatchQueueEvent<string>>().type.toBeAssignableTo<QueueEvent.Stamp>()
    expect<QueueEvent.ShardPoolEvent<string>>().type.toBeAssignableTo<QueueEvent.Stamp>()
    expect<KeyedBatch.BatchRecord<string>>().type.toBeAssignableTo<QueueEvent.Stamp>()
  })
})
