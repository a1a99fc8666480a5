/**
 * Dead letters in the store of PostgreSQL, and its counters.
 *
 * There may be very many of them, so a statement looks at a bounded number, and the caller repeats it for more.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { Amount, DeadLetter, DeadLetterFilter, Portion, Portioned, Stats } from "@sluice/core/BatchStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Operations, Run } from "../../BatchStoreDialect.ts"
import type { Counted, Counts } from "./counts.ts"
import type { Floors } from "./floors.ts"
import { bytesOf, never, numberOf, placeOf } from "./rows.ts"
import { among, leased, mostRows, putBack, ready, resting, tables } from "./schema.ts"

/** How many letters one statement looks at. */
const lookedAtOnce = 1000

/** How many bytes one statement moves or deletes, beside its last letter, and how many letters. */
const movedBytes = 4 * 1024 * 1024
const movedAtOnce = 500

const deadLetterOf = (row: any): DeadLetter => ({
  id: Number(row.seq),
  items: Number(row.items),
  reason: row.reason,
  error: row.error,
  deliveries: Number(row.deliveries),
  attempts: Number(row.attempts),
  oldestAtMillis: Number(row.oldest_ms),
  diedAtMillis: Number(row.died_ms)
})

const statsOf = (counted: Counted, row: any, now: number): Stats => {
  const heldUntil = Number(row.held)
  return {
    pending: { batches: counted.pendingBatches, items: counted.pendingItems },
    dead: { batches: counted.deadBatches, items: counted.deadItems },
    newer: { batches: counted.newerBatches, items: counted.newerItems },
    oldestAtMillis: numberOf(row.fresh_ms ?? row.returned_ms),
    heldUntilMillis: heldUntil > now ? heldUntil : undefined
  }
}

/** The letters that one step looks at. */
interface Slice {
  readonly which: "within" | "listed"
  readonly params: ReadonlyArray<unknown>
  /** The places of those that are listed, in order. */
  readonly places: ReadonlyArray<number>
  /** The place of the last of them, where there are more behind it. */
  readonly end: number | undefined
}

/** Those of a slice that are meant. */
interface Found extends Amount {
  /** How many would be, if there were no bound to how much is moved at once. */
  readonly meant: number
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
}

type Names = "countDead" | "counters" | "deadLetters" | "discard" | "inspect" | "redrive" | "stats"

const nothing: Portioned = { batches: 0, items: 0, last: undefined }

/** The places of a filter that has any, in order and once each, behind one of them. */
const placesAfter = (ids: ReadonlyArray<number>, after: number): ReadonlyArray<number> =>
  Array.from(new Set(ids)).filter((id) => Number.isSafeInteger(id) && id > after).sort((a, b) => a - b)

export const makeDeadLetters = (
  prefix: string,
  counts: Counts,
  floorsOf: (queueId: number) => Floors
): Pick<Operations, Names> => {
  const { batches, dead, places, queues } = tables(prefix)
  const columns = "seq, items, reason, error, deliveries, attempts, oldest_ms, died_ms"
  const meant = `($4::text IS NULL OR reason = $4::text) AND ($5::text IS NULL OR strpos(error, $5::text) > 0)
    AND died_ms <= $6::bigint`
  const held = "least(held_ms, held_ms - held_since_ms + $2::bigint) AS held"
  const fresh = (state: number, which: string) =>
    `(SELECT seq, oldest_ms FROM ${batches} WHERE queue_id = $1::integer AND state = ${state} ${which}
      ORDER BY seq LIMIT 1)`
  const returned = (state: number, from: string) =>
    `(SELECT seq, due_ms, oldest_ms FROM ${batches} WHERE queue_id = $1::integer AND state = ${state}
      AND version = 0 AND due_ms >= ${from} AND due_ms <= $2::bigint ORDER BY due_ms, seq LIMIT 1)`
  const sql = {
    // The last of as many as are looked at, if there are more.
    end: `SELECT seq FROM ${dead} WHERE queue_id = $1::integer AND seq > $2::bigint ORDER BY seq
      LIMIT 2 OFFSET ${lookedAtOnce - 1}`,
    more: `SELECT 1 FROM ${dead} WHERE queue_id = $1::integer AND seq > $2::bigint LIMIT 1`,
    inspect: `SELECT ${columns}, payload FROM ${dead} WHERE queue_id = $1::integer AND seq = $2::bigint`,
    counters: `SELECT ${held}, NULL AS fresh_ms, NULL AS returned_ms FROM ${queues} WHERE id = $1::integer`,
    stats: `SELECT ${held}, (SELECT last_value FROM ${places}) AS last_place, ready.seq AS ready_seq,
        leased.due_ms AS leased_ms, resting.due_ms AS resting_ms,
        CASE WHEN ready.seq < back.seq OR back.seq IS NULL THEN ready.oldest_ms ELSE back.oldest_ms END AS fresh_ms,
        CASE WHEN (leased.due_ms, leased.seq) < (resting.due_ms, resting.seq) OR resting.seq IS NULL
          THEN leased.oldest_ms ELSE resting.oldest_ms END AS returned_ms
      FROM ${queues}
      LEFT JOIN LATERAL ${fresh(ready, "AND seq >= $3::bigint")} AS ready ON true
      LEFT JOIN LATERAL ${fresh(putBack, "")} AS back ON true
      LEFT JOIN LATERAL ${returned(leased, "$4::bigint")} AS leased ON true
      LEFT JOIN LATERAL ${returned(resting, "$5::bigint")} AS resting ON true
      WHERE id = $1::integer`
  }
  const statementsOf = (where: string): Statements => {
    const those = `FROM ${dead} WHERE queue_id = $1::integer AND ${where} AND ${meant}`
    const gone = `WITH found AS (SELECT seq ${those} AND seq <= $7::bigint ORDER BY seq FOR UPDATE),
      gone AS (DELETE FROM ${dead} WHERE queue_id = $1::integer AND ${among("found")} RETURNING *)`
    const amount = "SELECT count(*) AS batches, coalesce(sum(items), 0) AS items FROM gone"
    return {
      list: `SELECT ${columns} ${those} ORDER BY seq LIMIT $7::bigint`,
      count: `SELECT count(*) AS batches, count(*) AS meant, coalesce(sum(items), 0) AS items, max(seq) AS last
        FROM (SELECT seq, items ${those} ORDER BY seq LIMIT $7::bigint) AS found`,
      // The first one fits always. How long a payload is costs nothing: it is not read.
      measure: `SELECT count(*) AS batches, max(meant) AS meant, coalesce(sum(items), 0) AS items, max(seq) AS last
        FROM (
          SELECT seq, items, count(*) OVER () AS meant,
            sum(bytes) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - bytes AS before
          FROM (SELECT seq, items, octet_length(payload) AS bytes ${those} ORDER BY seq LIMIT $7::bigint) AS found
        ) AS measured WHERE before < ${movedBytes}`,
      restore: `${gone}, restored AS (
          INSERT INTO ${batches} (queue_id, seq, state, token, items, oldest_ms, payload)
            SELECT queue_id, seq, ${putBack}, token, items, oldest_ms, payload FROM gone
        ),
        counted AS (${counts.counting("gone", { pending: 1, dead: -1 })}) ${amount}`,
      delete: `${gone}, counted AS (${counts.counting("gone", { dead: -1 })}) ${amount}`
    }
  }
  // As many parameters each, so that the others are the same.
  const statements = {
    within: statementsOf("seq > $2::bigint AND seq <= $3::bigint"),
    listed: statementsOf("seq = ANY ($2::bigint[]) AND seq > $3::bigint")
  }

  /** How much one step looks at: a number of ids, or otherwise of letters. */
  const slice = (connection: Connection, queueId: number, { after = 0, filter }: Portion): Run<Slice> => {
    const first = Math.max(0, Math.min(never, Math.floor(after)))
    if (filter.ids !== undefined) {
      const all = placesAfter(filter.ids, first)
      const places = all.slice(0, lookedAtOnce)
      const end = all.length > places.length ? places[places.length - 1] : undefined
      return Effect.succeed({ which: "listed", params: [places, first], places, end })
    }
    return Effect.map(connection.execute(sql.end, [queueId, first], undefined), (rows): Slice => {
      const end = rows.length < 2 ? undefined : Number(rows[0].seq)
      return { which: "within", params: [first, end ?? never], places: [], end }
    })
  }

  /** The id after which to continue, given how many were found in a slice and how many were asked for. */
  const after = (
    connection: Connection,
    queueId: number,
    { end, places, which }: Slice,
    isFull: boolean,
    last: number
  ): Run<number | undefined> => {
    if (!isFull) return Effect.succeed(end)
    if (which === "listed") {
      return Effect.succeed(end !== undefined || last < places[places.length - 1] ? last : undefined)
    }
    return Effect.map(
      connection.execute(sql.more, [queueId, last], undefined),
      (rows) => rows.length > 0 ? last : undefined
    )
  }

  const meantParams = ({ error, olderThanMillis, reason }: DeadLetterFilter, now: number): ReadonlyArray<unknown> => {
    const diedBefore = olderThanMillis === undefined ? never : Math.floor(now - olderThanMillis)
    return [reason ?? null, error ?? null, Math.max(-never, Math.min(never, diedBefore))]
  }

  const amountOf = (row: any): Amount => ({ batches: Number(row.batches), items: Number(row.items) })

  const portion = (
    connection: Connection,
    queueId: number,
    portion: Portion,
    now: number,
    change?: "restore" | "delete"
  ): Run<Portioned> =>
    Effect.gen(function*() {
      const limit = Math.max(0, Math.min(change === undefined ? mostRows : movedAtOnce, Math.floor(portion.limit)))
      if (limit === 0) return nothing
      const looked = yield* slice(connection, queueId, portion)
      const statement = statements[looked.which]
      const params = [queueId, ...looked.params, ...meantParams(portion.filter, now)]
      const look = change === undefined ? statement.count : statement.measure
      const [row] = yield* connection.execute(look, [...params, limit], undefined)
      const found: Found = { ...amountOf(row), meant: Number(row.meant), last: Number(row.last) }
      const isFull = found.batches >= limit || found.batches < found.meant
      const last = yield* after(connection, queueId, looked, isFull, found.last)
      if (change === undefined || found.batches === 0) return { batches: found.batches, items: found.items, last }
      // Somebody else may have been faster with some of them.
      const changed = connection.execute(statement[change], [...params, found.last], undefined)
      const [amount] = yield* counts.changed(connection, queueId, changed)
      return { ...amountOf(amount), last }
    })

  const stats = (connection: Connection, queueId: number, now: number, rows: Run<ReadonlyArray<any>>): Run<Stats> =>
    Effect.flatMap(
      counts.read(connection, queueId),
      (counted) => Effect.map(rows, ([row]) => statsOf(counted, row, now))
    )

  return {
    deadLetters: (connection, queueId, portion, now) =>
      Effect.gen(function*() {
        const limit = Math.max(0, Math.min(mostRows, Math.floor(portion.limit)))
        if (limit === 0) return { letters: [], last: undefined }
        const looked = yield* slice(connection, queueId, portion)
        const params = [queueId, ...looked.params, ...meantParams(portion.filter, now), limit]
        const rows = yield* connection.execute(statements[looked.which].list, params, undefined)
        return { letters: rows.map(deadLetterOf), last: rows.length >= limit ? undefined : looked.end }
      }),
    inspect: (connection, queueId, id) =>
      Effect.map(
        connection.execute(sql.inspect, [queueId, placeOf(id)], undefined),
        ([row]) =>
          row === undefined ? Option.none() : Option.some({ ...deadLetterOf(row), payload: bytesOf(row.payload) })
      ),
    redrive: (connection, queueId, which, now) => portion(connection, queueId, which, now, "restore"),
    discard: (connection, queueId, which, now) => portion(connection, queueId, which, now, "delete"),
    countDead: (connection, queueId, which, now) => portion(connection, queueId, which, now),
    counters: (connection, queueId, now) =>
      stats(connection, queueId, now, connection.execute(sql.counters, [queueId, now], undefined)),
    stats: (connection, queueId, now) => {
      const floors = floorsOf(queueId)
      const rows = floors.scanReady(now, (ready) =>
        floors.scanReturns(
          now,
          now,
          (leased, resting) => connection.execute(sql.stats, [queueId, now, ready, leased, resting], undefined)
        ))
      return stats(connection, queueId, now, rows)
    }
  }
}
