import { it } from "@effect/vitest"
import { Effect } from "effect"
import { expect } from "vitest"
import * as Failures from "../src/flights/failures.ts"

const attempts = (seed: number, order: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const { strike } = yield* Failures.Failures
    const failed: Record<string, Array<boolean>> = {}
    for (const queue of order) {
      const exit = yield* Effect.exit(strike(queue))
      ;(failed[queue] ??= []).push(exit._tag === "Failure")
    }
    return failed
  }).pipe(Effect.provide(Failures.layer(seed)))

const inTurn = Array.from({ length: 600 }, (_, index) => index % 2 === 0 ? "flights" : "board")
const oneFirst = [...inTurn].sort()

it.effect("the same seed fails the same attempts of each queue, in whatever order the queues come", () =>
  Effect.gen(function*() {
    const failed = yield* attempts(7, inTurn)
    expect(yield* attempts(7, oneFirst)).toEqual(failed)
    expect(yield* attempts(8, inTurn)).not.toEqual(failed)
    for (const ofQueue of Object.values(failed)) {
      const count = ofQueue.filter(Boolean).length
      expect(count).toBeGreaterThan(0)
      expect(count).toBeLessThan(60)
    }
  }))
