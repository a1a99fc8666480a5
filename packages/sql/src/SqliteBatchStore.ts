/**
 * The store of batches in SQLite: its schema and its statements.
 *
 * | a batch | is in | `due_ms` |
 * |---|---|---|
 * | can be claimed | `batches` | `ready` |
 * | is claimed | `batches` | the end of the lease; after that, it can be claimed, or settled by its holder |
 * | is released for later | `resting` | from when on it can be claimed |
 * | is dead | `dead` | |
 *
 * @since 0.1.0
 */
import type { BatchStoreDialect } from "./BatchStoreDialect.ts"
import { makeClaims } from "./internal/sqliteClaims.ts"
import { makeDeadLetters } from "./internal/sqliteDeadLetters.ts"
import { makeIntake } from "./internal/sqliteIntake.ts"
import { migrations } from "./internal/sqliteSchema.ts"

/**
 * The dialect.
 *
 * @since 0.1.0
 * @category dialects
 */
export const dialect: BatchStoreDialect = {
  name: "sqlite",
  migrations,
  operations: (prefix) => ({ ...makeIntake(prefix), ...makeClaims(prefix), ...makeDeadLetters(prefix) })
}
