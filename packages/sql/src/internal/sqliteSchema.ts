/**
 * The tables of the store of batches in SQLite.
 */

/**
 * What `due_ms` is of a batch that can be claimed. Not NULL and not 0: a column that keeps its size is changed in place,
 * and the milliseconds of our time take six bytes as well.
 *
 * @internal
 */
export const ready = -(2 ** 46)

/**
 * The names of the tables.
 * @internal
 */
export const tables = (prefix: string) => ({
  queues: `${prefix}_queues`,
  batches: `${prefix}_batches`,
  payloads: `${prefix}_payloads`,
  appends: `${prefix}_appends`,
  ids: `${prefix}_ids`
})

/**
 * `due_ms` has one index for all that is pending: within one value, rows come by `seq`.
 *
 * A view takes what is appended, so that a batch is one statement though it is two rows. A sequence is never used again
 * (AUTOINCREMENT): a claim of a batch that is gone must not fit another one. The driver reads integers beyond 2^53 as
 * others, so there are none.
 *
 * @internal
 */
export const migrations = (prefix: string): Readonly<Record<string, ReadonlyArray<string>>> => {
  const { appends, batches, ids, payloads, queues } = tables(prefix)
  const pending = (row: "NEW" | "OLD") => `(${row}.state < 2)`
  const count = (sign: "+" | "-", row: "NEW" | "OLD") =>
    `pending_batches = pending_batches ${sign} ${pending(row)},
     pending_items = pending_items ${sign} ${pending(row)} * ${row}.items,
     dead_batches = dead_batches ${sign} NOT ${pending(row)},
     dead_items = dead_items ${sign} (NOT ${pending(row)}) * ${row}.items`
  return {
    "0001_batches": [
      `CREATE TABLE ${queues} (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        pending_batches INTEGER NOT NULL DEFAULT 0,
        pending_items INTEGER NOT NULL DEFAULT 0,
        dead_batches INTEGER NOT NULL DEFAULT 0,
        dead_items INTEGER NOT NULL DEFAULT 0,
        bucket_bits INTEGER NOT NULL DEFAULT 0
      ) STRICT`,
      `CREATE TABLE ${batches} (
        seq INTEGER PRIMARY KEY AUTOINCREMENT CHECK (seq < 9007199254740992),
        queue_id INTEGER NOT NULL,
        state INTEGER NOT NULL DEFAULT 0,
        token INTEGER NOT NULL DEFAULT 0 CHECK (token < 9007199254740992),
        deliveries INTEGER NOT NULL DEFAULT 0,
        due_ms INTEGER NOT NULL DEFAULT ${ready},
        items INTEGER NOT NULL,
        oldest_ms INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        failed_ms INTEGER NOT NULL DEFAULT 0,
        died_ms INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT ''
      ) STRICT`,
      `CREATE INDEX ${batches}_due ON ${batches} (queue_id, due_ms) WHERE state < 2`,
      `CREATE INDEX ${batches}_dead ON ${batches} (queue_id) WHERE state = 2`,
      `CREATE TABLE ${payloads} (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT`,
      `CREATE TABLE ${ids} (
        queue_id INTEGER NOT NULL,
        bucket INTEGER NOT NULL,
        id TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        PRIMARY KEY (queue_id, bucket, id)
      ) STRICT, WITHOUT ROWID`,
      `CREATE VIEW ${appends} AS SELECT 0 AS queue_id, 0 AS items, 0 AS oldest_ms, x'' AS payload`,
      `CREATE TRIGGER ${appends}_insert INSTEAD OF INSERT ON ${appends} BEGIN
        INSERT INTO ${batches} (queue_id, items, oldest_ms) VALUES (NEW.queue_id, NEW.items, NEW.oldest_ms);
        INSERT INTO ${payloads} (seq, payload) VALUES (last_insert_rowid(), NEW.payload);
      END`,
      `CREATE TRIGGER ${batches}_insert AFTER INSERT ON ${batches} BEGIN
        UPDATE ${queues} SET ${count("+", "NEW")} WHERE id = NEW.queue_id;
      END`,
      `CREATE TRIGGER ${batches}_update AFTER UPDATE OF state, items, queue_id ON ${batches}
      WHEN OLD.items <> NEW.items OR ${pending("OLD")} <> ${pending("NEW")} OR OLD.queue_id <> NEW.queue_id BEGIN
        UPDATE ${queues} SET ${count("-", "OLD")} WHERE id = OLD.queue_id;
        UPDATE ${queues} SET ${count("+", "NEW")} WHERE id = NEW.queue_id;
      END`,
      `CREATE TRIGGER ${batches}_delete AFTER DELETE ON ${batches} BEGIN
        DELETE FROM ${payloads} WHERE seq = OLD.seq;
        UPDATE ${queues} SET ${count("-", "OLD")} WHERE id = OLD.queue_id;
      END`
    ]
  }
}
