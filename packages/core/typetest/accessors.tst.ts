// Accessors of generic methods are none, which is what is tested.
// @effect-diagnostics unsupportedServiceAccessors:off
import {
  type Batch,
  BatchQueue,
  type BatchStore,
  KeyedBatch,
  type QueueError,
  type QueueEvent,
  ShardPool,
  WriteBehind
} from "@sluice/core"
import { Effect, type Layer, Schema, type Stream } from "effect"
import { describe, expect, it } from "tstyche"

const flush = (_batch: Batch.Batch<string>) => Effect.void
const key = (command: string) => command
const execute = (command: string) => command === "" ? Effect.fail("empty" as const) : Effect.succeed(command.length)
const load = (key: string) => key === "" ? Effect.fail("empty" as const) : Effect.succeed(0)
const save = () => Effect.void
const increment = (n: number) => [n, n + 1] as const

type NotCounted = QueueError.BatchTimeout | QueueError.ProcessorClosed | QueueError.InvalidKey | "empty"

describe("Effect.Tag", () => {
  class Lines extends Effect.Tag("app/Lines")<Lines, WriteBehind.WriteBehind<string>>() {}
  class Mails extends Effect.Tag("app/Mails")<Mails, BatchQueue.BatchQueue<string>>() {}
  class Commands extends Effect.Tag("app/Commands")<Commands, ShardPool.ShardPool<string, number, "empty">>() {}
  class Totals extends Effect.Tag("app/Totals")<Totals, KeyedBatch.KeyedBatch<string, number, "empty">>() {}

  it("has accessors for what a queue has", () => {
    expect(Lines.offer("a")).type.toBe<Effect.Effect<QueueEvent.Outcome, QueueError.OfferError<string>, Lines>>()
    expect(Lines.unsafeOffer("a")).type.toBe<Effect.Effect<QueueEvent.UnsafeOutcome, never, Lines>>()
    expect(Lines.flushNow).type.toBe<Effect.Effect<WriteBehind.Flushed, QueueError.QueueClosed, Lines>>()
    expect(Lines.events).type.toBe<Effect.Effect<Stream.Stream<QueueEvent.QueueEvent<string>>, never, Lines>>()
    expect(Mails.offerStored("a", { id: "1" })).type.toBe<
      Effect.Effect<
        "stored" | "duplicate",
        QueueError.BatchOfferError<string> | QueueError.ItemDropped<string> | QueueError.StoreUnavailable,
        Mails
      >
    >()
    expect(Mails.pause).type.toBe<Effect.Effect<void, never, Mails>>()
    expect(Commands.submit("a", { detach: true })).type.toBe<
      Effect.Effect<number, "empty" | ShardPool.SubmitError<string>, Commands>
    >()
    expect(Commands.drain("1 second")).type.toBe<
      Effect.Effect<void, QueueError.DrainTimeout<string> | QueueError.InvalidOption, Commands>
    >()
    expect(Totals.metrics).type.toBe<Effect.Effect<KeyedBatch.Metrics, never, Totals>>()
  })

  it("has the queue's name as queueName: its own name is that of the class", () => {
    for (const tag of [Lines, Mails, Commands, Totals]) {
      expect(tag.queueName).type.toBeAssignableTo<Effect.Effect<string, never, any>>()
    }
  })

  it("has no accessor for a generic method, which use calls", () => {
    expect(Totals).type.not.toHaveProperty("modify")
    expect(Totals.use((totals) => totals.modify("a", increment))).type.toBe<Effect.Effect<number, NotCounted, Totals>>()
  })

  it("is taken where a tag is", () => {
    expect(WriteBehind.layer(Lines, { name: "lines", capacity: 1, flush })).type.toBe<
      Layer.Layer<Lines, QueueError.InvalidOption>
    >()
  })
})

describe("accessors of Effect.Service", () => {
  const accessors = true

  it("are those of a queue", () => {
    class Lines extends Effect.Service<Lines>()("app/Lines", {
      accessors,
      scoped: WriteBehind.make({ name: "lines", capacity: 1, flush })
    }) {}
    expect(Lines.offer("a")).type.toBe<Effect.Effect<QueueEvent.Outcome, QueueError.OfferError<string>, Lines>>()
    expect(Lines.Default).type.toBe<Layer.Layer<Lines, QueueError.InvalidOption>>()

    class Mails extends Effect.Service<Mails>()("app/Mails", {
      accessors,
      scoped: BatchQueue.make({ name: "mails", schema: Schema.String, process: flush })
    }) {}
    expect(Mails.isPaused).type.toBe<Effect.Effect<boolean, never, Mails>>()
    expect(Mails.Default).type.toBe<
      Layer.Layer<Mails, QueueError.InvalidOption | QueueError.StoreUnavailable, BatchStore.BatchStore>
    >()

    class Commands extends Effect.Service<Commands>()("app/Commands", {
      accessors,
      scoped: ShardPool.make({ name: "commands", key, execute })
    }) {}
    expect(Commands.offer("a")).type.toBe<
      Effect.Effect<ShardPool.Offered, ShardPool.OfferCommandError<string>, Commands>
    >()

    class Totals extends Effect.Service<Totals>()("app/Totals", {
      accessors,
      scoped: KeyedBatch.make({ name: "totals", load, save })
    }) {}
    expect(Totals).type.not.toHaveProperty("modify")
    expect(Totals.use((totals) => totals.modify("a", increment))).type.toBe<Effect.Effect<number, NotCounted, Totals>>()
  })
})
