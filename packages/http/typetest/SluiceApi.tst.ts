import { HttpApi, HttpApiClient, type HttpApiGroup } from "@effect/platform"
import { type Batch, BatchQueue, type QueueError, WriteBehind } from "@sluice/core"
import { HttpQueue, HttpQueues, Ingest, SluiceApi } from "@sluice/http"
import { Context, Effect, type Layer, Option, Redacted, Schema } from "effect"
import { describe, expect, it } from "tstyche"

const Reading = Schema.Struct({ sensor: Schema.String, celsius: Schema.Number })
const Email = Schema.Struct({ to: Schema.String, at: Schema.Date })
type Reading = typeof Reading.Type
type Email = typeof Email.Type

class Readings extends Context.Tag("test/Readings")<Readings, WriteBehind.WriteBehind<Reading>>() {}
class Emails extends Context.Tag("test/Emails")<Emails, BatchQueue.BatchQueue<Email>>() {}

const Api = SluiceApi.make({ readings: Reading, emails: Email })
class Mine extends HttpApi.make("mine").addHttpApi(Api) {}

/** A call whose Effect is not used would be reported as such, and every "not callable" would pass. */
declare const boxed: <Args extends ReadonlyArray<unknown>, B>(
  f: (...args: Args) => B
) => (...args: Args) => { readonly box: B }

const client = null! as Effect.Effect.Success<ReturnType<typeof makeClient>>
const makeClient = () => HttpApiClient.make(Mine)

const rest = { urlParams: {}, headers: {} } as const

describe("the payload of a queue", () => {
  it("is an item of it, or an array of them, as the schema decodes it", () => {
    expect<Parameters<typeof client.queues.readings>[0]["payload"]>().type.toBe<Reading | ReadonlyArray<Reading>>()
    expect<Parameters<typeof client.queues.emails>[0]["payload"]>().type.toBe<Email | ReadonlyArray<Email>>()
    expect(boxed(client.queues.readings<false>)).type.toBeCallableWith({
      payload: { sensor: "roof", celsius: 1 },
      ...rest
    })
    expect(boxed(client.queues.emails<false>)).type.toBeCallableWith({
      payload: [{ to: "ada", at: new Date() }],
      ...rest
    })
  })

  it("is not that of another queue, nor the encoded side", () => {
    expect(boxed(client.queues.readings<false>)).type.not.toBeCallableWith({
      payload: { to: "ada", at: new Date() },
      ...rest
    })
    expect(boxed(client.queues.readings<false>)).type.not.toBeCallableWith({
      payload: [{ sensor: "roof", celsius: "1" }],
      ...rest
    })
    expect(boxed(client.queues.emails<false>)).type.not.toBeCallableWith({
      payload: { to: "ada", at: "2026-01-01T00:00:00.000Z" },
      ...rest
    })
  })

  it("has the names of the queues, and no others", () => {
    expect<keyof typeof client.queues>().type.toBe<"readings" | "emails">()
  })
})

describe("a request", () => {
  it("may wait for the store or the settlement, and for nothing else", () => {
    const payload = { sensor: "roof", celsius: 1 }
    expect(boxed(client.queues.readings<false>)).type.toBeCallableWith({
      payload,
      urlParams: { wait: "settled" },
      headers: { "idempotency-key": "k" }
    })
    expect(boxed(client.queues.readings<false>)).type.not.toBeCallableWith({
      payload,
      urlParams: { wait: "accepted" },
      headers: {}
    })
    expect(boxed(client.queues.readings<false>)).type.not.toBeCallableWith({
      payload,
      urlParams: {},
      headers: { "idempotency-key": 1 }
    })
  })

  it("is answered with counts", () => {
    expect(client.queues.readings({ payload: [], ...rest })).type.toBeAssignableTo<
      Effect.Effect<typeof SluiceApi.Taken.Type, unknown>
    >()
    expect<typeof SluiceApi.Taken.Type["stored"]>().type.toBe<number>()
  })

  it("fails with the classes of HttpError", () => {
    type Tag<E> = E extends { readonly _tag: infer Name } ? Name : never
    type Tags = Tag<Effect.Effect.Error<ReturnType<typeof client.queues.readings<false>>>>
    expect<
      | "InvalidItems"
      | "InvalidRequest"
      | "Unauthorized"
      | "UnknownQueue"
      | "TooLarge"
      | "UnsupportedMediaType"
      | "QueueIsFull"
      | "QueueUnavailable"
    >().type.toBeAssignableTo<Tags>()
  })
})

describe("the client of SluiceApi", () => {
  const client = null! as Effect.Effect.Success<ReturnType<typeof make>>
  const make = () => SluiceApi.client(Mine, { baseUrl: "http://localhost" })
  const payload = { sensor: "roof", celsius: 1 }

  it("needs what the generated one needs, and never fails", () => {
    expect<Effect.Effect.Context<ReturnType<typeof make>>>().type.toBe<
      Effect.Effect.Context<ReturnType<typeof makeClient>>
    >()
    expect<Effect.Effect.Error<ReturnType<typeof make>>>().type.toBe<never>()
  })

  it("offers a payload alone, and takes the rest where it is given", () => {
    expect(boxed(client.queues.readings<false>)).type.toBeCallableWith({ payload })
    expect(boxed(client.queues.emails<false>)).type.toBeCallableWith({ payload: [{ to: "ada", at: new Date() }] })
    expect(boxed(client.queues.readings<false>)).type.toBeCallableWith({ payload, urlParams: { wait: "settled" } })
    expect(boxed(client.queues.readings<false>)).type.toBeCallableWith({ payload, headers: { "idempotency-key": "k" } })
    expect(boxed(client.queues.readings<false>)).type.not.toBeCallableWith({})
    expect(boxed(client.queues.readings<false>)).type.not.toBeCallableWith({ payload: { to: "ada", at: new Date() } })
    expect(boxed(client.queues.readings<false>)).type.not.toBeCallableWith({ payload, urlParams: { wait: "accepted" } })
  })

  it("answers and fails as the generated one does, and has its other groups", () => {
    const plain = null! as Effect.Effect.Success<ReturnType<typeof makeClient>>
    expect(client.queues.readings({ payload })).type.toBe(plain.queues.readings({ payload, ...rest }))
    expect(client.queueAdmin).type.toBe(plain.queueAdmin)
  })

  it("is one of an API that has the queues", () => {
    expect(boxed(SluiceApi.client)).type.not.toBeCallableWith(HttpApi.make("other").add(SluiceApi.Watch))
  })
})

describe("a command for dead letters", () => {
  const path = { name: "emails" }
  const rates = { limit: 10, rate: 0.5, dryRun: true }

  it("is for ids, for all of them, or for what they are like, and may say how many and how fast", () => {
    for (const command of [client.queueAdmin.redrive<false>, client.queueAdmin.discard<false>]) {
      expect(boxed(command)).type.toBeCallableWith({ path, payload: { ids: [1, 2] } })
      expect(boxed(command)).type.toBeCallableWith({ path, payload: { ids: "all", ...rates } })
      expect(boxed(command)).type.toBeCallableWith({ path, payload: { where: { reason: "corrupt" } } })
      expect(boxed(command)).type.toBeCallableWith({
        path,
        payload: { where: { reason: undefined, error: "refused", olderThanMillis: 60_000 }, ...rates }
      })
    }
  })

  it("is not for both, nor for what nobody knows", () => {
    const { redrive } = client.queueAdmin
    expect(boxed(redrive<false>)).type.not.toBeCallableWith({ path, payload: {} })
    expect(boxed(redrive<false>)).type.not.toBeCallableWith({
      path,
      payload: { ids: "all", where: { reason: "corrupt" } }
    })
    expect(boxed(redrive<false>)).type.not.toBeCallableWith({ path, payload: { ids: "every" } })
    expect(boxed(redrive<false>)).type.not.toBeCallableWith({ path, payload: { ids: "all", max: 1 } })
    expect(boxed(redrive<false>)).type.not.toBeCallableWith({ path, payload: { where: { olderThan: "1 day" } } })
    expect(boxed(redrive<false>)).type.not.toBeCallableWith({ path, payload: { ids: "all", rate: "1 a second" } })
  })

  it("is answered with how much that was", () => {
    expect(client.queueAdmin.discard({ path, payload: { ids: "all" } })).type.toBeAssignableTo<
      Effect.Effect<typeof SluiceApi.Amount.Type, unknown>
    >()
  })

  it("goes with what the list can be asked for by", () => {
    expect(boxed(client.queueAdmin.deadLetters<false>)).type.toBeCallableWith({
      path,
      urlParams: { reason: "corrupt", error: "x", olderThanMillis: 1, limit: 10, after: 3 }
    })
    expect(boxed(client.queueAdmin.deadLetters<false>)).type.not.toBeCallableWith({
      path,
      urlParams: { olderThanMillis: "1 day", limit: 10 }
    })
  })
})

describe("the dead letters of a queue of one's own", () => {
  type Letters = HttpQueue.DeadLetters
  const amount = { batches: 0, items: 0 }

  it("may take less than they are asked for, and need not fail", () => {
    expect({
      list: () => Effect.succeed([]),
      inspect: () => Effect.succeed(Option.none()),
      redrive: () => Effect.succeed(amount),
      discard: () => Effect.succeed(amount)
    }).type.toBeAssignableTo<Letters>()
  })

  it("are not those of a BatchQueue as they are, which has another query", () => {
    const queue = null! as BatchQueue.BatchQueue<Email>
    expect(queue.deadLetters.redrive).type.not.toBeAssignableTo<Letters["redrive"]>()
    expect(HttpQueue.fromBatchQueue(queue, { schema: Email }).deadLetters!).type.toBe<Letters>()
  })

  it("fail with what a store and an option can", () => {
    type Failure = QueueError.StoreUnavailable | QueueError.InvalidOption
    expect<Effect.Effect.Error<ReturnType<Letters["redrive"]>>>().type.toBe<Failure>()
    expect<Effect.Effect.Error<ReturnType<Letters["list"]>>>().type.toBe<Failure>()
  })
})

describe("HttpQueues.layer", () => {
  it("needs the queues that it mounts, and fails with what an option can", () => {
    const both = HttpQueues.layer([
      HttpQueue.writeBehind(Readings, { schema: Reading }),
      HttpQueue.batchQueue(Emails, { schema: Email })
    ])
    expect(both).type.toBe<Layer.Layer<HttpQueues.HttpQueues, QueueError.InvalidOption, Readings | Emails>>()
    expect(HttpQueues.layer([HttpQueue.writeBehind(Readings, { schema: Reading })])).type.toBe<
      Layer.Layer<HttpQueues.HttpQueues, QueueError.InvalidOption, Readings>
    >()
  })

  it("keeps the error of a queue that is made in place", () => {
    const failing = null! as Effect.Effect<HttpQueue.HttpQueue<Reading>, "no queue", Emails>
    expect(HttpQueues.layer([failing])).type.toBe<
      Layer.Layer<HttpQueues.HttpQueues, QueueError.InvalidOption | "no queue", Emails>
    >()
  })

  it("mounts queues of an Effect.Service", () => {
    class ReadingsService extends Effect.Service<ReadingsService>()("test/ReadingsService", {
      scoped: WriteBehind.make({ name: "readings", capacity: 1, flush: (_batch: Batch.Batch<Reading>) => Effect.void })
    }) {}
    class EmailsService extends Effect.Service<EmailsService>()("test/EmailsService", {
      scoped: BatchQueue.make({ name: "emails", schema: Email, process: () => Effect.void })
    }) {}
    expect(HttpQueue.writeBehind(ReadingsService, { schema: Reading })).type.toBe<
      Effect.Effect<HttpQueue.HttpQueue<Reading>, never, ReadingsService>
    >()
    expect(HttpQueue.batchQueue(EmailsService, { schema: Email })).type.toBe<
      Effect.Effect<HttpQueue.HttpQueue<Email>, never, EmailsService>
    >()
    expect(boxed(HttpQueue.writeBehind<ReadingsService, Reading, any>)).type.not.toBeCallableWith(ReadingsService, {
      schema: Email
    })
    expect(boxed(HttpQueue.batchQueue)).type.not.toBeCallableWith(ReadingsService, { schema: Reading })
  })

  it("takes a schema for the items of the queue only", () => {
    expect(boxed(HttpQueue.writeBehind<Readings, Reading, Reading>)).type.toBeCallableWith(Readings, {
      schema: Reading
    })
    expect(boxed(HttpQueue.writeBehind<Readings, Reading, any>)).type.not.toBeCallableWith(Readings, {
      schema: Email
    })
    expect(boxed(HttpQueue.batchQueue<Emails, Email, any>)).type.not.toBeCallableWith(Emails, { schema: Reading })
    expect(boxed(HttpQueue.batchQueue<Emails, Email, any>)).type.not.toBeCallableWith(Readings, { schema: Email })
  })
})

describe("Ingest", () => {
  it("implements the group of its API, and needs the queues", () => {
    expect(Ingest.layer(Mine)).type.toBe<
      Layer.Layer<HttpApiGroup.ApiGroup<"mine", "queues">, QueueError.InvalidOption, HttpQueues.HttpQueues>
    >()
    expect(Ingest.layer(Api, { token: Redacted.make("a token for producers") })).type.toBe<
      Layer.Layer<HttpApiGroup.ApiGroup<"sluice", "queues">, QueueError.InvalidOption, HttpQueues.HttpQueues>
    >()
  })

  it("takes a token that is redacted, and no text", () => {
    expect(boxed(Ingest.make)).type.toBeCallableWith({ token: Redacted.make("a token for producers") })
    expect(boxed(Ingest.make)).type.not.toBeCallableWith({ token: "a token for producers" })
    expect(boxed(Ingest.make)).type.toBeCallableWith()
  })

  it("made without an API never fails, and needs its queues once", () => {
    expect<Effect.Effect.Error<Effect.Effect.Success<ReturnType<typeof Ingest.make>>>>().type.toBe<never>()
    expect<Effect.Effect.Context<ReturnType<typeof Ingest.make>>>().type.toBe<HttpQueues.HttpQueues>()
    expect<Effect.Effect.Error<ReturnType<typeof Ingest.router>>>().type.toBe<QueueError.InvalidOption>()
  })
})
