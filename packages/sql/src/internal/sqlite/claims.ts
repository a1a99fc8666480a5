/**
 * Claims batches in the store of SQLite.
 *
 * A claim that finds as many fresh batches as it asks for is one statement. Returned batches are claimed one by one:
 * one statement finds the batch, and another takes it, if it is still due.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { ClaimedBatch } from "@sluice/core/BatchStore"
import * as Effect from "effect/Effect"
import type { Claiming, ClipPart, Operations, Run } from "../../BatchStoreDialect.ts"
import type { Damage } from "../store/damage.ts"
import { isWhole, walkOf, walkThrough } from "./damage.ts"
import { gone, mostRows, putBack, ready, span, spanBits, tables } from "./schema.ts"

/**
 * How many rows a part of a clip looks at, and how many bytes it changes: a row is read and compared as a whole, and at
 * worst it is on a page of its own.
 */
const clippedAtOnce = 1000
const clippedBytes = 512 * 1024
const rowBytes = 1024

/** What a lease ends at that never ends: beyond, SQLite would keep a fraction, or the driver read another number. */
const never = Number.MAX_SAFE_INTEGER

/** When something is due: an integer, and nothing that a fresh batch has. */
export const due = (millis: number): number => Math.max(putBack + 1, Math.min(never, Math.ceil(millis)))

/** A payload as plain bytes. */
export const bytesOf = (payload: Uint8Array): Uint8Array =>
  new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength)

const claimedOf = (row: any): ClaimedBatch => ({
  sequence: row.seq % span,
  token: row.token,
  payload: bytesOf(row.payload),
  items: row.items,
  oldestAtMillis: row.oldest_ms,
  deliveries: row.deliveries,
  attempts: row.attempts,
  failedAtMillis: row.failed_ms,
  error: row.error
})

const bySequence = (one: ClaimedBatch, other: ClaimedBatch): number => one.sequence - other.sequence

type Answer = Effect.Effect.Success<ReturnType<Operations["claim"]>>

const none: ReadonlyArray<ClaimedBatch> = []

/** What comes back next, and where it is. */
interface Return {
  readonly seq: number
  readonly due_ms: number
  readonly kind: "leased" | "resting"
}

const returnOf = (kind: Return["kind"], seq: number | null | undefined, due_ms: number): Return | undefined =>
  seq === null || seq === undefined ? undefined : { seq, due_ms, kind }

const isBefore = (one: Return, other: Return): boolean =>
  one.due_ms < other.due_ms || one.due_ms === other.due_ms && one.seq < other.seq

/** Which of two comes back first. */
const first = (one: Return | undefined, other: Return | undefined): Return | undefined =>
  one === undefined || other !== undefined && isBefore(other, one) ? other : one

/** What is known of a queue when something that comes back was looked for. */
interface Look {
  readonly heldUntil: number
  readonly next: Return | undefined
}

export const makeClaims = (prefix: string): Pick<Operations, "claim" | "claimPast" | "clip" | "hold"> => {
  const { batches, queues, resting } = tables(prefix)
  const columns = "seq, token, items, oldest_ms, deliveries, attempts, failed_ms, error, payload"
  const again = "token = token + 1, deliveries = deliveries + 1, due_ms = ?, since_ms = ?"
  const held = `(SELECT held_ms FROM ${queues} WHERE id = ?)`
  const claim = (which: string) => `UPDATE ${batches} SET ${again} WHERE seq ${which} RETURNING ${columns}`
  // Those of the queue, in order. Few that are leased are passed: what rests and what is dead is elsewhere.
  const oldest = `SELECT seq FROM ${batches}
    WHERE seq > ? AND seq < ? AND due_ms <= ${putBack} AND ${held} <= ? ORDER BY seq`
  // No lease is behind it.
  const firstReady = `SELECT seq FROM ${batches} WHERE seq > ? AND seq < ? AND due_ms = ${ready} ORDER BY seq LIMIT 1`
  const walk = walkOf(batches, "seq, due_ms")
  const walkResting = walkOf(resting, "seq, due_ms")
  const ofQueue = `seq >> ${spanBits} = ?`
  const sql = {
    claimOne: claim(`= (${oldest} LIMIT 1)`),
    claimMany: claim(`IN (${oldest} LIMIT ?)`),
    // What is looked for twice over costs less than a table of what was found would.
    look: `SELECT held_ms, newer_batches, leased.seq AS leased_seq, leased.due_ms AS leased_ms,
        resting.seq AS resting_seq, resting.due_ms AS resting_ms
      FROM ${queues} LEFT JOIN ${batches} AS leased ON leased.seq = (
        SELECT seq FROM ${batches} WHERE seq > ? AND seq < coalesce((${firstReady}), ?) AND due_ms > ${putBack}
        ORDER BY due_ms, seq LIMIT 1
      ) LEFT JOIN ${resting} AS resting ON resting.seq = (
        SELECT seq FROM ${resting} WHERE ${ofQueue} AND version = 0 ORDER BY due_ms, seq LIMIT 1
      ) WHERE id = ?`,
    // From version to version, the batches that wait for each. The last condition is that of the index.
    lookNewer: `WITH RECURSIVE versions (version) AS (
        SELECT min(version) FROM ${resting} WHERE ${ofQueue} AND version > 0
        UNION ALL SELECT (SELECT min(version) FROM ${resting}
            WHERE ${ofQueue} AND version > versions.version AND version > 0)
          FROM versions WHERE version < ?
      )
      SELECT found.seq, found.due_ms FROM versions CROSS JOIN ${resting} AS found ON found.seq = (
        SELECT seq FROM ${resting} WHERE ${ofQueue} AND version > 0 AND version = versions.version
        ORDER BY due_ms, seq LIMIT 1
      ) WHERE versions.version <= ? ORDER BY found.due_ms, found.seq LIMIT 1`,
    // Unless somebody else was faster.
    leased: `UPDATE ${batches} SET ${again} WHERE seq = ? AND due_ms = ? RETURNING ${columns}`,
    resting: `UPDATE ${resting} SET ${again}, leased = 1, version = 0 WHERE seq = ? AND due_ms = ?
      RETURNING ${columns}`,
    claimThese: claim(`IN (SELECT value FROM json_each(?)) AND due_ms <= ${putBack}`),
    state: `SELECT held_ms, next_place FROM ${queues} WHERE id = ?`,
    // Both are in an index each, which has all that is asked for.
    returns: `SELECT seq, due_ms FROM ${resting} WHERE ${ofQueue} AND version = 0
      AND seq NOT IN (SELECT value FROM json_each(?)) ORDER BY due_ms, seq LIMIT 1`,
    newer: `SELECT seq, due_ms FROM ${resting} WHERE ${ofQueue} AND version > 0 AND version <= ?
      AND seq NOT IN (SELECT value FROM json_each(?)) ORDER BY due_ms, seq LIMIT 1`,
    clip: Object.fromEntries([batches, resting].map((table) => [
      table,
      `UPDATE ${table} SET due_ms = due_ms - since_ms + ?, since_ms = ?
        WHERE seq IN (SELECT value FROM json_each(?)) AND since_ms > ?`
    ])),
    clipHold: `UPDATE ${queues} SET held_ms = held_ms - held_since_ms + ?, held_since_ms = ?
      WHERE id = ? AND held_since_ms > ?`,
    // Of as many as a part looks at.
    firstReady: `SELECT seq FROM (SELECT seq, due_ms FROM ${batches} WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?)
      WHERE due_ms = ${ready} LIMIT 1`,
    hold: `UPDATE ${queues} SET held_ms = ?, held_since_ms = ?
      WHERE id = ? AND (? <= 0 OR min(held_ms, held_ms - held_since_ms + ?) < ?)`
  }

  // A clipped row is due earlier than before, so a scan by due time never meets it again.
  const clips = [
    clipOf(resting, `${ofQueue} AND version = 0`, ["due_ms", "seq"]),
    clipOf(resting, `${ofQueue} AND version > 0`, ["version", "due_ms", "seq"]),
    // What is likely to be damaged comes last.
    clipOf(batches, "seq < ?", ["seq"])
  ]

  /** Where each of them begins. */
  const beginning = (step: number, queueId: number, now: number): Array<unknown> =>
    [[now, never], [0, 0, 0], [queueId * span]][step]

  const clip: ClipPart = (connection, queueId, from, now) =>
    Effect.gen(function*() {
      const run = (statement: string, ...params: ReadonlyArray<unknown>) =>
        connection.execute(statement, params, undefined)
      if (from === undefined) yield* run(sql.clipHold, now, now, queueId, now)
      let left = clippedAtOnce
      for (let step = Number(from?.[0] ?? 0); step < clips.length; step++) {
        const { measure, order, params, table } = clips[step]
        const after = from?.[0] === step ? from.slice(1) : beginning(step, queueId, now)
        let within = queueId
        if (table === batches) {
          const [ready] = yield* run(sql.firstReady, after[0], (queueId + 1) * span, left)
          within = ready?.seq ?? (queueId + 1) * span
        }
        const [part] = yield* run(measure, ...params(within, after, now, left))
        if (part.looked === null) continue
        if (part.late !== "[]") yield* run(sql.clip[table], now, now, part.late, now)
        if (part.looked < part.found || part.found === left) return [step, ...order.map((column) => part[column])]
        left -= part.looked
      }
      return undefined
    })

  /** The oldest that are fresh. RETURNING has no order. */
  const takeFresh = (
    connection: Connection,
    queueId: number,
    limit: number,
    until: number,
    now: number
  ): Run<ReadonlyArray<ClaimedBatch>> => {
    const params: Array<unknown> = [until, now, queueId * span, (queueId + 1) * span, queueId, now]
    if (limit === 1) {
      return Effect.map(connection.execute(sql.claimOne, params, undefined), (rows) => rows.map(claimedOf))
    }
    params.push(limit)
    return Effect.map(
      connection.execute(sql.claimMany, params, undefined),
      (rows) => rows.map(claimedOf).sort(bySequence)
    )
  }

  /** Finds what has been due for longest, or will be due next. */
  const look = (connection: Connection, queueId: number, version: number): Run<Look> => {
    const [from, to] = [queueId * span, (queueId + 1) * span]
    const params = [from, from, to, to, queueId, queueId]
    return Effect.flatMap(connection.execute(sql.look, params, undefined), ([row]): Run<Look> => {
      const { held_ms: heldUntil, leased_ms, leased_seq, newer_batches, resting_ms, resting_seq } = row
      const next = first(returnOf("leased", leased_seq, leased_ms), returnOf("resting", resting_seq, resting_ms))
      if (newer_batches === 0) return Effect.succeed({ heldUntil, next })
      const params = [queueId, queueId, version, queueId, version]
      return Effect.map(
        connection.execute(sql.lookNewer, params, undefined),
        ([newer]) => ({ heldUntil, next: first(next, returnOf("resting", newer?.seq, newer?.due_ms)) })
      )
    })
  }

  const takeReturned = (
    connection: Connection,
    { due_ms, kind, seq }: Return,
    until: number,
    now: number
  ): Run<ReadonlyArray<ClaimedBatch>> =>
    Effect.map(connection.execute(sql[kind], [until, now, seq, due_ms], undefined), (rows) => rows.map(claimedOf))

  /** What comes back, if it is due by now. Answers no batches where there is none, and what is known then. */
  const claimReturned = (
    connection: Connection,
    queueId: number,
    { limit, until, version }: Prepared,
    now: number
  ): Run<Look & { readonly batches: ReadonlyArray<ClaimedBatch> }> =>
    Effect.flatMap(look(connection, queueId, version), (found) => {
      const { heldUntil, next } = found
      if (limit < 1 || heldUntil > now || next === undefined || next.due_ms > now) {
        return Effect.succeed({ ...found, batches: none })
      }
      return Effect.flatMap(takeReturned(connection, next, until, now), (batches) =>
        batches.length > 0
          ? Effect.succeed({ ...found, batches })
          // Somebody else has taken it, or settled it, between the two statements.
          : claimReturned(connection, queueId, { limit, until, version }, now))
    })

  const freshFirst = (connection: Connection, queueId: number, prepared: Prepared, now: number): Run<Answer> => {
    const { limit, until, version } = prepared
    return Effect.flatMap(takeFresh(connection, queueId, limit, until, now), (batches): Run<Answer> => {
      if (batches.length > 0) {
        if (batches.length >= limit) return Effect.succeed({ batches, turn: "fresh", nextAtMillis: undefined })
        return Effect.map(look(connection, queueId, version), ({ next }) => ({
          batches,
          turn: "fresh",
          nextAtMillis: next?.due_ms
        }))
      }
      return Effect.map(
        claimReturned(connection, queueId, prepared, now),
        ({ batches, heldUntil, next }) =>
          batches.length > 0
            ? { batches, turn: "returned", nextAtMillis: undefined }
            : {
              batches,
              turn: "fresh",
              nextAtMillis: heldUntil > now ? heldUntil : limit < 1 ? undefined : next?.due_ms
            }
      )
    })
  }

  const returnedFirst = (connection: Connection, queueId: number, prepared: Prepared, now: number): Run<Answer> =>
    Effect.flatMap(
      claimReturned(connection, queueId, prepared, now),
      ({ batches, heldUntil, next }): Run<Answer> => {
        if (batches.length > 0) return Effect.succeed({ batches, turn: "returned", nextAtMillis: undefined })
        if (heldUntil > now) return Effect.succeed({ batches, turn: "fresh", nextAtMillis: heldUntil })
        const { limit, until } = prepared
        return Effect.map(takeFresh(connection, queueId, limit, until, now), (batches) => ({
          batches,
          turn: "fresh",
          nextAtMillis: batches.length >= limit
            ? undefined
            : batches.length === 0
            ? next?.due_ms
            : Math.min(next?.due_ms ?? Infinity, until)
        }))
      }
    )

  /** What is found on the way through the first table: fresh batches that can be read, and what comes back. */
  const walkBatches = (
    connection: Connection,
    queueId: number,
    { end, limit, now }: { readonly end: number; readonly limit: number; readonly now: number },
    damage: Damage
  ) =>
    Effect.gen(function*() {
      const fresh: Array<number> = []
      let next: Return | undefined
      let isPastLeases = false
      const from = queueId * span + 1
      const error = yield* walkThrough(connection, walk, { from, end, damage, kind: "batches" }, ({ due_ms, seq }) =>
        Effect.gen(function*() {
          if (due_ms === gone) {
            return false
          }
          const isFresh = due_ms <= putBack
          if (due_ms === ready) {
            isPastLeases = true
          }
          const isWanted = isFresh
            ? fresh.length < limit
            : !isPastLeases && (next === undefined || due_ms < next.due_ms)
          // What is not due yet is read when it is.
          if (isWanted && (due_ms > now || (yield* isWhole(connection, walk, seq, damage, "batches")))) {
            if (isFresh) {
              fresh.push(seq)
            } else next = { seq, due_ms, kind: "leased" }
          }
          return isPastLeases && fresh.length >= limit
        }))
      return { error, fresh, next }
    })

  /** What comes back next of what rests, if it can be read. */
  const nextResting = (
    connection: Connection,
    queueId: number,
    version: number,
    now: number,
    damage: Damage
  ): Run<Return | undefined> =>
    Effect.gen(function*() {
      while (true) {
        const broken = JSON.stringify(damage.placesOf("resting").map((place) => queueId * span + place))
        const [one] = yield* connection.execute(sql.returns, [queueId, broken], undefined)
        const [other] = yield* connection.execute(sql.newer, [queueId, version, broken], undefined)
        const next = first(returnOf("resting", one?.seq, one?.due_ms), returnOf("resting", other?.seq, other?.due_ms))
        if (next === undefined) return undefined
        if (next.due_ms > now || (yield* isWhole(connection, walkResting, next.seq, damage, "resting"))) {
          return next
        }
      }
    })

  const claimPast: Operations["claimPast"] = (connection, queueId, claiming, now, damage) =>
    Effect.gen(function*() {
      const { limit, until, version } = prepare(claiming, now)
      const [{ held_ms, next_place }] = yield* connection.execute(sql.state, [queueId], undefined)
      if (held_ms > now) return { batches: none, turn: "fresh", nextAtMillis: held_ms }
      const found = yield* walkBatches(connection, queueId, { end: queueId * span + next_place, limit, now }, damage)
      const rests = yield* nextResting(connection, queueId, version, now, damage)
      const next = first(found.next, rests)
      // Otherwise it would go unnoticed: appended batches cannot be read either.
      if (found.error !== undefined && found.fresh.length === 0 && next === undefined) return yield* found.error
      const isDue = limit > 0 && next !== undefined && next.due_ms <= now
      if (isDue && (claiming.turn === "returned" || found.fresh.length === 0)) {
        const batches = yield* takeReturned(connection, next, until, now)
        return { batches, turn: batches.length > 0 ? "returned" : "fresh", nextAtMillis: undefined }
      }
      const params = [until, now, JSON.stringify(found.fresh)]
      const rows = yield* connection.execute(sql.claimThese, params, undefined)
      const nextAtMillis = rows.length >= limit
        ? undefined
        : Math.min(next?.due_ms ?? Infinity, rows.length > 0 ? until : Infinity)
      return {
        batches: rows.map(claimedOf).sort(bySequence),
        turn: "fresh",
        nextAtMillis: nextAtMillis === Infinity ? undefined : nextAtMillis
      }
    })

  return {
    claimPast,
    claim: (connection, queueId, claiming, now) =>
      (claiming.turn === "fresh" ? freshFirst : returnedFirst)(connection, queueId, prepare(claiming, now), now),
    clip,
    hold: (connection, queueId, millis, now) => {
      const until = due(now + millis)
      return Effect.asVoid(connection.execute(sql.hold, [until, now, queueId, millis, now, until], undefined))
    }
  }
}

/**
 * The rows of a table that may be later than they can be, in the order of these columns: how far a part goes, and what is
 * late in that.
 */
const clipOf = (table: string, which: string, order: ReadonlyArray<string>) => {
  const columns = order.join(", ")
  const bytes = `iif(due_ms > ? AND since_ms > ?, ${rowBytes} + length(payload), NULL) AS bytes`
  // One for each column that may be the first one to differ: SQLite would seek by the first one alone. And of two bounds
  // it seeks by the one that comes first.
  const behind = order.map((column, index) => {
    const same = order.slice(0, index).map((column) => `${column} = ? AND `).join("")
    return `SELECT * FROM (SELECT ${columns}, ${bytes} FROM ${table} WHERE ${same}${column} > ? AND ${which}
      ORDER BY ${order.slice(index).join(", ")} LIMIT ?)`
  })
  return {
    table,
    order,
    // The first one fits always. How long a payload is costs nothing: it is not read.
    measure: `SELECT ${columns}, found, max(place) AS looked,
        json_group_array(seq) FILTER (WHERE bytes IS NOT NULL) AS late
      FROM (
        SELECT *, count(*) OVER () AS found, row_number() OVER (ORDER BY ${columns}) AS place,
          total(bytes) OVER (ORDER BY ${columns} ROWS UNBOUNDED PRECEDING) - coalesce(bytes, 0) AS before
        FROM (${behind.reverse().join(" UNION ALL ")} LIMIT ?)
      ) WHERE before < ${clippedBytes}`,
    params: (within: number, after: ReadonlyArray<unknown>, now: number, limit: number): ReadonlyArray<unknown> => [
      ...after.flatMap((_, index) => [now, now, ...after.slice(0, after.length - index), within, limit]),
      limit
    ]
  }
}

const prepare = ({ leaseMillis, limit, version }: Claiming, now: number): Prepared => ({
  limit: Math.max(0, Math.min(mostRows, Math.floor(limit))),
  until: due(now + leaseMillis),
  version: Math.min(never, version)
})

type Prepared = Pick<Claiming, "limit" | "version"> & { readonly until: number }
