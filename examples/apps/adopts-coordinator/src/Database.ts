import { Reactivity } from "@effect/experimental"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { SqliteStore, WriteCoordinator } from "@sluice/sql"
import { Context, Layer } from "effect"

/** Before: the client of @effect/sql-sqlite-node. */
export const before = (filename: string) => SqliteClient.layer({ filename }).pipe(Layer.provideMerge(Reactivity.layer))

export class Writes extends Context.Tag("app/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

/** After: all writes go through one fiber, and writes that wait together share a commit. */
export const after = (filename: string) =>
  WriteCoordinator.layerSqlClient(Writes).pipe(
    Layer.provideMerge(WriteCoordinator.layer(Writes, { name: "writes" })),
    Layer.provide(SqliteStore.layer({ filename })),
    Layer.provideMerge(Reactivity.layer)
  )
