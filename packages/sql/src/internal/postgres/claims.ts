/**
 * Claims batches in the store of PostgreSQL, side by side with other processes.
 *
 * One statement finds batches, locks them and leases them, and passes over those that somebody else has locked. What
 * comes back is claimed one by one: a statement tells which index has the next one, and another takes it from there.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { ClaimedBatch } from "@sluice/core/BatchStore"
import * as Effect from "effect/Effect"
import type { Claiming, ClipPart, Operations, Run } from "../../BatchStoreDialect.ts"
import type { Counts } from "./counts.ts"
import type { Floors } from "./floors.ts"
import { bytesOf, due, never } from "./rows.ts"
import { among, leased, mostRows, putBack, ready, resting, tables } from "./schema.ts"

/** How many rows a part of a clip looks at. */
const clippedAtOnce = 1000

/** When to look again where somebody else is about to take what is due: that may be rolled back. */
const lockedMillis = 20

const claimedOf = (row: any): ClaimedBatch => ({
  sequence: Number(row.seq),
  token: Number(row.token),
  payload: bytesOf(row.payload),
  items: Number(row.items),
  oldestAtMillis: Number(row.oldest_ms),
  deliveries: Number(row.deliveries),
  attempts: Number(row.attempts),
  failedAtMillis: Number(row.failed_ms),
  error: row.error
})

const bySequence = (one: ClaimedBatch, other: ClaimedBatch): number => one.sequence - other.sequence

type Answer = Effect.Effect.Success<ReturnType<Operations["claim"]>>

const none: ReadonlyArray<ClaimedBatch> = []

/** What comes back next, and which index has it. */
interface Return {
  readonly seq: number
  readonly dueAt: number
  readonly kind: "leased" | "resting" | "newer"
  readonly version: number
}

/** Which of two comes back first. */
const first = (one: Return | undefined, other: Return | undefined): Return | undefined =>
  one === undefined
    || other !== undefined && (other.dueAt < one.dueAt || other.dueAt === one.dueAt && other.seq < one.seq)
    ? other
    : one

/** What is known of a queue when something that comes back was looked for. */
interface Look {
  readonly heldUntil: number
  readonly next: Return | undefined
}

interface Prepared {
  readonly limit: number
  readonly until: number
  readonly version: number
}

const prepare = ({ leaseMillis, limit, version }: Claiming, now: number): Prepared => ({
  limit: Math.max(0, Math.min(mostRows, Math.floor(limit))),
  until: due(now + leaseMillis),
  version: Math.min(never, Math.floor(version))
})

export const makeClaims = (
  prefix: string,
  counts: Counts,
  floorsOf: (queueId: number) => Floors
): Pick<Operations, "claim" | "claimPast" | "clip" | "hold"> => {
  const { batches, places, queues } = tables(prefix)
  const columns = "seq, token, items, oldest_ms, deliveries, attempts, failed_ms, error, payload"
  const again = `state = ${leased}, version = 0, token = token + 1, deliveries = deliveries + 1,
    due_ms = $2::bigint, since_ms = $3::bigint`
  const fresh = (state: number, which: string) =>
    `SELECT seq FROM ${batches} WHERE queue_id = $1::integer AND state = ${state} ${which}
      AND (SELECT held_ms FROM ${queues} WHERE id = $1::integer) <= $3::bigint
      ORDER BY seq LIMIT $5::bigint FOR UPDATE SKIP LOCKED`
  const inState = (state: number) => `queue_id = $1::integer AND state = ${state} AND version = 0`
  const ofVersion = (version: string) => `queue_id = $1::integer AND version = ${version} AND version > 0`
  const byDue = (which: string) => `SELECT seq, due_ms FROM ${batches} WHERE ${which} ORDER BY due_ms, seq LIMIT 1`
  const found = (which: string) =>
    `WITH found AS (${byDue(`${which} AND due_ms <= $3::bigint`)} FOR UPDATE SKIP LOCKED)`
  const lease = `UPDATE ${batches} SET ${again} WHERE queue_id = $1::integer AND ${among("found")} RETURNING ${columns}`
  const leastVersion = (above: string) =>
    `SELECT version FROM ${batches} WHERE queue_id = $1::integer AND version > ${above} AND version > 0
      ORDER BY version LIMIT 1`
  const clipOf = (which: string, order: string, after: string) =>
    `WITH looked AS (
        SELECT version, due_ms, seq FROM ${batches} WHERE ${which} AND (${order}) > (${after})
        ORDER BY ${order} LIMIT ${clippedAtOnce}
      ),
      late AS (
        SELECT seq FROM ${batches} WHERE queue_id = $1::integer AND ${among("looked")} AND since_ms > $2::bigint
        ORDER BY seq FOR UPDATE
      ),
      clipped AS (
        UPDATE ${batches} SET due_ms = due_ms - since_ms + $2::bigint, since_ms = $2::bigint
        WHERE queue_id = $1::integer AND ${among("late")}
      )
      SELECT version, due_ms, seq, (SELECT count(*) FROM looked) AS looked FROM looked
        ORDER BY version DESC, due_ms DESC, seq DESC LIMIT 1`
  const afterDue = "$3::bigint, $4::bigint"
  const sql = {
    // What was put back is in an older place than what is ready, but for letters that were never claimed.
    fresh: `WITH ready AS (${fresh(ready, "AND seq >= $4::bigint")}),
      back AS (${fresh(putBack, "")}),
      found AS (SELECT * FROM ready UNION ALL SELECT * FROM back ORDER BY seq LIMIT $5::bigint)
      ${lease}, (SELECT min(seq) FROM ready) AS ready_seq`,
    // From version to version, the batches that wait for each.
    look: `SELECT held_ms, (SELECT last_value FROM ${places}) AS last_place,
        leased.seq AS leased_seq, leased.due_ms AS leased_ms, resting.seq AS resting_seq, resting.due_ms AS resting_ms,
        newer.seq AS newer_seq, newer.due_ms AS newer_ms, newer.version
      FROM ${queues}
      LEFT JOIN LATERAL (${byDue(`${inState(leased)} AND due_ms >= $2::bigint`)}) AS leased ON true
      LEFT JOIN LATERAL (${byDue(`${inState(resting)} AND due_ms >= $3::bigint`)}) AS resting ON true
      LEFT JOIN LATERAL (
        WITH RECURSIVE versions (version) AS (
          (${leastVersion("0")})
          UNION ALL SELECT (${leastVersion("versions.version")}) FROM versions WHERE versions.version < $4::bigint
        )
        SELECT found.seq, found.due_ms, versions.version FROM versions
        CROSS JOIN LATERAL (${byDue(ofVersion("versions.version"))}) AS found
        WHERE versions.version <= $4::bigint ORDER BY found.due_ms, found.seq LIMIT 1
      ) AS newer ON true
      WHERE id = $1::integer`,
    leased: `${found(`${inState(leased)} AND due_ms >= $4::bigint`)} ${lease}`,
    resting: `${found(`${inState(resting)} AND due_ms >= $4::bigint`)} ${lease}`,
    newer: `${found(ofVersion("$4::bigint"))}, taken AS (${lease}),
      counted AS (${counts.counting("taken", { newer: -1 })}) SELECT * FROM taken`,
    clipHold: `UPDATE ${queues} SET held_ms = held_ms - held_since_ms + $2::bigint, held_since_ms = $2::bigint
      WHERE id = $1::integer AND held_since_ms > $2::bigint`,
    hold: `UPDATE ${queues} SET held_ms = $2::bigint, held_since_ms = $3::bigint WHERE id = $1::integer
      AND ($4::boolean OR least(held_ms, held_ms - held_since_ms + $3::bigint) < $2::bigint)`
  }
  // A clipped row is due earlier than before, so a scan by due time never meets it again.
  const clips = [
    clipOf(inState(leased), "due_ms, seq", afterDue),
    clipOf(inState(resting), "due_ms, seq", afterDue),
    clipOf("queue_id = $1::integer AND version > 0", "version, due_ms, seq", "$3::bigint, $4::bigint, $5::bigint")
  ]

  /** The oldest that are fresh. RETURNING has no order. */
  const takeFresh = (
    connection: Connection,
    queueId: number,
    { limit, until }: Prepared,
    now: number
  ): Run<ReadonlyArray<ClaimedBatch>> => {
    if (limit === 0) return Effect.succeed(none)
    const floors = floorsOf(queueId)
    const run = (from: number) => connection.execute(sql.fresh, [queueId, until, now, from, limit], undefined)
    return Effect.map(floors.scanReady(now, run), (rows) => {
      if (rows.length === 0) return none
      floors.leased.lower(until)
      return rows.map(claimedOf).sort(bySequence)
    })
  }

  const returnOf = (kind: Return["kind"], seq: unknown, due_ms: unknown, version = 0): Return | undefined =>
    seq === null ? undefined : { seq: Number(seq), dueAt: Number(due_ms), kind, version }

  /** Finds what has been due for longest, or will be due next. */
  const look = (connection: Connection, queueId: number, { until, version }: Prepared, now: number): Run<Look> => {
    const run = (leasedFrom: number, restingFrom: number) =>
      connection.execute(sql.look, [queueId, leasedFrom, restingFrom, version], undefined)
    return Effect.map(floorsOf(queueId).scanReturns(now, until, run), ([row]): Look => {
      const returned = first(
        returnOf("leased", row.leased_seq, row.leased_ms),
        returnOf("resting", row.resting_seq, row.resting_ms)
      )
      const newer = returnOf("newer", row.newer_seq, row.newer_ms, Number(row.version))
      return { heldUntil: Number(row.held_ms), next: first(returned, newer) }
    })
  }

  const takeReturned = (
    connection: Connection,
    queueId: number,
    { dueAt, kind, version }: Return,
    until: number,
    now: number
  ): Run<ReadonlyArray<ClaimedBatch>> => {
    floorsOf(queueId).leased.lower(until)
    // The one that was found, or the next that is due if somebody else is about to take that.
    const params = [queueId, until, now, kind === "newer" ? version : dueAt]
    const rows = connection.execute(sql[kind], params, undefined)
    return Effect.map(
      kind === "newer" ? counts.changed(connection, queueId, rows) : rows,
      (rows) => rows.map(claimedOf)
    )
  }

  /** What comes back, if it is due by now. Answers no batches where there is none, and what is known then. */
  const claimReturned = (
    connection: Connection,
    queueId: number,
    prepared: Prepared,
    now: number
  ): Run<Look & { readonly batches: ReadonlyArray<ClaimedBatch> }> =>
    Effect.flatMap(look(connection, queueId, prepared, now), ({ heldUntil, next }) => {
      const { limit, until } = prepared
      if (limit < 1 || heldUntil > now || next === undefined || next.dueAt > now) {
        return Effect.succeed({ heldUntil, next, batches: none })
      }
      return Effect.map(takeReturned(connection, queueId, next, until, now), (batches) => ({
        heldUntil,
        next: batches.length > 0 ? undefined : { ...next, dueAt: now + lockedMillis },
        batches
      }))
    })

  const freshFirst = (connection: Connection, queueId: number, prepared: Prepared, now: number): Run<Answer> =>
    Effect.flatMap(takeFresh(connection, queueId, prepared, now), (batches): Run<Answer> => {
      const { limit } = prepared
      if (batches.length > 0) {
        if (batches.length >= limit) return Effect.succeed({ batches, turn: "fresh", nextAtMillis: undefined })
        return Effect.map(look(connection, queueId, prepared, now), ({ next }) => ({
          batches,
          turn: "fresh",
          nextAtMillis: next?.dueAt
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
              nextAtMillis: heldUntil > now ? heldUntil : limit < 1 ? undefined : next?.dueAt
            }
      )
    })

  const returnedFirst = (connection: Connection, queueId: number, prepared: Prepared, now: number): Run<Answer> =>
    Effect.flatMap(
      claimReturned(connection, queueId, prepared, now),
      ({ batches, heldUntil, next }): Run<Answer> => {
        if (batches.length > 0) return Effect.succeed({ batches, turn: "returned", nextAtMillis: undefined })
        if (heldUntil > now) return Effect.succeed({ batches, turn: "fresh", nextAtMillis: heldUntil })
        const { limit, until } = prepared
        return Effect.map(takeFresh(connection, queueId, prepared, now), (batches) => ({
          batches,
          turn: "fresh",
          nextAtMillis: batches.length >= limit
            ? undefined
            : batches.length === 0
            ? next?.dueAt
            : Math.min(next?.dueAt ?? Infinity, until)
        }))
      }
    )

  const claim: Operations["claim"] = (connection, queueId, claiming, now) =>
    (claiming.turn === "fresh" ? freshFirst : returnedFirst)(connection, queueId, prepare(claiming, now), now)

  /** Where each part of a clip begins. What is late is due later than now. */
  const beginnings = (now: number): ReadonlyArray<ReadonlyArray<number>> => [[now, never], [now, never], [0, 0, 0]]

  const clip: ClipPart = (connection, queueId, from, now) =>
    Effect.gen(function*() {
      if (from === undefined) yield* connection.execute(sql.clipHold, [queueId, now], undefined)
      // What is clipped is due now at the earliest.
      floorsOf(queueId).leased.lower(now)
      floorsOf(queueId).resting.lower(now)
      for (let step = Number(from?.[0] ?? 0); step < clips.length; step++) {
        const after = from?.[0] === step ? from.slice(1) : beginnings(now)[step]
        const [last] = yield* connection.execute(clips[step], [queueId, now, ...after], undefined)
        if (last === undefined || Number(last.looked) < clippedAtOnce) continue
        const mark = [Number(last.due_ms), Number(last.seq)]
        return step === 2 ? [step, Number(last.version), ...mark] : [step, ...mark]
      }
      return undefined
    })

  return {
    claim,
    // A page of a server that is broken is its administrator's.
    claimPast: claim,
    clip,
    hold: (connection, queueId, millis, now) => {
      const params = [queueId, due(now + millis), now, millis <= 0]
      return Effect.asVoid(connection.execute(sql.hold, params, undefined))
    }
  }
}
