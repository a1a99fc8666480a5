/**
 * Dead letters in the store of SQLite, and its counters.
 *
 * There may be very many of them, so a statement looks at a bounded number, and the caller repeats it for more.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { DeadLetter, DeadLetterFilter, Portion, Portioned, Stats } from "@sluice/core/BatchStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Operations, Run } from "../../BatchStoreDialect.ts"
import type { Damage } from "../store/damage.ts"
import { bytesOf } from "./claims.ts"
import { isWhole, orStuck, walkOf, walkThrough } from "./damage.ts"
import { gone, mostRows, putBack, ready, span, spanBits, tables } from "./schema.ts"

/** How many letters one statement looks at: a few milliseconds, where each has a page of its own. */
const lookedAtOnce = 1000

/**
 * How many bytes one statement moves or deletes, beside its last letter, and how many letters. Each page of a file is
 * written once more with the next checkpoint.
 */
const movedBytes = 512 * 1024
const movedAtOnce = 500

const deadLetterOf = (row: any): DeadLetter => ({
  id: row.seq % span,
  items: row.items,
  reason: row.reason,
  error: row.error,
  deliveries: row.deliveries,
  attempts: row.attempts,
  oldestAtMillis: row.oldest_ms,
  diedAtMillis: row.died_ms
})

const statsOf = (row: any, now: number): Stats => ({
  pending: { batches: row.pending_batches, items: row.pending_items },
  dead: { batches: row.dead_batches, items: row.dead_items },
  newer: { batches: row.newer_batches, items: row.newer_items },
  oldestAtMillis: row.fresh_ms ?? row.returned_ms ?? undefined,
  heldUntilMillis: row.held > now ? row.held : undefined
})

/** The letters that one step looks at. */
interface Slice {
  readonly which: "within" | "listed"
  readonly params: ReadonlyArray<unknown>
  /** The places of those that are listed, in order. */
  readonly places: ReadonlyArray<number>
  /** The place of the last of them, where there are more behind it. */
  readonly end: number | undefined
}

/** Those of a slice that are meant: how many, and the keys of the first and the last of them. */
interface Found {
  readonly batches: number
  /** How many would be, if there were no bound to how much is moved at once. */
  readonly meant: number
  readonly items: number
  readonly first: number
  readonly last: number
}

/** What is done with the letters of a slice. */
interface Statements {
  readonly list: string
  readonly count: string
  /** The same of those that are moved at once. */
  readonly measure: string
  readonly restore: string
  readonly delete: string
  readonly keys: string
}

type Names = "countDead" | "counters" | "deadLetters" | "discard" | "inspect" | "redrive" | "stats"

const nothing: Portioned = { batches: 0, items: 0, last: undefined }

/** The places of a filter that has any, in order and once each, behind one of them. */
const placesAfter = (ids: ReadonlyArray<number>, after: number): ReadonlyArray<number> =>
  Array.from(new Set(ids)).filter((id) => Number.isSafeInteger(id) && id > after && id < span).sort((a, b) => a - b)

export const makeDeadLetters = (prefix: string): Pick<Operations, Names> => {
  const { batches, dead, queues, resting } = tables(prefix)
  const columns = "seq, items, reason, error, deliveries, attempts, oldest_ms, died_ms"
  const moved = "seq, token, deliveries, items, oldest_ms, attempts, failed_ms, due_ms, since_ms, error, payload"
  const within = "seq > ? AND seq <= ?"
  const listed = "seq IN (SELECT value FROM json_each(?))"
  const meant = "reason = coalesce(?, reason) AND instr(error, coalesce(?, '')) > 0 AND died_ms <= ?"
  const firstReady = `SELECT seq FROM ${batches} WHERE seq > ? AND seq < ? AND due_ms = ${ready} ORDER BY seq LIMIT 1`
  const leasedBehind = `seq > ? AND seq < coalesce((${firstReady}), ?) AND due_ms > ${putBack}`
  const ofQueue = `seq >> ${spanBits} = ?`
  const counters = `pending_batches, pending_items, dead_batches, dead_items, newer_batches, newer_items,
    min(held_ms, held_ms - held_since_ms + ?) AS held`
  const walk = walkOf(dead, "seq")
  const sql = {
    // The last of as many as are looked at, if there are more.
    end: `SELECT seq FROM ${dead} WHERE seq > ? AND seq < ? ORDER BY seq LIMIT 2 OFFSET ${lookedAtOnce - 1}`,
    more: `SELECT 1 FROM ${dead} WHERE seq > ? AND seq < ? LIMIT 1`,
    inspect: `SELECT ${columns}, payload FROM ${dead} WHERE seq = ? AND died_ms < ${gone}`,
    putAside:
      `INSERT INTO ${resting} (leased, ${moved}) SELECT 1, ${moved} FROM ${batches} WHERE ${leasedBehind} RETURNING 1`,
    leave: `DELETE FROM ${batches} WHERE ${leasedBehind}`,
    remove: `DELETE FROM ${dead} WHERE seq = ?`,
    mark: `UPDATE ${dead} SET died_ms = ${gone} WHERE seq = ?`,
    fewerDead: `UPDATE ${queues} SET dead_batches = dead_batches - 1, dead_items = dead_items - ? WHERE id = ?`,
    pending: `UPDATE ${queues} SET pending_batches = pending_batches + ?, pending_items = pending_items + ?
      WHERE id = ?`,
    places: `SELECT next_place FROM ${queues} WHERE id = ?`,
    counters: `SELECT ${counters}, NULL AS fresh_ms, NULL AS returned_ms FROM ${queues} WHERE id = ?`,
    stats: `SELECT ${counters},
        (SELECT oldest_ms FROM ${batches} WHERE seq > ? AND seq < ? AND due_ms <= ${putBack} ORDER BY seq LIMIT 1)
          AS fresh_ms,
        (SELECT oldest_ms FROM (
          SELECT * FROM (SELECT seq, due_ms, oldest_ms FROM ${batches}
            WHERE seq > ? AND seq < coalesce((${firstReady}), ?) AND due_ms > ${putBack} AND due_ms <= ?
            ORDER BY due_ms, seq LIMIT 1)
          UNION ALL SELECT * FROM (SELECT seq, due_ms, oldest_ms FROM ${resting}
            WHERE ${ofQueue} AND version = 0 AND due_ms <= ? ORDER BY due_ms, seq LIMIT 1)
          ORDER BY due_ms, seq LIMIT 1
        )) AS returned_ms
      FROM ${queues} WHERE id = ?`
  }
  const statementsOf = (where: string): Statements => ({
    list: `SELECT ${columns} FROM ${dead} WHERE ${where} AND ${meant} ORDER BY seq LIMIT ?`,
    count: `SELECT count(*) AS batches, count(*) AS meant, coalesce(sum(items), 0) AS items, min(seq) AS first,
        max(seq) AS last
      FROM (SELECT seq, items FROM ${dead} WHERE ${where} AND ${meant} ORDER BY seq LIMIT ?)`,
    // The first one fits always. How long a payload is costs nothing: it is not read.
    measure: `SELECT count(*) AS batches, max(meant) AS meant, coalesce(sum(items), 0) AS items, min(seq) AS first,
        max(seq) AS last
      FROM (
        SELECT seq, items, count(*) OVER () AS meant,
          sum(bytes) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - bytes AS before
        FROM (SELECT seq, items, length(payload) AS bytes FROM ${dead} WHERE ${where} AND ${meant}
          ORDER BY seq LIMIT ?)
      ) WHERE before < ${movedBytes}`,
    restore: `INSERT INTO ${batches} (seq, token, items, oldest_ms, payload)
      SELECT seq, token, items, oldest_ms, payload FROM ${dead} WHERE ${where} AND ${meant} AND seq <= ?`,
    delete: `DELETE FROM ${dead} WHERE ${where} AND ${meant} AND seq <= ?`,
    keys: `SELECT seq, items FROM ${dead} WHERE ${where} AND ${meant} AND seq <= ?`
  })
  const statements = { within: statementsOf(within), listed: statementsOf(listed) }

  const listOf = (queueId: number, places: ReadonlyArray<number>, end: number | undefined): Slice => {
    const keys = JSON.stringify(places.map((place) => queueId * span + place))
    return { which: "listed", params: [keys], places, end }
  }

  /** How much one step looks at: a number of ids, or otherwise of letters. */
  const slice = (connection: Connection, queueId: number, { after = 0, filter }: Portion): Run<Slice> => {
    if (filter.ids !== undefined) {
      const places = placesAfter(filter.ids, Math.max(0, after))
      const now = places.slice(0, lookedAtOnce)
      return Effect.succeed(listOf(queueId, now, places.length > now.length ? now[now.length - 1] : undefined))
    }
    const from = queueId * span
    const first = from + Math.max(0, Math.min(span - 1, Math.floor(after)))
    return Effect.map(connection.execute(sql.end, [first, from + span], undefined), (rows): Slice => {
      const last: number = rows.length < 2 ? from + span - 1 : rows[0].seq
      return { which: "within", params: [first, last], places: [], end: rows.length < 2 ? undefined : last % span }
    })
  }

  /** The same in a damaged file, row by row: those that can be read. */
  const sliceOfReadable = (
    connection: Connection,
    queueId: number,
    portion: Portion,
    damage: Damage,
    isChanged: boolean
  ): Run<Slice> =>
    Effect.gen(function*() {
      const isReadable = (seq: number) =>
        isChanged ? isWhole(connection, walk, seq, damage, "dead") : Effect.succeed(true)
      const from = queueId * span
      const places: Array<number> = []
      const ids = portion.filter.ids === undefined ? undefined : (yield* slice(connection, queueId, portion))
      const [{ next_place }] = yield* connection.execute(sql.places, [queueId], undefined)
      let end: number | undefined
      let looked = 0
      const look = (first: number, last: number) =>
        walkThrough(connection, walk, { from: from + first, end: from + last, damage, kind: "dead" }, ({ seq }) => {
          if (looked === lookedAtOnce) return Effect.succeed(true)
          looked += 1
          end = seq % span
          return Effect.map(isReadable(seq), (isReadable) => {
            if (isReadable) places.push(seq % span)
            return false
          })
        })
      if (ids === undefined) {
        yield* look(Math.max(0, Math.floor(portion.after ?? 0)) + 1, next_place)
        return listOf(queueId, places, looked === lookedAtOnce ? end : undefined)
      }
      for (const place of ids.places) if (place < next_place) yield* look(place, place + 1)
      return listOf(queueId, places, ids.end)
    })

  /** The id after which to continue, given how many were found in a slice and how many were asked for. */
  const after = (
    connection: Connection,
    queueId: number,
    { end, places, which }: Slice,
    isFull: boolean,
    last: number
  ): Run<number | undefined> => {
    if (!isFull) return Effect.succeed(end)
    const place = last % span
    if (which === "listed") {
      return Effect.succeed(end !== undefined || place < places[places.length - 1] ? place : undefined)
    }
    return Effect.map(
      connection.execute(sql.more, [last, (queueId + 1) * span], undefined),
      (rows) => rows.length > 0 ? place : undefined
    )
  }

  const meantParams = ({ error, olderThanMillis, reason }: DeadLetterFilter, now: number): ReadonlyArray<unknown> => {
    const diedBefore = olderThanMillis === undefined ? Infinity : now - olderThanMillis
    const least = -Number.MAX_SAFE_INTEGER
    return [reason ?? null, error ?? null, Math.max(least, Math.min(gone - 1, Math.floor(diedBefore)))]
  }

  const portion = (
    connection: Connection,
    queueId: number,
    portion: Portion,
    now: number,
    damage: Damage | undefined,
    change?: (statements: Statements, params: ReadonlyArray<unknown>, found: Found) => Run<unknown>
  ): Run<Portioned> =>
    Effect.gen(function*() {
      const most = change === undefined ? mostRows : movedAtOnce
      const limit = Math.max(0, Math.min(most, Math.floor(portion.limit)))
      if (limit === 0) return nothing
      const looked = damage === undefined
        ? yield* slice(connection, queueId, portion)
        : yield* sliceOfReadable(connection, queueId, portion, damage, change !== undefined)
      const statement = statements[looked.which]
      const params = [...looked.params, ...meantParams(portion.filter, now)]
      const look = change === undefined ? statement.count : statement.measure
      const [found]: ReadonlyArray<Found> = yield* connection.execute(look, [...params, limit], undefined)
      const { items, last } = found
      if (found.batches > 0 && change !== undefined) yield* change(statement, [...params, last], found)
      const isFull = found.batches >= limit || found.batches < found.meant
      const next = yield* after(connection, queueId, looked, isFull, last)
      return { batches: found.batches, items, last: next }
    })

  /** One by one: what cannot be deleted is marked as gone. */
  const removeEach = (
    connection: Connection,
    queueId: number,
    params: ReadonlyArray<unknown>,
    damage: Damage
  ): Run<void> =>
    Effect.gen(function*() {
      const keys = yield* connection.execute(statements.listed.keys, params, undefined)
      for (const { items, seq } of keys) {
        const place = seq % span
        if (damage.isStuck("dead", place)) {
          yield* connection.execute(sql.mark, [seq], undefined)
          yield* connection.execute(sql.fewerDead, [items, queueId], undefined)
        } else yield* orStuck(connection.execute(sql.remove, [seq], undefined), damage, "dead", place)
      }
    })

  const remove = (
    connection: Connection,
    queueId: number,
    statements: Statements,
    params: ReadonlyArray<unknown>,
    damage: Damage | undefined
  ): Run<unknown> =>
    damage === undefined
      ? connection.execute(statements.delete, params, undefined)
      : removeEach(connection, queueId, params, damage)

  /** What is leased behind the first that comes back to its place goes where its lease is found all the same. */
  const putAside = (connection: Connection, queueId: number, first: number): Run<void> => {
    const to = (queueId + 1) * span
    const params = [first, queueId * span, to, to]
    return Effect.flatMap(
      connection.execute(sql.putAside, params, undefined),
      (rows) => rows.length === 0 ? Effect.void : Effect.asVoid(connection.execute(sql.leave, params, undefined))
    )
  }

  return {
    deadLetters: (connection, queueId, portion, now, damage) =>
      Effect.gen(function*() {
        const limit = Math.max(0, Math.min(mostRows, Math.floor(portion.limit)))
        if (limit === 0) return { letters: [], last: undefined }
        const looked = damage === undefined
          ? yield* slice(connection, queueId, portion)
          : yield* sliceOfReadable(connection, queueId, portion, damage, false)
        const params = [...looked.params, ...meantParams(portion.filter, now), limit]
        const rows = yield* connection.execute(statements[looked.which].list, params, undefined)
        const isFull = rows.length >= limit
        return { letters: rows.map(deadLetterOf), last: isFull ? undefined : looked.end }
      }),
    inspect: (connection, queueId, id) =>
      Effect.map(
        connection.execute(sql.inspect, [id > 0 && id < span ? queueId * span + id : -1], undefined),
        (rows) =>
          rows.length === 0
            ? Option.none()
            : Option.some({ ...deadLetterOf(rows[0]), payload: bytesOf(rows[0].payload) })
      ),
    redrive: (connection, queueId, which, now, damage) =>
      portion(
        connection,
        queueId,
        which,
        now,
        damage,
        (statements, params, { batches, first, items }) =>
          putAside(connection, queueId, first).pipe(
            Effect.zipRight(connection.execute(statements.restore, params, undefined)),
            Effect.zipRight(remove(connection, queueId, statements, params, damage)),
            Effect.zipRight(connection.execute(sql.pending, [batches, items, queueId], undefined))
          )
      ),
    discard: (connection, queueId, which, now, damage) =>
      portion(
        connection,
        queueId,
        which,
        now,
        damage,
        (statements, params) => remove(connection, queueId, statements, params, damage)
      ),
    countDead: (connection, queueId, which, now, damage) => portion(connection, queueId, which, now, damage),
    counters: (connection, queueId, now) =>
      Effect.map(connection.execute(sql.counters, [now, queueId], undefined), (rows) => statsOf(rows[0], now)),
    stats: (connection, queueId, now) => {
      const [from, to] = [queueId * span, (queueId + 1) * span]
      const params = [now, from, to, from, from, to, to, now, queueId, now, queueId]
      return Effect.map(connection.execute(sql.stats, params, undefined), (rows) => statsOf(rows[0], now))
    }
  }
}
