import { KeyedBatch, type QueueError, type QueueEvent } from "@sluice/core"
import { type Config, Context, Effect, type Layer, type Scope, type Stream } from "effect"
import { describe, expect, it } from "tstyche"

interface Account {
  readonly balance: number
}

class Database extends Context.Tag("Database")<Database, { readonly read: Effect.Effect<Account, Unreadable> }>() {}
class Disk extends Context.Tag("Disk")<Disk, { readonly write: Effect.Effect<void, Unwritable> }>() {}
class Unreadable {
  readonly _tag = "Unreadable"
}
class Unwritable {
  readonly _tag = "Unwritable"
}
class Overdrawn {
  readonly _tag = "Overdrawn"
}
class Accounts extends Context.Tag("app/Accounts")<
  Accounts,
  KeyedBatch.KeyedBatch<string, Account, Unreadable | Unwritable>
>() {}

const load = (_key: string) => Effect.flatMap(Database, ({ read }) => read)
const save = (_key: string, _account: Account) => Effect.flatMap(Disk, ({ write }) => write)

declare const accounts: KeyedBatch.KeyedBatch<string, Account, Unreadable>
declare const shards: Config.Config<number>

/** A call whose Effect is not used would be reported as such, and every "not callable" would pass. */
declare const boxed: <Args extends ReadonlyArray<unknown>, B>(
  f: (...args: Args) => B
) => (...args: Args) => { readonly box: B }

describe("make", () => {
  it("needs a scope and what load and save need, and its operations fail with the errors of both", () => {
    expect(KeyedBatch.make({ name: "accounts", load, save })).type.toBe<
      Effect.Effect<
        KeyedBatch.KeyedBatch<string, Account, Unreadable | Unwritable>,
        QueueError.InvalidOption,
        Database | Disk | Scope.Scope
      >
    >()
    expect(KeyedBatch.make({ name: "accounts", initial: (_key: number) => ({ balance: 0 }) })).type.toBe<
      Effect.Effect<KeyedBatch.KeyedBatch<number, { balance: number }>, QueueError.InvalidOption, Scope.Scope>
    >()
  })

  it("has the resource that an annotation of save names, where load says too little", () => {
    interface Book {
      readonly fills: ReadonlyArray<number>
    }
    type Made = Effect.Effect<KeyedBatch.KeyedBatch<string, Book>, QueueError.InvalidOption, Scope.Scope>
    const load = (_key: string) => Effect.succeed({ fills: [] })
    expect(KeyedBatch.make({ name: "books", load, save: (_key, _book: Book) => Effect.void })).type.toBe<Made>()
    const initial = (_key: string) => ({ fills: [] })
    expect(KeyedBatch.make({ name: "books", initial, save: (_key, _book: Book) => Effect.void })).type.toBe<Made>()
    const loadsText = (_key: string) => Effect.succeed({ fills: ["1"] })
    expect(boxed(KeyedBatch.make<string, Book>)).type.not.toBeCallableWith({ name: "books", load: loadsText })
  })

  it("takes either load or initial, and keys that are text or numbers", () => {
    const make = boxed(KeyedBatch.make<string, Account>)
    expect(make).type.toBeCallableWith({ name: "accounts", initial: () => ({ balance: 0 }) })
    expect(make).type.not.toBeCallableWith({ name: "accounts" })
    expect(make).type.not.toBeCallableWith({
      name: "accounts",
      initial: () => ({ balance: 0 }),
      load: () => Effect.succeed({ balance: 0 })
    })
    expect<KeyedBatch.KeyedBatch<string, Account>>().type.not.toBeAssignableTo<KeyedBatch.KeyedBatch<number, Account>>()
  })
})

describe("operations", () => {
  type Common = Unreadable | QueueError.BatchTimeout | QueueError.ProcessorClosed | QueueError.InvalidKey

  it("answer with what they return, and fail with the errors of the processor and their own", () => {
    const modified = accounts.modify("a", (account) => {
      expect(account).type.toBe<Account>()
      return [account.balance, account]
    })
    expect(modified).type.toBe<Effect.Effect<number, Common>>()
    const tried = accounts.modifyEffect(
      "a",
      (account) => account.balance > 0 ? Effect.succeed(["done", account] as const) : Effect.fail(new Overdrawn())
    )
    expect(tried).type.toBe<Effect.Effect<"done", Common | Overdrawn>>()
    const mutated = accounts.mutate("a", ({ balance }) => balance)
    expect(mutated).type.toBe<Effect.Effect<number, Common>>()
  })

  it("require what their own Effect does", () => {
    const modified = accounts.modifyEffect(
      "a",
      (account) => Effect.flatMap(Disk, ({ write }) => Effect.as(write, ["done", account] as const))
    )
    expect(modified).type.toBe<Effect.Effect<"done", Common | Unwritable, Disk>>()
    const inScope = accounts.modifyEffect("a", (account) => Effect.as(Effect.scope, [1, account] as const))
    expect(inScope).type.toBe<Effect.Effect<1, Common, Scope.Scope>>()
  })

  it("take no other keys, and give no other resource back", () => {
    expect(boxed(accounts.modify)).type.not.toBeCallableWith(7, (account: Account) => [1, account] as const)
    expect(boxed(accounts.modify)).type.not.toBeCallableWith("a", () => [1, "text"] as const)
    expect(boxed(accounts.modifyEffect)).type.not.toBeCallableWith("a", () => Effect.succeed([1, "text"] as const))
  })

  it("are told of by batch", () => {
    expect(accounts.events).type.toBe<Stream.Stream<KeyedBatch.BatchRecord<string> | QueueEvent.Missed>>()
  })
})

describe("layer", () => {
  it("fills the tag", () => {
    expect(KeyedBatch.layer(Accounts, { name: "accounts", load, save })).type.toBe<
      Layer.Layer<Accounts, QueueError.InvalidOption, Database | Disk>
    >()
  })

  it("takes no load that fails otherwise, or loads something else", () => {
    expect(KeyedBatch.layer).type.not.toBeCallableWith(Accounts, {
      name: "accounts",
      load: () => Effect.fail("other" as const)
    })
    expect(KeyedBatch.layer).type.not.toBeCallableWith(Accounts, {
      name: "accounts",
      load: () => Effect.succeed("text")
    })
  })

  it("layerConfig takes numbers and durations from a configuration, and nothing else", () => {
    expect(KeyedBatch.layerConfig).type.toBeCallableWith(Accounts, { name: "accounts", load }, { shards })
    expect(KeyedBatch.layerConfig).type.not.toBeCallableWith(Accounts, { name: "accounts", load }, { load: shards })
  })
})
