/**
 * The tables of the store of batches in PostgreSQL.
 *
 * A batch is one row of one table for as long as it is pending, and a row of another one once it is dead. What changes
 * is its state, and with it the index that has it: each claim looks in one index for what it wants and nothing else.
 *
 * No row is written by everybody. The counters of a queue are the sum of rows that are only inserted, see `counts.ts`,
 * and places come from a sequence.
 */
import type { MigrationStep } from "../../BatchStoreDialect.ts"

/** A batch that was never claimed. */
export const ready = 0

/** One that was claimed, and put back as it was. It is as fresh as the others, and in an older place than they are. */
export const putBack = 1

/** One that is claimed. Once its lease is over, it can be claimed again. */
export const leased = 2

/** One that comes back once it is due. */
export const resting = 3

/** As many rows as are asked for at once. */
export const mostRows = 2 ** 31 - 1

/** The time of what never was. */
export const longAgo = -(2 ** 46)

/**
 * A condition: that a row is one of those of a part of a statement. PostgreSQL looks these up. Joined, it might read the
 * whole queue, because it does not know how many batches a queue has.
 */
export const among = (part: string, column = "seq"): string => `${column} = ANY (ARRAY(SELECT ${column} FROM ${part}))`

/** The names of the tables, and of the sequence that places come from. */
export const tables = (prefix: string) => ({
  queues: `${prefix}_queues`,
  batches: `${prefix}_batches`,
  dead: `${prefix}_dead`,
  counts: `${prefix}_counts`,
  ids: `${prefix}_ids`,
  places: `${prefix}_places`
})

/** What a batch keeps wherever it is. */
export const kept = "queue_id, seq, token, deliveries, items, oldest_ms, attempts, failed_ms, error, payload"

const columns = `
  queue_id integer NOT NULL,
  seq bigint NOT NULL,
  token bigint NOT NULL DEFAULT 0,
  deliveries bigint NOT NULL DEFAULT 0,
  items bigint NOT NULL,
  oldest_ms bigint NOT NULL,
  attempts bigint NOT NULL DEFAULT 0,
  failed_ms bigint NOT NULL DEFAULT 0`

const ending = `
  error text NOT NULL DEFAULT '',
  payload bytea NOT NULL,
  PRIMARY KEY (queue_id, seq)`

/**
 * A table of a queue is small and changes all the time.
 *
 * - It is vacuumed once some thousand rows are dead, however many rows there are: each dead row is in the way of a claim.
 * - Vacuuming it does not pause: it is short, and late is worse than fast.
 * - It is not analyzed: what is found out says how full the queue was in one moment. Without it, PostgreSQL takes the
 *   index that is made for the statement.
 */
const churn = (table: string): string =>
  `ALTER TABLE ${table} SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_threshold = 2147483647)`

/**
 * Where long payloads are. They are not compressed: it would take longer than writing them does, each is written and
 * read once, and an app whose items are worth it compresses them where they are encoded.
 */
const payloads = (table: string): ReadonlyArray<string> => [
  `ALTER TABLE ${table} ALTER COLUMN payload SET STORAGE EXTERNAL`,
  `ALTER TABLE ${table} SET (toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 2000,
    toast.autovacuum_vacuum_cost_delay = 0)`
]

export const migrations = (prefix: string): Readonly<Record<string, ReadonlyArray<MigrationStep>>> => ({
  "0001_batches": first(prefix)
})

const first = (prefix: string): ReadonlyArray<string> => {
  const { batches, counts, dead, ids, places, queues } = tables(prefix)
  return [
    `CREATE TABLE ${queues} (
      id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      name text NOT NULL UNIQUE,
      held_ms bigint NOT NULL DEFAULT ${longAgo},
      held_since_ms bigint NOT NULL DEFAULT ${longAgo},
      id_window_ms bigint NOT NULL DEFAULT 0
    )`,
    `CREATE SEQUENCE ${places}`,
    `CREATE TABLE ${batches} (${columns},
      state smallint NOT NULL DEFAULT ${ready},
      due_ms bigint NOT NULL DEFAULT 0,
      since_ms bigint NOT NULL DEFAULT 0,
      version bigint NOT NULL DEFAULT 0,
      ${ending})`,
    `CREATE INDEX ${batches}_fresh ON ${batches} (queue_id, state, seq) WHERE state < ${leased}`,
    `CREATE INDEX ${batches}_due ON ${batches} (queue_id, state, due_ms, seq) WHERE state >= ${leased} AND version = 0`,
    // Batches for a newer version are in a separate index: a claim that cannot read them never meets them.
    `CREATE INDEX ${batches}_newer ON ${batches} (queue_id, version, due_ms, seq) WHERE version > 0`,
    churn(batches),
    ...payloads(batches),
    `CREATE TABLE ${dead} (${columns}, died_ms bigint NOT NULL, reason text NOT NULL, ${ending})`,
    ...payloads(dead),
    `CREATE TABLE ${counts} (
      queue_id integer NOT NULL,
      xid bigint NOT NULL,
      since bigint NOT NULL,
      pending_batches bigint NOT NULL DEFAULT 0,
      pending_items bigint NOT NULL DEFAULT 0,
      dead_batches bigint NOT NULL DEFAULT 0,
      dead_items bigint NOT NULL DEFAULT 0,
      newer_batches bigint NOT NULL DEFAULT 0,
      newer_items bigint NOT NULL DEFAULT 0
    )`,
    `CREATE INDEX ${counts}_xid ON ${counts} (queue_id, xid)`,
    churn(counts),
    `CREATE TABLE ${ids} (
      queue_id integer NOT NULL,
      id text NOT NULL,
      at_ms bigint NOT NULL,
      PRIMARY KEY (queue_id, id)
    )`,
    `CREATE INDEX ${ids}_at ON ${ids} (queue_id, at_ms)`,
    churn(ids)
  ]
}
