/**
 * The store of batches in PostgreSQL: its schema and statements.
 *
 * | a batch | `state` | `due_ms` |
 * |---|---|---|
 * | is fresh | `0`, or `1` where it was claimed before | |
 * | is claimed | `2` | the end of the lease; after that, it comes back, or is settled by its holder |
 * | comes back, once it is due | `3` | from when on it can be claimed |
 * | can be read by a newer version | `3`, with that `version` | from when on it can be claimed |
 * | is dead | in another table | |
 *
 * Transactions of several processes run side by side, each `READ COMMITTED`. It needs PostgreSQL 13.
 *
 * @since 0.1.0
 */
import type { BatchStoreDialect, HeldOperations, Operations } from "./BatchStoreDialect.ts"
import { makeAppends } from "./internal/postgres/appends.ts"
import { makeClaims } from "./internal/postgres/claims.ts"
import { makeCounts } from "./internal/postgres/counts.ts"
import { makeDeadLetters } from "./internal/postgres/deadLetters.ts"
import { makeDivide } from "./internal/postgres/divide.ts"
import { Floors, perQueue } from "./internal/postgres/floors.ts"
import { makeHeld } from "./internal/postgres/held.ts"
import { migrations } from "./internal/postgres/schema.ts"

/** What the operations remember of each queue, such as where its indexes begin, is theirs. */
const operations = (prefix: string): Operations => {
  const floorsOf = perQueue(() => new Floors())
  const counts = makeCounts(prefix)
  const undivided = makeHeld(prefix, counts, floorsOf)
  const held: HeldOperations = { ...undivided, divide: makeDivide(prefix, counts, floorsOf, undivided) }
  return {
    ...makeAppends(prefix, counts, floorsOf),
    ...makeClaims(prefix, counts, floorsOf),
    ...held,
    // The pages of a server are no business of its clients.
    past: () => held,
    ...makeDeadLetters(prefix, counts, floorsOf)
  }
}

/**
 * The dialect.
 *
 * @since 0.1.0
 * @category dialects
 */
export const dialect: BatchStoreDialect = { name: "postgres", migrations, operations }
