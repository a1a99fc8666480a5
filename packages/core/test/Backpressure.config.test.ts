import { describe, expect, it } from "@effect/vitest"
import { Backpressure } from "@sluice/core"
import { ConfigProvider, Effect } from "effect"

const read = (...entries: ReadonlyArray<readonly [string, string]>) =>
  Effect.withConfigProvider(Backpressure.config("POLICY"), ConfigProvider.fromMap(new Map(entries)))

describe("a policy from a configuration", () => {
  it.effect("is the one of that name", () =>
    Effect.gen(function*() {
      expect(yield* read(["POLICY", "suspend"])).toMatchObject({ _tag: "suspend", timeout: undefined })
      expect(yield* read(["POLICY", "reject"])).toBe(Backpressure.reject)
      expect(yield* read(["POLICY", "dropNewest"])).toBe(Backpressure.dropNewest)
      expect(yield* read(["POLICY", "dropOldest"])).toBe(Backpressure.dropOldest)
    }))

  it.effect("fails with the choices where the name is another one, and where there is none", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(read(["POLICY", "drop"]))
      expect(error._op).toBe("InvalidData")
      for (const choice of ["POLICY", "suspend", "reject", "dropNewest", "dropOldest", "drop"]) {
        expect(String(error)).toMatch(new RegExp(`\\b${choice}\\b`))
      }
      expect((yield* Effect.flip(read()))._op).toBe("MissingData")
    }))
})
