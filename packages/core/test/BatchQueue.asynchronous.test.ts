import { describe, expect, it } from "@effect/vitest"
import { BatchQueue, BatchStore, Buffer } from "@sluice/core"
import { Effect, ParseResult, Schema } from "effect"

/** Asynchronous for what begins with "slow", in the direction that is named. */
const slowIn = (direction: "decode" | "encode") => {
  const step = (text: string) =>
    text.startsWith("slow") ? Effect.promise(() => Promise.resolve(text)) : Effect.suspend(() => Effect.succeed(text))
  return Schema.transformOrFail(Schema.String, Schema.String, {
    decode: direction === "decode" ? step : ParseResult.succeed,
    encode: direction === "encode" ? step : ParseResult.succeed
  })
}

describe.each(["decode", "encode"] as const)("an item whose schema is asynchronous (%s)", (direction) => {
  const make = (options: Partial<BatchQueue.Options<string, string, never, never>> = {}) =>
    BatchQueue.make<string, string, never, never>({
      name: "test",
      schema: slowIn(direction),
      process: () => Effect.void,
      metrics: false,
      ...options
    })

  it.scopedLive("is refused as malformed by every way of offering, and others are not affected", () =>
    Effect.gen(function*() {
      const queue = yield* make()
      const errors = [
        yield* Effect.flip(queue.offer("slow")),
        yield* Effect.flip(queue.offerStored("slow")),
        yield* Effect.flip(queue.offerAll(["slow"])),
        yield* Effect.flip(queue.offerAllOrNone(["a", "slow"])),
        yield* Effect.flip(queue.offerStoredAllOrNone(["a", "slow"]))
      ]
      for (const error of errors) expect(error).toMatchObject({ _tag: "MalformedItem", item: "slow" })
      expect(queue.unsafeOffer("slow")).toBe("malformed")
      expect(yield* queue.offerStored("b")).toBe("stored")
      yield* Effect.repeat(queue.metrics, { until: ({ settled }) => settled === 1 })
      expect(yield* queue.deadLetters.list()).toEqual([])
      expect(yield* queue.metrics).toMatchObject({ offered: 9, refused: 8, settled: 1, deadLettered: 0 })
    }).pipe(Effect.provide(BatchStore.layerMemory)))

  it.scopedLive("is refused where a buffer merges as well", () =>
    Effect.gen(function*() {
      const queue = yield* make({ buffer: Buffer.merging((text: string) => text, (_, text) => text) })
      expect(yield* Effect.flip(queue.offer("slow"))).toMatchObject({ _tag: "MalformedItem" })
    }).pipe(Effect.provide(BatchStore.layerMemory)))
})
