import { describe, expect, it } from "@effect/vitest"
import { Backpressure, WriteBehind } from "@sluice/core"
import { Config, ConfigProvider, Context, Effect, Exit } from "effect"

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

  it.effect("is that of a layer, which leaves the options as they are where there is none", () =>
    Effect.gen(function*() {
      class Lines extends Context.Tag("test/Lines")<Lines, WriteBehind.WriteBehind<string>>() {}
      const offers = (entries: ReadonlyArray<readonly [string, string]>) =>
        Effect.flatMap(Lines, (lines) => Effect.all([lines.offer("a"), Effect.exit(lines.offer("b"))])).pipe(
          Effect.map(([, exit]) => Exit.isSuccess(exit) ? exit.value : "refused"),
          Effect.provide(WriteBehind.layerConfig(
            Lines,
            { name: "lines", capacity: 1, policy: Backpressure.dropNewest, flush: () => Effect.void },
            { policy: Config.option(Backpressure.config("POLICY")), batchSize: Config.option(Config.integer("SIZE")) }
          )),
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map(entries)))
        )
      // What is in a batch of more than the capacity waits for its interval.
      expect(yield* offers([["POLICY", "reject"]])).toBe("refused")
      expect(yield* offers([])).toBe("dropped")
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
