/**
 * Appends batches to the store of SQLite, and remembers their ids.
 *
 * Each id is kept in a time bucket. Buckets are at least as wide as the window, so a window only reaches into the
 * current bucket and the previous one, and older buckets can be deleted. So ordered ids are always appended at the end
 * of the table, and no index by time is needed.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { Appended, NewBatch } from "@sluice/core/BatchStore"
import { longestFitting } from "@sluice/core/QueueStore"
import * as Effect from "effect/Effect"
import type { ClipPart, Operations, Run } from "../../BatchStoreDialect.ts"
import { span, tables } from "./schema.ts"

/** How many rows one INSERT has at most. Texts are few, as each is a prepared statement: all powers of two up to here. */
const mostRows = 64

/** How many ids are forgotten at once, besides twice as many as are added. */
const forgottenAtOnce = 1000

/** How many of them a part of a clip looks at. */
const clippedAtOnce = 1000

/** The number of a bucket begins with its width, so that buckets of two widths never mix. */
const perWidth = 2 ** 43
const mostBits = 52

const bitsFor = (windowMillis: number): number =>
  windowMillis <= 1 ? 0 : Math.min(mostBits, Math.ceil(Math.log2(windowMillis)))

const bucketAt = (bits: number, millis: number): number => bits * perWidth + Math.floor(Math.max(0, millis) / 2 ** bits)

const none: ReadonlyArray<string> = []
const nothing: Appended = { appended: 0, duplicates: none }

const idsOf = (batches: ReadonlyArray<NewBatch>): ReadonlyArray<string> => batches.flatMap(({ ids }) => ids ?? none)

type Names = "append" | "appendWithIds" | "clipIds" | "findQueue" | "isSingle" | "queueId"

export const makeAppends = (prefix: string): Pick<Operations, Names> => {
  const { appends, batches, ids, queues } = tables(prefix)
  const into = `INSERT INTO ${appends} (queue_id, items, oldest_ms, payload)`
  const firstOf = (columns: string, which: string) =>
    `(SELECT ${columns} FROM ${ids} WHERE queue_id = ? AND ${which} ORDER BY bucket, id LIMIT ${clippedAtOnce})`
  const key = "queue_id, bucket, id"
  const sql = {
    addQueue: `INSERT INTO ${queues} (name) VALUES (?) ON CONFLICT DO NOTHING`,
    queueId: `SELECT id FROM ${queues} WHERE name = ?`,
    room: `SELECT pending_items, bucket_bits FROM ${queues} WHERE id = ?`,
    roomWithIds: `SELECT pending_items, bucket_bits, EXISTS (SELECT 1 FROM ${ids}
      WHERE queue_id = ${queues}.id AND bucket < bucket_bits * ${perWidth}) AS has_narrow FROM ${queues} WHERE id = ?`,
    appendOne: `${into} VALUES (?, ?, ?, ?)`,
    appendBounded: `${into} SELECT ?, ?, ?, ? WHERE (SELECT pending_items FROM ${queues} WHERE id = ?) + ? <= ?
      RETURNING 1`,
    takePlaces: `UPDATE ${queues} SET next_place = next_place + ?, pending_batches = pending_batches + ?,
      pending_items = pending_items + ? WHERE id = ? RETURNING next_place`,
    // From bucket to bucket, because a process whose clock is ahead may be in any of those after this one.
    duplicates: `WITH RECURSIVE buckets (bucket) AS (
        SELECT min(bucket) FROM ${ids} WHERE queue_id = ? AND bucket >= ?
        UNION ALL SELECT (SELECT min(bucket) FROM ${ids} WHERE queue_id = ? AND bucket > buckets.bucket)
          FROM buckets WHERE bucket IS NOT NULL
      )
      SELECT given.value AS id FROM buckets CROSS JOIN json_each(?) AS given CROSS JOIN ${ids} AS known
      ON known.queue_id = ? AND known.bucket = buckets.bucket AND known.id = given.value WHERE known.at_ms > ?`,
    remember: `INSERT INTO ${ids} (queue_id, bucket, id, at_ms) SELECT ?, ?, value, ? FROM json_each(?) WHERE true
      ON CONFLICT DO UPDATE SET at_ms = excluded.at_ms`,
    forget: `DELETE FROM ${ids} WHERE (queue_id, bucket, id) IN (
      SELECT queue_id, bucket, id FROM ${ids} WHERE queue_id = ? AND bucket < ? LIMIT ?)`,
    narrow: `SELECT 1 FROM ${ids} WHERE queue_id = ? AND bucket < ? LIMIT 1`,
    widen: `INSERT INTO ${ids} (queue_id, bucket, id, at_ms)
      SELECT queue_id, ? + (at_ms >> ?), id, at_ms FROM ${firstOf(`${key}, at_ms`, "bucket < ?")} WHERE true
      ON CONFLICT DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)`,
    dropNarrow: `DELETE FROM ${ids} WHERE (${key}) IN ${firstOf(key, "bucket < ?")}`,
    // Those of a clock that was ahead are behind this bucket, or in it.
    ahead: `SELECT 1 FROM ${ids} WHERE queue_id = ? AND bucket > ? LIMIT 1`,
    clipAhead: `INSERT INTO ${ids} (queue_id, bucket, id, at_ms)
      SELECT queue_id, ?, id, ? FROM ${firstOf(key, "bucket > ?")} WHERE true
      ON CONFLICT DO UPDATE SET at_ms = excluded.at_ms`,
    dropAhead: `DELETE FROM ${ids} WHERE (${key}) IN ${firstOf(key, "bucket > ?")}`,
    nextPart: `SELECT id FROM ${ids} WHERE queue_id = ? AND bucket = ? AND id >= ? ORDER BY id
      LIMIT 1 OFFSET ${clippedAtOnce}`,
    clip: `UPDATE ${ids} SET at_ms = ? WHERE queue_id = ? AND bucket = ? AND id >= ? AND id < coalesce(?, x'') AND
      at_ms > ?`,
    setBits: `UPDATE ${queues} SET bucket_bits = ? WHERE id = ?`
  }
  const rows = new Map<number, string>()
  for (let count = 1; count <= mostRows; count *= 2) {
    const values = Array.from({ length: count }, () => "(?, ?, ?, ?)").join(", ")
    rows.set(count, `INSERT INTO ${batches} (seq, items, oldest_ms, payload) VALUES ${values}`)
  }

  /** Inserts as many as fit into one statement, the first of them at this place. Answers how many it was. */
  const insert = (connection: Connection, added: ReadonlyArray<NewBatch>, from: number, place: number): Run<number> => {
    const count = Math.min(mostRows, 2 ** Math.floor(Math.log2(added.length - from)))
    const params: Array<unknown> = []
    for (let index = 0; index < count; index++) {
      const { items, oldestAtMillis, payload } = added[from + index]
      params.push(place + index, items, Math.floor(oldestAtMillis), payload)
    }
    return Effect.as(connection.execute(rows.get(count)!, params, undefined), count)
  }

  const insertAll = (connection: Connection, queueId: number, added: ReadonlyArray<NewBatch>): Run<Appended> => {
    const appended: Appended = { appended: added.length, duplicates: none }
    if (added.length === 0) return Effect.succeed(appended)
    if (added.length === 1) {
      const [{ items, oldestAtMillis, payload }] = added
      const params = [queueId, items, Math.floor(oldestAtMillis), payload]
      return Effect.as(connection.execute(sql.appendOne, params, undefined), appended)
    }
    const items = added.reduce((sum, batch) => sum + batch.items, 0)
    const places = connection.execute(sql.takePlaces, [added.length, added.length, items, queueId], undefined)
    return Effect.flatMap(places, ([{ next_place }]) => {
      const first = queueId * span + next_place - added.length
      const loop = (from: number): Run<Appended> =>
        from >= added.length
          ? Effect.succeed(appended)
          : Effect.flatMap(insert(connection, added, from, first + from), (count) => loop(from + count))
      return loop(0)
    })
  }

  const appendOne = (connection: Connection, queueId: number, batch: NewBatch, most: number): Run<Appended> => {
    const { items, oldestAtMillis, payload } = batch
    const params = [queueId, items, Math.floor(oldestAtMillis), payload, queueId, items, most]
    return Effect.map(
      connection.execute(sql.appendBounded, params, undefined),
      ({ length }) => length === 0 ? nothing : { appended: 1, duplicates: none }
    )
  }

  const appendWithIds: Operations["appendWithIds"] = (connection, queueId, append, now) =>
    Effect.gen(function*() {
      const { batches, idWindowMillis = Infinity, maxPendingItems } = append
      const [room] = yield* connection.execute(sql.roomWithIds, [queueId], undefined)
      const bits: number = room.bucket_bits
      const needed = bitsFor(idWindowMillis)
      if (needed > bits) {
        // From now on all ids go into wider buckets. No append happens before all remembered ids are in those.
        yield* connection.execute(sql.setBits, [needed, queueId], undefined)
        const narrow = yield* connection.execute(sql.narrow, [queueId, needed * perWidth], undefined)
        if (narrow.length > 0) return undefined
      } else if (room.has_narrow === 1) return undefined
      const most = Math.min(maxPendingItems ?? Infinity, Number.MAX_SAFE_INTEGER)
      const fitting = longestFitting(batches, most - room.pending_items)
      const width = Math.max(bits, needed)
      const bucket = bucketAt(width, now)
      const given = idsOf(fitting)
      const texts = JSON.stringify(given)
      // No time is before the time of SQLite's smallest integer.
      const since = Math.max(now - idWindowMillis, -Number.MAX_SAFE_INTEGER)
      const params = [queueId, bucket - 1, queueId, texts, queueId, since]
      const known = yield* connection.execute(sql.duplicates, params, undefined)
      if (known.length > 0) {
        const remembered = new Set<string>(known.map(({ id }) => id))
        return { appended: 0, duplicates: given.filter((id) => remembered.has(id)) }
      }
      const forgotten = forgottenAtOnce + 2 * idsOf(batches).length
      yield* connection.execute(sql.forget, [queueId, bucket - 1, forgotten], undefined)
      if (given.length > 0) yield* connection.execute(sql.remember, [queueId, bucket, now, texts], undefined)
      return yield* insertAll(connection, queueId, fitting)
    })

  const clipIds: ClipPart = (connection, queueId, from, now) =>
    Effect.gen(function*() {
      const run = (statement: string, ...params: ReadonlyArray<unknown>) =>
        connection.execute(statement, params, undefined)
      const [{ bucket_bits }] = yield* run(sql.room, queueId)
      const bucket = bucketAt(bucket_bits, now)
      const narrow = bucket_bits * perWidth
      if ((yield* run(sql.narrow, queueId, narrow)).length > 0) {
        yield* run(sql.widen, narrow, bucket_bits, queueId, narrow)
        yield* run(sql.dropNarrow, queueId, narrow)
        return [bucket, ""]
      }
      // Meanwhile the time may have come to the next bucket. What is in those before is not late any more.
      const first = from?.[0] === bucket ? from[1] : ""
      if ((yield* run(sql.ahead, queueId, bucket)).length > 0) {
        // They are there before they are deleted, for those who watch.
        yield* run(sql.clipAhead, bucket, now, queueId, bucket)
        yield* run(sql.dropAhead, queueId, bucket)
        return [bucket, first]
      }
      const [next] = yield* run(sql.nextPart, queueId, bucket, first)
      yield* run(sql.clip, now, queueId, bucket, first, next?.id ?? null, now)
      return next === undefined ? undefined : [bucket, next.id]
    })

  const findQueue = (connection: Connection, name: string): Run<number | undefined> =>
    Effect.map(connection.execute(sql.queueId, [name], undefined), ([found]) => found?.id)

  return {
    findQueue,
    queueId: (connection, name) =>
      Effect.flatMap(findQueue(connection, name), (found) =>
        found !== undefined
          ? Effect.succeed(found)
          : Effect.zipRight(
            connection.execute(sql.addQueue, [name], undefined),
            Effect.map(connection.execute(sql.queueId, [name], undefined), ([{ id }]): number => id)
          )),
    clipIds,
    isSingle: ({ batches }) => batches.length === 1,
    append: (connection, queueId, { batches, maxPendingItems }) => {
      if (maxPendingItems === undefined) return insertAll(connection, queueId, batches)
      const most = Math.min(maxPendingItems, Number.MAX_SAFE_INTEGER)
      if (batches.length === 1) return appendOne(connection, queueId, batches[0], most)
      return Effect.flatMap(
        connection.execute(sql.room, [queueId], undefined),
        ([{ pending_items }]) => insertAll(connection, queueId, longestFitting(batches, most - pending_items))
      )
    },
    appendWithIds
  }
}
