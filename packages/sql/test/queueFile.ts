/**
 * A file with a durable queue that other processes work on, and the truth about it: what was committed, told by triggers
 * of our own in the same transactions, and what was handled, told by the handlers before they return.
 */
import { SqlBatchStore, SqliteStore } from "@sluice/sql"
import Database from "better-sqlite3"
import { Effect, Layer } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { child, temporaryDirectory } from "./children/spawn.ts"

/** A line of what handlers, and those who stop them, have noted. */
export interface Note {
  readonly what: "begin" | "end" | "stopping"
  readonly who: string
  /** The items, which name a batch as well: an item is stored once. */
  readonly key: string
  readonly ids: ReadonlyArray<string>
}

/** What children are told; children/queue.js says what it means. */
export interface Orders {
  readonly who: string
  readonly again?: ReadonlyArray<string>
  readonly die?: { readonly at: string; readonly nth?: number; readonly millis?: number }
  readonly drain?: boolean
  readonly handleMillis?: number
  readonly options?: Readonly<Record<string, unknown>>
  readonly produce?: { readonly fibers: number; readonly prefix: string; readonly pauseMillis?: number }
}

/** What is in the store. */
export interface Row {
  readonly seq: number
  readonly key: string
  /** 0: to be claimed; 1: claimed; 2: a dead letter. */
  readonly state: number
  readonly token: number
  readonly deliveries: number
}

export const waiting = 0
export const claimed = 1
export const dead = 2

/** The place of a batch in its queue, of its key. */
export const placeOf = (key: string) => `${key} % ${2 ** 40}`

// A batch that is put to rest, or dies, leaves its table for another one, and may come back.
const elsewhere = (table: string) =>
  ["sluice_batches", "sluice_resting", "sluice_dead"].filter((other) => other !== table).map((other) =>
    `SELECT 1 FROM ${other} WHERE seq = OLD.seq`
  ).join(" UNION ALL ")

const audited = (table: string) => `
  CREATE TRIGGER ${table}_audit_stored AFTER INSERT ON ${table} BEGIN
    INSERT INTO audit_stored VALUES (${placeOf("NEW.seq")}, NEW.payload) ON CONFLICT DO NOTHING;
  END;
  CREATE TRIGGER ${table}_audit_claims AFTER UPDATE OF token ON ${table} BEGIN
    INSERT INTO audit_claims VALUES (${placeOf("NEW.seq")}, NEW.token, NEW.deliveries);
  END;
  CREATE TRIGGER ${table}_audit_deleted AFTER DELETE ON ${table} WHEN NOT EXISTS (${elsewhere(table)}) BEGIN
    INSERT INTO audit_deleted VALUES (${placeOf("OLD.seq")});
  END;`

const audit = `
  CREATE TABLE audit_stored (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL);
  CREATE TABLE audit_claims (seq INTEGER NOT NULL, token INTEGER NOT NULL, deliveries INTEGER NOT NULL);
  CREATE TABLE audit_deleted (seq INTEGER PRIMARY KEY);
  ${audited("sluice_batches")}
  ${audited("sluice_resting")}`

/** Everything that is stored. What has a time to come is claimed; what has none can be. */
const everything = `
  SELECT ${placeOf("seq")} AS seq, CASE WHEN due_ms > 0 THEN ${claimed} ELSE ${waiting} END AS state, token, deliveries,
    items, payload FROM sluice_batches
  UNION ALL SELECT ${placeOf("seq")}, CASE WHEN leased THEN ${claimed} ELSE ${waiting} END, token, deliveries, items,
    payload FROM sluice_resting
  UNION ALL SELECT ${placeOf("seq")}, ${dead}, token, deliveries, items, payload FROM sluice_dead`

/** The items of a batch, after the line that says how they are written. */
const idsIn = (payload: Buffer): ReadonlyArray<string> =>
  JSON.parse(payload.subarray(payload.indexOf("\n") + 1).toString())

const keyOf = (ids: ReadonlyArray<string>): string => ids.join(",")

export class QueueFile {
  readonly filename: string
  readonly noted: string

  constructor(directory: string) {
    this.filename = path.join(directory, "queue.db")
    this.noted = path.join(directory, "noted")
    fs.writeFileSync(this.noted, "")
  }

  /** Runs a queue on the file, in a process of its own, until the scope closes. */
  process(orders: Orders) {
    return child("queue", JSON.stringify({ filename: this.filename, noted: this.noted, ...orders }))
  }

  /** Notes that a process is about to be killed or stopped. */
  stopping(who: string): void {
    fs.appendFileSync(this.noted, `stopping ${who} \n`)
  }

  get notes(): ReadonlyArray<Note> {
    return fs.readFileSync(this.noted, "utf8").split("\n").slice(0, -1).map((line) => {
      const [what, who, key] = line.split(" ")
      return { what: what as Note["what"], who, key, ids: key.split(",") }
    })
  }

  /** Looks at the file as somebody who knows nothing of Sluice. */
  look<A>(read: (database: Database.Database) => A): A {
    const database = new Database(this.filename, { timeout: 10_000 })
    try {
      return read(database)
    } finally {
      database.close()
    }
  }

  /**
   * A process that is killed between writing a commit and telling others of it leaves one that only some see: whoever
   * comes first decides.
   */
  recover(): void {
    this.look((database) => database.pragma("wal_checkpoint(TRUNCATE)"))
  }

  private rows<A>(sql: string): ReadonlyArray<A> {
    return this.look((database) => database.prepare(sql).all() as Array<A>)
  }

  get integrity(): unknown {
    return this.look((database) => database.pragma("integrity_check", { simple: true }))
  }

  /** Every batch that was ever stored. */
  get stored(): ReadonlyMap<number, ReadonlyArray<string>> {
    const rows = this.rows<{ seq: number; payload: Buffer }>("SELECT seq, payload FROM audit_stored ORDER BY seq")
    return new Map(rows.map(({ payload, seq }) => [seq, idsIn(payload)]))
  }

  /** What is in the store now. */
  get pending(): ReadonlyArray<Row> {
    const rows = this.rows<Omit<Row, "key"> & { payload: Buffer }>(
      `SELECT seq, state, token, deliveries, payload FROM (${everything}) ORDER BY seq`
    )
    return rows.map(({ payload, ...row }) => ({ ...row, key: keyOf(idsIn(payload)) }))
  }

  /** What the store itself counts, against what is in it. */
  get counts(): { readonly told: unknown; readonly found: unknown } {
    return this.look((database) => {
      const told = database.prepare(
        "SELECT sum(pending_batches) AS batches, sum(pending_items) AS items FROM sluice_queues"
      )
      const found = database.prepare(
        `SELECT count(*) AS batches, coalesce(sum(items), 0) AS items FROM (${everything}) WHERE state <> ${dead}`
      )
      return database.transaction(() => ({ told: told.get(), found: found.get() }))()
    })
  }

  /** How often each batch was claimed, and the most deliveries that were ever counted for it. */
  get claims(): ReadonlyMap<number, { readonly count: number; readonly deliveries: number }> {
    const rows = this.rows<{ seq: number; count: number; deliveries: number }>(
      "SELECT seq, count(*) AS count, max(deliveries) AS deliveries FROM audit_claims GROUP BY seq"
    )
    return new Map(rows.map(({ seq, ...claims }) => [seq, claims]))
  }

  /** The batches that are gone. */
  get deleted(): ReadonlyArray<number> {
    return this.rows<{ seq: number }>("SELECT seq FROM audit_deleted").map(({ seq }) => seq)
  }
}

/** A file with an empty queue, which is gone after the test. */
export const queueFile = Effect.gen(function*() {
  const file = new QueueFile(yield* temporaryDirectory)
  const store = SqlBatchStore.layer().pipe(Layer.provide(SqliteStore.layer({ filename: file.filename })))
  yield* Effect.scoped(Layer.build(store))
  file.look((database) => database.exec(audit))
  return file
})

/** How often each value is there. */
export const countBy = <A>(values: Iterable<A>): Map<A, number> => {
  const counts = new Map<A, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return counts
}

/** Looks every so often until something is true. */
export const until = (isTrue: () => boolean) =>
  Effect.repeat(Effect.zipRight(Effect.sleep("10 millis"), Effect.sync(isTrue)), { until: (done) => done })
