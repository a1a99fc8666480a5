import { describe, expect, it } from "@effect/vitest"
import { BatchQueue, BatchStore, WriteBehind } from "@sluice/core"
import { HttpQueue } from "@sluice/http"
import { Effect, Schema } from "effect"

describe("an Effect.Service that is a queue", () => {
  it.scoped("is mounted as a tag of a WriteBehind is", () => {
    const flushed: Array<string> = []
    class Lines extends Effect.Service<Lines>()("test/Lines", {
      scoped: WriteBehind.make<string>({
        name: "lines",
        capacity: 10,
        flush: ({ items }) => Effect.sync(() => void flushed.push(...items))
      })
    }) {}
    return Effect.gen(function*() {
      const mounted = yield* HttpQueue.writeBehind(Lines, { schema: Schema.String })
      expect([mounted.name, mounted.system]).toEqual(["lines", "WriteBehind"])
      expect(yield* mounted.offer("a")).toBe("accepted")
      expect(mounted.unsafeOffer("b")).toBe("accepted")
      yield* mounted.flush
      expect(flushed).toEqual(["a", "b"])
      expect(yield* mounted.status).toMatchObject({ held: 0, drained: 2 })
    }).pipe(Effect.provide(Lines.Default))
  })

  it.scoped("is mounted as a tag of a BatchQueue is", () => {
    class Mails extends Effect.Service<Mails>()("test/Mails", {
      scoped: BatchQueue.make({ name: "mails", schema: Schema.String, workers: 0, process: () => Effect.void }),
      dependencies: [BatchStore.layerMemory]
    }) {}
    return Effect.gen(function*() {
      const mounted = yield* HttpQueue.batchQueue(Mails, { schema: Schema.String })
      expect([mounted.name, mounted.system]).toEqual(["mails", "BatchQueue"])
      expect(yield* mounted.offerStored!("a")).toBe("stored")
      expect((yield* mounted.stats!).pending.items).toBe(1)
      yield* mounted.pause!
      expect((yield* mounted.status).paused).toBe(true)
    }).pipe(Effect.provide(Mails.Default))
  })
})
