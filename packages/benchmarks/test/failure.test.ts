import * as Effect from "effect/Effect"
import { describe, expect, it } from "vitest"
import { toMarkdown } from "../src/failure.ts"
import { never } from "../src/failure/handlers.ts"
import { inMemory, makeBooks, open, storeFirst, twice, until } from "../src/failure/open.ts"

const run = <A>(effect: Effect.Effect<A>) => Effect.runPromise(effect)

describe("what is seen where something fails", () => {
  it("a line says what was seen before, and what is seen now", async () => {
    const row = await run(never)
    expect(row.figures).toEqual({ calls: 1, dead: 1 })
    expect(toMarkdown([row]).split("\n")).toEqual([
      "| what | seen before | seen now |",
      "| --- | --- | --- |",
      `| ${row.what} | ${row.before} | it ran 1 times; retries-exhausted |`
    ])
  })

  it("the books have each call, each item that is done, and each claim", async () => {
    const books = makeBooks()
    await run(Effect.scoped(Effect.gen(function*() {
      let failed = false
      const queue = yield* open(yield* inMemory, books, {
        retry: undefined,
        flush: { size: 2 },
        process: () => {
          if (failed) return Effect.void
          failed = true
          return Effect.fail("once")
        }
      })
      yield* storeFirst(queue, [1, 2])
      expect(yield* until(() => books.done.length === 2, 10_000)).toBe(true)
    })))
    expect(books.calls).toEqual([[1, 2], [1, 2]])
    expect(books.done).toEqual([1, 2])
    expect(books.interrupted).toEqual([])
    expect(books.claims).toBeGreaterThan(1)
    expect(books.logged).toBe(1)
    expect(twice([1, 2, 2, 3, 3, 3])).toBe(2)
  })
})
