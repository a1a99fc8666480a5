import { Backpressure, type QueueError, type QueueEvent, ShardPool } from "@sluice/core"
import { type Config, Context, Effect, type Layer, type Scope, type Stream } from "effect"
import { describe, expect, it } from "tstyche"

interface Order {
  readonly instrument: string
  readonly quantity: number
}

class Database extends Context.Tag("Database")<Database, { readonly write: Effect.Effect<void> }>() {}
class Clockwork
  extends Context.Tag("Clockwork")<Clockwork, { readonly version: Effect.Effect<number, Unreadable> }>()
{}
class Refused {
  readonly _tag = "Refused"
}
class Unreadable {
  readonly _tag = "Unreadable"
}
class Book extends Context.Tag("app/Book")<Book, ShardPool.ShardPool<Order, number, Refused | Unreadable>>() {}

const key = ({ instrument }: Order) => instrument
const execute = ({ quantity }: Order) =>
  Effect.flatMap(Database, ({ write }) => quantity > 0 ? Effect.as(write, quantity) : Effect.fail(new Refused()))
const currentVersion = () => Effect.flatMap(Clockwork, ({ version }) => version)

declare const book: ShardPool.ShardPool<Order, number, Refused>
declare const shards: Config.Config<number>

/** A call whose Effect is not used would be reported as such, and every "not callable" would pass. */
declare const boxed: <Args extends ReadonlyArray<unknown>, B>(
  f: (...args: Args) => B
) => (...args: Args) => { readonly box: B }

describe("make", () => {
  it("needs a scope and what commands and versions need, and answers with the errors of both", () => {
    expect(ShardPool.make({ name: "book", key, execute })).type.toBe<
      Effect.Effect<ShardPool.ShardPool<Order, number, Refused>, QueueError.InvalidOption, Database | Scope.Scope>
    >()
    expect(ShardPool.make({ name: "book", key, execute, currentVersion })).type.toBe<
      Effect.Effect<
        ShardPool.ShardPool<Order, number, Refused | Unreadable>,
        QueueError.InvalidOption,
        Database | Clockwork | Scope.Scope
      >
    >()
  })

  it("gives a command its key, version and shard", () => {
    const made = ShardPool.make({
      name: "book",
      key,
      execute: (order: Order, run) => {
        expect(order).type.toBe<Order>()
        expect(run).type.toBe<ShardPool.Run<string>>()
        return Effect.succeed(run.version)
      },
      isRejection: (error) => {
        expect(error).type.toBe<never>()
        return true
      }
    })
    expect(made).type.toBe<
      Effect.Effect<ShardPool.ShardPool<Order, number>, QueueError.InvalidOption, Scope.Scope>
    >()
  })

  it("asks isRejection about errors of execute alone", () => {
    const made = ShardPool.make({
      name: "book",
      key,
      execute,
      currentVersion,
      isRejection: (error) => {
        expect(error).type.toBe<Refused>()
        return true
      }
    })
    expect(made).type.toBeAssignableTo<Effect.Effect<unknown, unknown, Database | Clockwork | Scope.Scope>>()
  })

  it("takes no policy of other items, and no key that is neither text nor number", () => {
    expect(boxed(ShardPool.make<Order, number, Refused, Database>)).type.not.toBeCallableWith({
      name: "book",
      key,
      execute,
      policy: Backpressure.coalesceByKey((date: Date) => date.getTime())
    })
    expect(boxed(ShardPool.make<Order, number, Refused, Database>)).type.not.toBeCallableWith({
      name: "book",
      key: () => ({}),
      execute
    })
    expect(boxed(ShardPool.make<Order, number, Refused, Database>)).type.toBeCallableWith({
      name: "book",
      key,
      execute,
      policy: Backpressure.reject
    })
  })
})

describe("submit and offer", () => {
  it("say what a command can fail with, and carry the command", () => {
    const submitted = book.submit({ instrument: "gold", quantity: 1 }, { detach: true })
    expect(submitted).type.toBe<
      Effect.Effect<
        number,
        | Refused
        | QueueError.QueueFull<Order>
        | QueueError.OfferTimeout<Order>
        | QueueError.CommandDropped<Order>
        | QueueError.PoolClosed<Order>
        | QueueError.InvalidKey<Order>
      >
    >()
    const offered = book.offer({ instrument: "gold", quantity: 1 })
    expect(offered).type.toBe<
      Effect.Effect<
        "accepted" | "dropped",
        | QueueError.QueueFull<Order>
        | QueueError.OfferTimeout<Order>
        | QueueError.PoolClosed<Order>
        | QueueError.InvalidKey<Order>
      >
    >()
    expect(boxed(book.submit)).type.not.toBeCallableWith({ instrument: "gold" })
  })

  it("have events that say with which error a command was rejected", () => {
    expect(book.events).type.toBe<Stream.Stream<QueueEvent.ShardPoolEvent<Order, Refused>>>()
    expect<Extract<QueueEvent.ShardPoolEvent<Order, Refused>, { readonly _tag: "Rejected" }>["error"]>().type
      .toBe<Refused>()
  })

  it("drain names what is left", () => {
    const drained = book.drain("1 second")
    expect(drained).type.toBe<Effect.Effect<void, QueueError.DrainTimeout<Order> | QueueError.InvalidOption>>()
  })
})

describe("layer", () => {
  it("fills the tag, whose errors cover those of commands and versions", () => {
    expect(ShardPool.layer(Book, { name: "book", key, execute, currentVersion })).type.toBe<
      Layer.Layer<Book, QueueError.InvalidOption, Database | Clockwork>
    >()
  })

  it("takes no commands that fail otherwise, or answer with something else", () => {
    expect(ShardPool.layer).type.not.toBeCallableWith(Book, {
      name: "book",
      key,
      execute: () => Effect.fail("other" as const)
    })
    expect(ShardPool.layer).type.not.toBeCallableWith(Book, {
      name: "book",
      key,
      execute: () => Effect.succeed("text")
    })
  })

  it("layerConfig takes numbers and durations from a configuration, and nothing else", () => {
    expect(ShardPool.layerConfig).type.toBeCallableWith(Book, { name: "book", key, execute }, { shards })
    expect(ShardPool.layerConfig).type.not.toBeCallableWith(Book, { name: "book", key, execute }, { key: shards })
  })
})
