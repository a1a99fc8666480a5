import * as Ndjson from "@effect/platform/Ndjson"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as RcMap from "effect/RcMap"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { describe, expect, it } from "vitest"
import { house, makePlan } from "../src/house.ts"
import { inPieces } from "../src/house/ndjson.ts"
import { bySchema, byTable, plainOptions } from "../src/house/optionChecks.ts"
import { expectWellFormed } from "./plans.ts"

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) => Effect.runPromise(Effect.scoped(effect))

const few = { FULL: { one: 2, group: 1 }, NORMAL: { one: 3, group: 2 } }

describe("the plan", () => {
  it("is well formed", async () => {
    expectWellFormed(await run(house.plan))
  })

  it("has cases each of which passes its own check, twice", async () => {
    await run(Effect.gen(function*() {
      const { cases } = yield* makePlan(few)
      for (const { sample } of [...cases, ...cases]) expect((yield* sample).cost).toBeGreaterThan(0)
    }))
  })
})

// What speaks against what Effect has, besides a figure. Where one of these fails, it may be looked at again.

/** What `Ndjson` makes of a body that comes in pieces of so many bytes, and what of it has come before it fails. */
const unpack = (text: string, pieceBytes: number) =>
  Effect.gen(function*() {
    const items: Array<unknown> = []
    const body = inPieces(new TextEncoder().encode(text), pieceBytes)
    const failed = yield* Effect.flip(Effect.flip(Stream.runForEachChunk(
      Stream.pipeThroughChannel(body, Ndjson.unpack({ ignoreEmptyLines: true })),
      (chunk) => Effect.sync(() => items.push(...Chunk.toReadonlyArray(chunk)))
    ))).pipe(Effect.as(false), Effect.orElseSucceed(() => true))
    return { items, failed }
  })

describe("Ndjson of the platform", () => {
  it("spoils a character that comes in two pieces", async () => {
    const text = "{\"a\":\"\u{1f30a}\"}\n"
    expect(await run(unpack(text, 100))).toEqual({ items: [{ a: "\u{1f30a}" }], failed: false })
    expect((await run(unpack(text, 8))).items).not.toEqual([{ a: "\u{1f30a}" }])
  })

  it("loses the items before a fault that come in the same piece, which a client would have to be told of", async () => {
    expect(await run(unpack("1\n2\nnonsense\n", 100))).toEqual({ items: [], failed: true })
  })

  it("reads a line of any length", async () => {
    const { failed, items } = await run(unpack(JSON.stringify("x".repeat(20_000_000)), 1024 * 1024))
    expect([failed, (items[0] as string).length]).toEqual([false, 20_000_000])
  })

  it("rounds an integer that no number holds, and has no text left in which it could be seen", async () => {
    expect((await run(unpack("9007199254740993\n", 100))).items).toEqual([9007199254740992])
  })
})

describe("RcMap", () => {
  it("may make two of what is asked for twice at once, and two requests of a key would have their turn", async () => {
    /** How many are made where a fiber yields after so many steps. */
    const made = (steps: number) =>
      Effect.gen(function*() {
        let made = 0
        const map = yield* RcMap.make({ lookup: (key: string) => Effect.sync(() => `${key} ${made += 1}`) })
        const twice = Effect.forEach([1, 2], () => RcMap.get(map, "a"), { concurrency: 2 })
        yield* Effect.withMaxOpsBeforeYield(twice, steps)
        return made
      })
    expect(await run(Effect.forEach([20, 24, 28, 32, 1_000], made))).toEqual([2, 2, 2, 2, 1])
  })
})

describe("a Schema of options", () => {
  it("says what an option must be, as their table does, but not of which queue, and without the value", async () => {
    const wrong = { ...plainOptions, capacity: 0 }
    const byOurs = await run(Effect.flip(byTable(wrong)))
    expect(byOurs).toMatchObject({
      _tag: "InvalidOption",
      queue: "readings",
      field: "capacity",
      value: 0,
      limit: "an integer of at least 1"
    })
    const { message } = await run(Effect.flip(bySchema(wrong)))
    expect(message).toContain("an integer of at least 1")
    expect(message).toContain("capacity")
    expect(message).not.toContain("readings")
    expect(message).not.toContain("actual 0")
  })
})
