import { describe, expect, it } from "@effect/vitest"
import { BatchQueue, BatchStore, Codec, Result } from "@sluice/core"
import { Effect, FastCheck, Schema } from "effect"
import { MessagePack } from "../src/index.ts"

const { messagePack } = MessagePack

const AnyValue: Schema.Schema<unknown> = Schema.Unknown

const envelope = { trigger: "size", openedAtMillis: 0 } as const

const anything = FastCheck.anything({
  withDate: true,
  withBigInt: true,
  withTypedArray: false,
  withNullPrototype: false,
  maxDepth: 3
})

const isNegativeZeroFree = (value: unknown): boolean =>
  !JSON.stringify(value, (_, v) => Object.is(v, -0) ? "-0" : typeof v === "bigint" ? String(v) : v)?.includes("\"-0\"")

describe("MessagePack", () => {
  it("gives back what it takes", () => {
    const codec = Codec.make(AnyValue, { format: messagePack })
    let taken = 0
    FastCheck.assert(
      FastCheck.property(FastCheck.array(anything.filter(isNegativeZeroFree), { maxLength: 5 }), (values) => {
        const encodable = values.map((value) => codec.encodeItem(value)).filter(Result.isSuccess).map(({ success }) =>
          success.value
        )
        taken += encodable.length
        const { items } = Result.getOrThrow(codec.decodeBatch(codec.encodeBatch(encodable, envelope)))
        expect(items).toEqual(encodable)
      }),
      { seed: 11, numRuns: 2000 }
    )
    expect(taken).toBeGreaterThan(1000)
  })

  it("carries dates, NaN, undefined, bytes and bigints of 64 bits, and refuses longer ones", () => {
    const codec = Codec.make(AnyValue, { format: messagePack })
    const values = [new Date(5), NaN, -Infinity, undefined, 2n ** 64n - 1n, -(2n ** 63n), 7n, 2 ** 53]
    const { items } = Result.getOrThrow(codec.decodeBatch(codec.encodeBatch(values, envelope)))
    expect(items).toEqual(values)
    const [bytes] = Result.getOrThrow(codec.decodeBatch(codec.encodeBatch([Uint8Array.of(1, 2)], envelope))).items
    expect(Array.from(bytes as Uint8Array)).toEqual([1, 2])
    for (const value of values) expect(Result.isSuccess(codec.encodeItem([value]))).toBe(true)
    for (const value of [2n ** 64n, -(2n ** 63n) - 1n, new Date(NaN), new Map(), Symbol("s"), () => {}]) {
      expect(codec.encodeItem([value])).toMatchObject(Result.fail({ reason: "unsupported" }))
    }
  })

  it("writes batches that are whole by themselves, whatever was written before", () => {
    const shapes = Array.from({ length: 200 }, (_, i) => ({ [`field${i}`]: i }))
    const first = messagePack.encode(shapes)
    const second = messagePack.encode(shapes.slice(0, 1))
    expect(messagePack.decode(second)).toEqual(shapes.slice(0, 1))
    expect(messagePack.decode(first)).toEqual(shapes)
    expect(messagePack.encode([{ a: 1 }])).toEqual(messagePack.encode([{ a: 1 }]))
  })

  it.scoped("is a format of a queue, which still reads what it has stored as JSON", () =>
    Effect.gen(function*() {
      const Order = Schema.Struct({ id: Schema.String, at: Schema.DateFromSelf })
      const handled: Array<typeof Order.Type> = []
      const options = {
        name: "orders",
        schema: Order,
        process: (batch: { readonly items: ReadonlyArray<typeof Order.Type> }) =>
          Effect.sync(() => handled.push(...batch.items)).pipe(Effect.asVoid)
      }
      const order = { id: "a", at: new Date(7) }
      // JSON has no dates.
      const json = yield* BatchQueue.make({ ...options, workers: 0 })
      expect(yield* Effect.flip(json.offer(order))).toMatchObject({ _tag: "MalformedItem", path: "at" })
      const packed = yield* BatchQueue.make({ ...options, format: messagePack })
      yield* packed.offerStored(order)
      yield* Effect.yieldNow()
      expect(handled).toEqual([order])
    }).pipe(Effect.provide(BatchStore.layerMemory)))
})
