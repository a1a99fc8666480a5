/**
 * A schema that needs services has them from where its queue is made.
 */
import { describe, expect, it } from "@effect/vitest"
import { BatchQueue, BatchStore, QueueError } from "@sluice/core"
import { Context, Effect, Layer, ParseResult, Schema } from "effect"
import { settleDown } from "./support/batchQueue.ts"

class Cipher extends Context.Tag("test/Cipher")<Cipher, { readonly shift: number; readonly waits?: boolean }>() {}

const moved = (text: string, by: number) =>
  String.fromCharCode(...Array.from(text, (_, at) => text.charCodeAt(at) + by))

const move = (text: string, by: (shift: number) => number) =>
  Effect.flatMap(Cipher, ({ shift, waits }) =>
    waits === true
      ? Effect.as(Effect.sleep(1), moved(text, by(shift)))
      : Effect.succeed(moved(text, by(shift))))

/** Text that is stored by a cipher. */
const Secret = Schema.transformOrFail(Schema.String, Schema.String, {
  strict: true,
  decode: (text) => move(text, (shift) => -shift),
  encode: (text) =>
    text === "plain" ? ParseResult.fail(new ParseResult.Unexpected(text, "refused")) : move(text, (shift) => shift)
})

const Mail = Schema.Struct({ to: Schema.String, lines: Schema.Array(Secret) })

const makeQueue = (options: { readonly workers: number }) =>
  Effect.gen(function*() {
    const handled: Array<typeof Mail.Type> = []
    const queue = yield* BatchQueue.make({
      name: "mails",
      schema: Mail,
      metrics: false,
      process: ({ items }) => Effect.sync(() => void handled.push(...items)),
      ...options
    })
    return { handled, queue }
  })

const withCipher = (cipher: Context.Tag.Service<Cipher>) => Effect.provide(Layer.succeed(Cipher, cipher))

const mail = { to: "ada", lines: ["abc", "xyz"] }

describe("a schema that needs services", () => {
  it.scoped("encodes and decodes with those of where the queue was made, whoever offers", () =>
    Effect.gen(function*() {
      const { handled, queue } = yield* makeQueue({ workers: 1 }).pipe(withCipher({ shift: 1 }))
      yield* queue.offer(mail)
      // Those of the caller are not asked.
      yield* queue.offerStored(mail).pipe(withCipher({ shift: 5 }))
      yield* settleDown
      expect(handled).toEqual([mail, mail])
    }).pipe(Effect.provide(BatchStore.layerMemory)))

  it.scoped("stores what the service made of it", () =>
    Effect.gen(function*() {
      const { queue } = yield* makeQueue({ workers: 0 }).pipe(withCipher({ shift: 1 }))
      yield* queue.offerStored(mail)
      const { handled } = yield* makeQueue({ workers: 1 }).pipe(withCipher({ shift: 2 }))
      yield* settleDown
      expect(handled).toEqual([{ to: "ada", lines: ["`ab", "wxy"] }])
    }).pipe(Effect.provide(BatchStore.layerMemory)))

  it.scoped("refuses what it cannot encode, and what a service would make asynchronous, at the offer", () =>
    Effect.gen(function*() {
      const { queue } = yield* makeQueue({ workers: 0 }).pipe(withCipher({ shift: 1 }))
      expect(yield* Effect.flip(queue.offer({ to: "ada", lines: ["plain"] }))).toBeInstanceOf(QueueError.MalformedItem)
      const { queue: slow } = yield* makeQueue({ workers: 0 }).pipe(withCipher({ shift: 1, waits: true }))
      expect(yield* Effect.flip(slow.offerStored(mail))).toBeInstanceOf(QueueError.MalformedItem)
      expect(yield* queue.metrics).toMatchObject({ offered: 1, refused: 1 })
    }).pipe(Effect.provide(BatchStore.layerMemory)))
})
