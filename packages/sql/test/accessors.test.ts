/** A coordinator as a service of `Effect.Tag` and `Effect.Service`, whose accessors are what it has. */
import { expect, it } from "@effect/vitest"
import { WriteCoordinator } from "@sluice/sql"
import { Effect } from "effect"
import { createTable, insert, values, withStore } from "./database.ts"

// `submit` is generic, and has no accessor.
// @effect-diagnostics-next-line unsupportedServiceAccessors:off
class Writes extends Effect.Tag("test/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}
// @effect-diagnostics-next-line unsupportedServiceAccessors:off
class WritesService extends Effect.Service<WritesService>()("test/WritesService", {
  accessors: true,
  scoped: WriteCoordinator.make({ name: "writes of a service" })
}) {}

it.effect("Effect.Tag has accessors for a coordinator, and use for its generic submit", () =>
  withStore(
    Effect.gen(function*() {
      yield* createTable
      yield* Writes.use((writes) => writes.submit(insert("a"), { name: "insert" }))
      expect(yield* values).toEqual(["a"])
      expect((yield* Writes.metrics).succeeded).toBe(1)
      expect(yield* Writes.queueName).toBe("writes")
      expect(Object.keys(yield* Writes).filter((key) => key in Writes)).toEqual([])
    }).pipe(Effect.provide(WriteCoordinator.layer(Writes, { name: "writes" })))
  ))

it.effect("accessors of Effect.Service are those of a coordinator", () =>
  withStore(
    Effect.gen(function*() {
      yield* createTable
      yield* WritesService.use((writes) => writes.submit(insert("a"), { name: "insert" }))
      expect(yield* values).toEqual(["a"])
      expect((yield* WritesService.metrics).succeeded).toBe(1)
      expect(yield* WritesService.queueName).toBe("writes of a service")
    }).pipe(Effect.provide(WritesService.Default))
  ))
