/**
 * The tables of the store of batches in SQLite.
 *
 * What is claimable or claimed is in one table without any index but its key, so that a batch is written in one place
 * when it comes, is claimed and goes. What rests for later, and what is dead, is elsewhere: a claim never has to pass it.
 */

/**
 * What `due_ms` is of a batch that can be claimed. Not NULL and not 0: a column that keeps its size is changed in place,
 * and the milliseconds of our time take six bytes as well.
 *
 * @internal
 */
export const ready = -(2 ** 46)

/**
 * The key of a batch is that of its queue, and its place there: the batches of a queue lie side by side, in order. There
 * are 2^40 places for each, and 8,190 queues, because the driver reads integers beyond 2^53 as others.
 *
 * @internal
 */
export const span = 2 ** 40

/** @internal */
export const spanBits = 40

/**
 * As many rows as SQLite can be asked for at once.
 * @internal
 */
export const mostRows = 2 ** 31 - 1

/**
 * The names of the tables.
 * @internal
 */
export const tables = (prefix: string) => ({
  queues: `${prefix}_queues`,
  batches: `${prefix}_batches`,
  resting: `${prefix}_resting`,
  dead: `${prefix}_dead`,
  appends: `${prefix}_appends`,
  redrives: `${prefix}_redrives`,
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

/**
 * Triggers make one statement of what takes several, so that it needs no transaction around it: a batch that is put to
 * rest, or dies, leaves the first table, and comes back when its row elsewhere is deleted, or redriven. They keep the
 * counters of the queue as well. Places are never used again: a claim of a batch that is gone must not fit another one.
 *
 * @internal
 */
export const migrations = (prefix: string): Readonly<Record<string, ReadonlyArray<string>>> => {
  const { appends, batches, dead, ids, queues, redrives, resting } = tables(prefix)
  const pending = (sign: "+" | "-", row: "NEW" | "OLD") =>
    `UPDATE ${queues} SET pending_batches = pending_batches ${sign} 1,
      pending_items = pending_items ${sign} ${row}.items WHERE id = ${row}.seq >> ${spanBits};`
  const deadOnes = (sign: "+" | "-", row: "NEW" | "OLD") =>
    `UPDATE ${queues} SET dead_batches = dead_batches ${sign} 1,
      dead_items = dead_items ${sign} ${row}.items WHERE id = ${row}.seq >> ${spanBits};`
  return {
    "0001_batches": [
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
      `CREATE TRIGGER ${batches}_delete AFTER DELETE ON ${batches} BEGIN ${pending("-", "OLD")} END`,
      `CREATE TRIGGER ${batches}_update AFTER UPDATE OF items ON ${batches} BEGIN
        UPDATE ${queues} SET pending_items = pending_items - OLD.items + NEW.items WHERE id = NEW.seq >> ${spanBits};
      END`,
      `CREATE TRIGGER ${resting}_insert AFTER INSERT ON ${resting} BEGIN
        DELETE FROM ${batches} WHERE seq = NEW.seq;
        ${pending("+", "NEW")}
      END`,
      `CREATE TRIGGER ${resting}_delete AFTER DELETE ON ${resting} BEGIN
        INSERT INTO ${batches} (${kept.join(", ")}) VALUES (${kept.map((column) => `OLD.${column}`).join(", ")});
      END`,
      `CREATE TRIGGER ${dead}_insert AFTER INSERT ON ${dead} BEGIN
        DELETE FROM ${batches} WHERE seq = NEW.seq;
        ${deadOnes("+", "NEW")}
      END`,
      `CREATE TRIGGER ${dead}_delete AFTER DELETE ON ${dead} BEGIN ${deadOnes("-", "OLD")} END`,
      `CREATE VIEW ${redrives} AS SELECT seq, items FROM ${dead}`,
      `CREATE TRIGGER ${redrives}_insert INSTEAD OF INSERT ON ${redrives} BEGIN
        INSERT INTO ${batches} (seq, token, items, oldest_ms, payload)
          SELECT seq, token, items, oldest_ms, payload FROM ${dead} WHERE seq = NEW.seq;
        DELETE FROM ${dead} WHERE seq = NEW.seq;
        ${pending("+", "NEW")}
      END`
    ]
  }
}
