/**
 * The store of batches in SQLite: its schema and statements.
 *
 * | a batch | is in | `due_ms` |
 * |---|---|---|
 * | is fresh | `batches` | `ready`, or `putBack` where it was claimed before |
 * | is claimed | where it was | the end of the lease; after that, it comes back, or is settled by its holder |
 * | comes back, once it is due | `resting` | from when on it can be claimed |
 * | can be read by a newer version | `resting`, with that version | when it was released |
 * | is dead | `dead` | |
 *
 * @since 0.1.0
 */
import type { BatchStoreDialect } from "./BatchStoreDialect.ts"
import { makeClaims } from "./internal/sqlite/claims.ts"
import { makeDeadLetters } from "./internal/sqlite/deadLetters.ts"
import { makeHeld } from "./internal/sqlite/held.ts"
import { makeAppends } from "./internal/sqlite/appends.ts"
import { migrations } from "./internal/sqlite/schema.ts"

/**
 * The dialect.
 *
 * @since 0.1.0
 * @category dialects
 */
export const dialect: BatchStoreDialect = {
  name: "sqlite",
  migrations,
  operations: (prefix) => ({
    ...makeAppends(prefix),
    ...makeClaims(prefix),
    ...makeHeld(prefix),
    past: (damage) => makeHeld(prefix, damage),
    ...makeDeadLetters(prefix)
  })
}
