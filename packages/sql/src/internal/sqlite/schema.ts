/**
 * The tables of the store of batches in SQLite.
 *
 * Fresh batches, including those that were fresh when they were claimed, are in one table with no index except its key,
 * so each append, claim and settlement writes in one place. Returned and dead batches are in other tables, so a claim
 * never has to scan past them.
 */
import type { MigrationStep } from "../../BatchStoreDialect.ts"

/**
 * What `due_ms` is of a batch that is fresh. Not NULL and not 0: a column that keeps its size is changed in place, and
 * the milliseconds of our time take six bytes as well.
 */
export const ready = -(2 ** 46)

/**
 * What it is of one that was claimed, and put back as it was. It is as fresh as the others.
 *
 * No lease is behind a batch that is `ready`: claims take the oldest first, and whoever puts something before others
 * (a dead letter that is redriven) puts their leases elsewhere first. So a lease that has run out is found by looking at
 * what is before the first one that is `ready`: at leases, and a few of these.
 */
export const putBack = ready + 1

/**
 * What it is of one that is done, and could not be deleted because a page beside it is broken; so with `died_ms` of a
 * dead letter. Longer than anybody waits, and of the same size.
 */
export const gone = 2 ** 46

/**
 * The key of a batch is that of its queue, and its place there: the batches of a queue lie side by side, in order. There
 * are 2^40 places for each, and 8,190 queues, because the driver reads integers beyond 2^53 as others.
 */
export const span = 2 ** 40

export const spanBits = 40

/** As many rows as SQLite can be asked for at once. */
export const mostRows = 2 ** 31 - 1

/** The names of the tables. */
export const tables = (prefix: string) => ({
  queues: `${prefix}_queues`,
  batches: `${prefix}_batches`,
  resting: `${prefix}_resting`,
  dead: `${prefix}_dead`,
  appends: `${prefix}_appends`,
  ids: `${prefix}_ids`
})

/** What a batch keeps wherever it is. */
const kept = ["seq", "token", "deliveries", "items", "oldest_ms", "attempts", "failed_ms", "error", "payload"]

const columns = `
  seq INTEGER PRIMARY KEY,
  token INTEGER NOT NULL DEFAULT 0 CHECK (token < 9007199254740992),
  deliveries INTEGER NOT NULL DEFAULT 0,
  items INTEGER NOT NULL,
  oldest_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  failed_ms INTEGER NOT NULL DEFAULT 0`

const ending = `
  error TEXT NOT NULL DEFAULT '',
  payload BLOB NOT NULL`

/** How many rows of a table move at once. */
const movedAtOnce = 100

/** Moves the rows of a table elsewhere, the first ones first, until it is empty: dropping it costs nothing then. */
const emptied = (table: string, move: (rows: string) => ReadonlyArray<string>): MigrationStep => {
  const first = (columns: string) => `(SELECT ${columns} FROM ${table} ORDER BY seq LIMIT ${movedAtOnce})`
  return {
    while: `SELECT 1 FROM ${table} LIMIT 1`,
    run: [...move(first("*")), `DELETE FROM ${table} WHERE seq IN ${first("seq")}`]
  }
}

export const migrations = (prefix: string): Readonly<Record<string, ReadonlyArray<MigrationStep>>> => ({
  "0001_batches": first(prefix),
  "0002_returns": second(prefix)
})

const counted = (queues: string) => (kind: "pending" | "newer" | "dead", sign: "+" | "-", row: "NEW" | "OLD") =>
  `UPDATE ${queues} SET ${kind}_batches = ${kind}_batches ${sign} 1,
    ${kind}_items = ${kind}_items ${sign} ${row}.items WHERE id = ${row}.seq >> ${spanBits};`

const first = (prefix: string): ReadonlyArray<string> => {
  const { appends, batches, dead, ids, queues, resting } = tables(prefix)
  const redrives = `${prefix}_redrives`
  const count = counted(queues)
  return [
    `CREATE TABLE ${queues} (
      id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 8190),
      name TEXT NOT NULL UNIQUE,
      next_place INTEGER NOT NULL DEFAULT 1 CHECK (next_place <= ${span}),
      pending_batches INTEGER NOT NULL DEFAULT 0,
      pending_items INTEGER NOT NULL DEFAULT 0,
      dead_batches INTEGER NOT NULL DEFAULT 0,
      dead_items INTEGER NOT NULL DEFAULT 0,
      bucket_bits INTEGER NOT NULL DEFAULT 0
    ) STRICT`,
    `CREATE TABLE ${batches} (${columns}, due_ms INTEGER NOT NULL DEFAULT ${ready}, ${ending}) STRICT`,
    `CREATE TABLE ${resting} (${columns}, due_ms INTEGER NOT NULL, ${ending}) STRICT`,
    `CREATE INDEX ${resting}_due ON ${resting} (seq >> ${spanBits}, due_ms)`,
    `CREATE TABLE ${dead} (${columns}, died_ms INTEGER NOT NULL, reason TEXT NOT NULL, ${ending}) STRICT`,
    `CREATE TABLE ${ids} (
      queue_id INTEGER NOT NULL,
      bucket INTEGER NOT NULL,
      id TEXT NOT NULL,
      at_ms INTEGER NOT NULL,
      PRIMARY KEY (queue_id, bucket, id)
    ) STRICT, WITHOUT ROWID`,
    `CREATE VIEW ${appends} AS SELECT 0 AS queue_id, 0 AS items, 0 AS oldest_ms, x'' AS payload`,
    `CREATE TRIGGER ${appends}_insert INSTEAD OF INSERT ON ${appends} BEGIN
      INSERT INTO ${batches} (seq, items, oldest_ms, payload)
        SELECT (id << ${spanBits}) + next_place, NEW.items, NEW.oldest_ms, NEW.payload
        FROM ${queues} WHERE id = NEW.queue_id;
      UPDATE ${queues} SET next_place = next_place + 1, pending_batches = pending_batches + 1,
        pending_items = pending_items + NEW.items WHERE id = NEW.queue_id;
    END`,
    // None for what comes in: SQLite would keep all rows of a statement aside first.
    `CREATE TRIGGER ${batches}_delete AFTER DELETE ON ${batches} BEGIN ${count("pending", "-", "OLD")} END`,
    `CREATE TRIGGER ${batches}_update AFTER UPDATE OF items ON ${batches} BEGIN
      UPDATE ${queues} SET pending_items = pending_items - OLD.items + NEW.items WHERE id = NEW.seq >> ${spanBits};
    END`,
    `CREATE TRIGGER ${resting}_insert AFTER INSERT ON ${resting} BEGIN
      DELETE FROM ${batches} WHERE seq = NEW.seq;
      ${count("pending", "+", "NEW")}
    END`,
    `CREATE TRIGGER ${resting}_delete AFTER DELETE ON ${resting} BEGIN
      INSERT INTO ${batches} (${kept.join(", ")}) VALUES (${kept.map((column) => `OLD.${column}`).join(", ")});
    END`,
    `CREATE TRIGGER ${dead}_insert AFTER INSERT ON ${dead} BEGIN
      DELETE FROM ${batches} WHERE seq = NEW.seq;
      ${count("dead", "+", "NEW")}
    END`,
    `CREATE TRIGGER ${dead}_delete AFTER DELETE ON ${dead} BEGIN ${count("dead", "-", "OLD")} END`,
    `CREATE VIEW ${redrives} AS SELECT seq, items FROM ${dead}`,
    `CREATE TRIGGER ${redrives}_insert INSTEAD OF INSERT ON ${redrives} BEGIN
      INSERT INTO ${batches} (seq, token, items, oldest_ms, payload)
        SELECT seq, token, items, oldest_ms, payload FROM ${dead} WHERE seq = NEW.seq;
      DELETE FROM ${dead} WHERE seq = NEW.seq;
      ${count("pending", "+", "NEW")}
    END`
  ]
}

/**
 * What rests stays where it is when it is claimed, so that two tables have leases; and each time of which something may
 * be due too late has the time beside it when it was given. Both tables are made anew, because a column that is added
 * comes last, behind a payload of many pages.
 *
 * What is deleted counts itself, wherever it is, and what is put to rest or dies. What comes into the first table is
 * counted by whoever puts it there. Places are never used again: a claim of a batch that is gone must not fit another.
 */
const second = (prefix: string): ReadonlyArray<MigrationStep> => {
  const { appends, batches, dead, queues, resting } = tables(prefix)
  const redrives = `${prefix}_redrives`
  const count = counted(queues)
  const both = kept.join(", ")
  // What was under way then was given in this moment at the latest.
  const now = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
  const moved = (values: string) => `due_ms, min(due_ms, ${now}), ${values}, ${both}`
  const counters = ["newer_batches INTEGER NOT NULL DEFAULT 0", "newer_items INTEGER NOT NULL DEFAULT 0"]
  const held = ["held_ms", "held_since_ms"].map((column) => `${column} INTEGER NOT NULL DEFAULT ${ready}`)
  return [
    ...[...counters, ...held].map((column) => `ALTER TABLE ${queues} ADD COLUMN ${column}`),
    `DROP VIEW ${redrives}`,
    `DROP VIEW ${appends}`,
    ...[`${batches}_delete`, `${batches}_update`, `${resting}_insert`, `${resting}_delete`, `${dead}_insert`].map(
      (trigger) => `DROP TRIGGER ${trigger}`
    ),
    `ALTER TABLE ${batches} RENAME TO ${prefix}_batches_0001`,
    `ALTER TABLE ${resting} RENAME TO ${prefix}_resting_0001`,
    `CREATE TABLE ${batches} (${columns}, due_ms INTEGER NOT NULL DEFAULT ${ready},
      since_ms INTEGER NOT NULL DEFAULT ${ready}, ${ending}) STRICT`,
    `CREATE TABLE ${resting} (${columns}, due_ms INTEGER NOT NULL, since_ms INTEGER NOT NULL,
      leased INTEGER NOT NULL, version INTEGER NOT NULL DEFAULT 0, ${ending}) STRICT`,
    `DROP INDEX ${resting}_due`,
    // Batches for a newer version are in a separate index: a claim that cannot read them never meets them.
    `CREATE INDEX ${resting}_due ON ${resting} (seq >> ${spanBits}, due_ms) WHERE version = 0`,
    `CREATE INDEX ${resting}_newer ON ${resting} (seq >> ${spanBits}, version, due_ms) WHERE version > 0`,
    emptied(`${prefix}_batches_0001`, (rows) => [
      `INSERT INTO ${batches} (${both}) SELECT ${both} FROM ${rows} WHERE due_ms = ${ready} ORDER BY seq`,
      `INSERT INTO ${resting} (due_ms, since_ms, leased, ${both}) SELECT ${moved("1")} FROM ${rows}
        WHERE due_ms <> ${ready}`
    ]),
    emptied(`${prefix}_resting_0001`, (rows) => [
      `INSERT INTO ${resting} (due_ms, since_ms, leased, ${both}) SELECT ${moved("0")} FROM ${rows}`
    ]),
    `DROP TABLE ${prefix}_batches_0001`,
    `DROP TABLE ${prefix}_resting_0001`,
    `CREATE VIEW ${appends} AS SELECT 0 AS queue_id, 0 AS items, 0 AS oldest_ms, x'' AS payload`,
    `CREATE TRIGGER ${appends}_insert INSTEAD OF INSERT ON ${appends} BEGIN
      INSERT INTO ${batches} (seq, items, oldest_ms, payload)
        SELECT (id << ${spanBits}) + next_place, NEW.items, NEW.oldest_ms, NEW.payload
        FROM ${queues} WHERE id = NEW.queue_id;
      UPDATE ${queues} SET next_place = next_place + 1, pending_batches = pending_batches + 1,
        pending_items = pending_items + NEW.items WHERE id = NEW.queue_id;
    END`,
    `CREATE TRIGGER ${batches}_delete AFTER DELETE ON ${batches} BEGIN ${count("pending", "-", "OLD")} END`,
    ...[batches, resting].map((table) =>
      `CREATE TRIGGER ${table}_update AFTER UPDATE OF items ON ${table} BEGIN
        UPDATE ${queues} SET pending_items = pending_items - OLD.items + NEW.items WHERE id = NEW.seq >> ${spanBits};
      END`
    ),
    `CREATE TRIGGER ${resting}_insert AFTER INSERT ON ${resting} BEGIN ${count("pending", "+", "NEW")} END`,
    `CREATE TRIGGER ${resting}_delete AFTER DELETE ON ${resting} BEGIN ${count("pending", "-", "OLD")} END`,
    `CREATE TRIGGER ${resting}_newer AFTER INSERT ON ${resting} WHEN NEW.version > 0 BEGIN
      ${count("newer", "+", "NEW")}
    END`,
    `CREATE TRIGGER ${resting}_newer_update AFTER UPDATE OF version ON ${resting} WHEN OLD.version <> NEW.version BEGIN
      UPDATE ${queues} SET
        newer_batches = newer_batches + (NEW.version > 0) - (OLD.version > 0),
        newer_items = newer_items + (NEW.version > 0) * NEW.items - (OLD.version > 0) * OLD.items
      WHERE id = NEW.seq >> ${spanBits};
    END`,
    `CREATE TRIGGER ${resting}_newer_delete AFTER DELETE ON ${resting} WHEN OLD.version > 0 BEGIN
      ${count("newer", "-", "OLD")}
    END`,
    `CREATE TRIGGER ${dead}_insert AFTER INSERT ON ${dead} BEGIN ${count("dead", "+", "NEW")} END`
  ]
}
