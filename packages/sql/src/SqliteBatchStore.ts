/**
 * The store of batches in SQLite: its schema and its statements.
 *
 * A batch is a row of numbers, and a row for its bytes, which is written once and read once: what changes with every
 * claim stays small. Triggers keep the counters of a queue, so that they are right whatever is done to the rows.
 *
 * | a batch | `state` | `due_ms` |
 * |---|---|---|
 * | can be claimed | 0 | `ready` |
 * | is claimed | 1 | the end of the lease |
 * | is released for later | 0 | from when on it can be claimed |
 * | can be claimed, its lease has run out | 1 | `ready`; until it is claimed, its holder may settle it |
 * | is dead | 2 | `ready` |
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
