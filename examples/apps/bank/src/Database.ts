import { SqliteStore, WriteCoordinator } from "@sluice/sql"
import { Config, Context, Layer } from "effect"

class Writes extends Context.Tag("bank/Writes")<Writes, WriteCoordinator.WriteCoordinator>() {}

/** A file whose writes go through one fiber: entries of different accounts share commits. */
export const DatabaseLive = WriteCoordinator.layerSqlClient(Writes).pipe(
  Layer.provide(WriteCoordinator.layer(Writes, { name: "journal" })),
  Layer.provide(SqliteStore.layerConfig({ filename: Config.string("DATABASE") }))
)
