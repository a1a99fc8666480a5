import type { BatchQueue, KeyedBatch, PolicyQueue, QueueError, QueueEvent, WriteBehind } from "@sluice/core"
import { type Effect, type Sink, Stream } from "effect"
import { describe, expect, it } from "tstyche"

declare const lines: WriteBehind.WriteBehind<string>
declare const mails: BatchQueue.BatchQueue<string>
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

describe("an event", () => {
  it("has the name of its queue, and the time", () => {
    expect<QueueEvent.QueueEvent<string>>().type.toBeAssignableTo<QueueEvent.Stamp>()
    expect<QueueEvent.BatchQueueEvent<string>>().type.toBeAssignableTo<QueueEvent.Stamp>()
    expect<QueueEvent.ShardPoolEvent<string>>().type.toBeAssignableTo<QueueEvent.Stamp>()
    expect<KeyedBatch.BatchRecord<string>>().type.toBeAssignableTo<QueueEvent.Stamp>()
  })
})
