/** The limit: better-sqlite3 alone, in a loop that waits for nothing and keeps no promises but that of the commit. */
import Sqlite from "better-sqlite3"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs"
import { expectLevel, type Level } from "../files.ts"
import { batchSize, expectIntact, Item, Seen } from "./items.ts"

/** A connection to a file of its own. */
export const openDriver = (filename: string, level: Level): Effect.Effect<Sqlite.Database, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const db = new Sqlite(filename)
      db.pragma("journal_mode = WAL")
      db.pragma(`synchronous = ${level}`)
      if (level === "FULL") db.pragma("fullfsync = 1")
      return db
    }),
    (db) => Effect.sync(() => db.close())
  )

/** Fails unless a connection commits as it should. */
export const expectDriverLevel = (db: Sqlite.Database, level: Level): Effect.Effect<void> =>
  expectLevel((text) => Effect.sync(() => db.prepare<[], Record<string, unknown>>(text).all()), level)

const encode = Schema.encodeSync(Schema.Array(Item))
const decode = Schema.decodeUnknownSync(Schema.Array(Item))
const toBlob = (items: ReadonlyArray<Item>) => Buffer.from(JSON.stringify(encode(items)))
const fromBlob = (blob: Buffer) => decode(JSON.parse(blob.toString()))

/** A row, and a transaction, for each `size` items. */
export interface Driver {
  readonly storeAll: (items: ReadonlyArray<Item>, size?: number) => void
  /** Stores each batch, claims it, reads it and deletes it, each in a transaction of its own. */
  readonly handleAll: (items: ReadonlyArray<Item>) => void
  /**
   * Fails unless exactly the items 0 to `count` have been handled, or are in the file, and takes those out. What was
   * handled and not deleted would come twice.
   */
  readonly check: (count: number) => Effect.Effect<void>
}

export const driver = (filename: string, level: Level): Effect.Effect<Driver, never, Scope.Scope> =>
  Effect.map(openDriver(filename, level), (db) => {
    db.exec("CREATE TABLE blobs (id INTEGER PRIMARY KEY, claimed INTEGER NOT NULL DEFAULT 0, payload BLOB NOT NULL)")
    const insert = db.prepare<[Buffer]>("INSERT INTO blobs (payload) VALUES (?)")
    const claim = db.prepare<[], { readonly id: number; readonly payload: Buffer }>(
      "UPDATE blobs SET claimed = 1 WHERE id = (SELECT id FROM blobs WHERE claimed = 0 ORDER BY id LIMIT 1)"
        + " RETURNING id, payload"
    )
    const remove = db.prepare<[number]>("DELETE FROM blobs WHERE id = ?")
    const all = db.prepare<[], { readonly payload: Buffer }>("SELECT payload FROM blobs")
    const seen = new Seen()
    const check = (count: number) =>
      Effect.suspend(() => {
        for (const { payload } of all.all()) {
          const items = fromBlob(payload)
          expectIntact(items)
          seen.seeAll(items)
        }
        db.exec("DELETE FROM blobs")
        return Effect.zipRight(expectDriverLevel(db, level), seen.expect(filename, count))
      })
    return {
      storeAll: (items, size = batchSize) => {
        for (let first = 0; first < items.length; first += size) insert.run(toBlob(items.slice(first, first + size)))
      },
      handleAll: (items) => {
        for (let first = 0; first < items.length; first += batchSize) {
          insert.run(toBlob(items.slice(first, first + batchSize)))
          const { id, payload } = claim.get()!
          seen.seeAll(fromBlob(payload))
          remove.run(id)
        }
      },
      check
    }
  })

/** What a page is here, and how many there are before the first is written to again. */
const pageBytes = 4096
const pages = 1_000

/** Writes a page and syncs, so many times: what a transaction costs at FULL before anybody has done anything. */
export const syncing = (filename: string): Effect.Effect<(count: number) => void, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => openSync(filename, "w")),
      (file) => Effect.sync(() => closeSync(file))
    ),
    (file) => {
      // A file that grows takes longer to sync.
      writeSync(file, Buffer.alloc(pageBytes * pages))
      const page = Buffer.alloc(pageBytes, 1)
      let next = 0
      return (count) => {
        for (let i = 0; i < count; i++) {
          writeSync(file, page, 0, pageBytes, next++ % pages * pageBytes)
          fdatasyncSync(file)
        }
      }
    }
  )
