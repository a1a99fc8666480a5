/**
 * How batches are claimed in the store of SQLite, and what whoever has claimed them does with them.
 *
 * Each statement exists twice, for one batch and for many. A list in SQL makes a table of its own for each run, which
 * costs more than everything else that is done for one batch.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { Claim, ClaimedBatch, Failure } from "@sluice/core/BatchStore"
import { Macrotask } from "@sluice/core/Macrotask"
import * as Effect from "effect/Effect"
import type { Claims, Operations, Run } from "../BatchStoreDialect.ts"
import { mostRows, ready, span, spanBits, tables } from "./sqliteSchema.ts"

/** What a lease ends at that never ends: beyond, SQLite would keep a fraction, or the driver read another number. */
const never = Number.MAX_SAFE_INTEGER

/** When something is due: an integer, and never `ready`. */
const due = (millis: number): number => Math.max(ready + 1, Math.min(never, Math.ceil(millis)))

/** How many are put back by one statement, which nothing interrupts. */
const atOnce = 10_000

const pause = Effect.flatMap(
  Macrotask,
  (macrotask) => Effect.async<void>((resume) => macrotask(() => resume(Effect.void)))
)

const noClaims: ReadonlyArray<Claim> = []
const unknown: ReadonlyArray<unknown> = [null, null, null]

const failureParams = (failure: Failure | undefined): ReadonlyArray<unknown> =>
  failure === undefined ? unknown : [failure.attempts, Math.floor(failure.failedAtMillis), failure.error]

/**
 * A payload as plain bytes.
 * @internal
 */
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

const bySequence = (one: Claim, other: Claim): number => one.sequence - other.sequence

type Names = "claim" | "settle" | "extend" | "release" | "deadLetter" | "replace"

/** @internal */
export const makeClaims = (prefix: string): Pick<Operations, Names> => {
  const { batches, resting, dead } = tables(prefix)
  const isHeld = `due_ms > ${ready}`
  const one = `WHERE seq = ? AND token = ? AND ${isHeld}`
  const many = `WHERE seq IN (
    SELECT held.seq FROM json_each(?) AS given CROSS JOIN ${batches} AS held ON held.seq = given.value ->> 0
    WHERE held.token = given.value ->> 1 AND ${isHeld})`
  const held = (statement: string) => ({
    one: `${statement} ${one} RETURNING seq, token`,
    many: `${statement} ${many} RETURNING seq, token`
  })
  const noted = "attempts = coalesce(?, attempts), failed_ms = coalesce(?, failed_ms), error = coalesce(?, error)"
  const moved = (to: string, columns: string, values: string) =>
    held(`INSERT INTO ${to} (${columns}, deliveries, attempts, failed_ms, error, seq, token, items, oldest_ms, payload)
      SELECT ${values}, deliveries - ?, coalesce(?, attempts), coalesce(?, failed_ms), coalesce(?, error),
        seq, token, items, oldest_ms, payload FROM ${batches}`)
  const claim = (which: string) => `
    UPDATE ${batches} SET token = token + 1, deliveries = deliveries + 1, due_ms = ? WHERE seq ${which}
    RETURNING seq, token, items, oldest_ms, deliveries, attempts, failed_ms, error, payload`
  // Those of the queue, in order. Few that are leased are passed: what rests and what is dead is elsewhere.
  const oldest = `SELECT seq FROM ${batches} WHERE seq > ? AND seq < ? AND due_ms <= ? ORDER BY seq`
  const sql = {
    nextReturn: `SELECT min(due_ms) AS due FROM ${resting} WHERE seq >> ${spanBits} = ?`,
    nextExpiry: `SELECT min(due_ms) AS due FROM ${batches} WHERE seq > ? AND seq < ? AND due_ms > ?`,
    comeBack: `DELETE FROM ${resting} WHERE seq IN (
      SELECT seq FROM ${resting} WHERE seq >> ${spanBits} = ? AND due_ms <= ? LIMIT ${atOnce})`,
    claimOne: claim(`= (${oldest} LIMIT 1)`),
    claimMany: claim(`IN (${oldest} LIMIT ?)`),
    settle: held(`DELETE FROM ${batches}`),
    extend: held(`UPDATE ${batches} SET due_ms = ?, ${noted}`),
    release: held(`UPDATE ${batches} SET due_ms = ${ready}, deliveries = deliveries - ?, ${noted}`),
    releaseForLater: moved(resting, "due_ms", "?"),
    deadLetter: moved(dead, "died_ms, reason", "?, ?"),
    check: {
      one: `SELECT seq, token FROM ${batches} ${one}`,
      many: `SELECT seq, token FROM ${batches} ${many}`
    },
    replace: `UPDATE ${batches} SET items = ?, oldest_ms = ?, payload = ? WHERE seq = ?`
  }

  /** Does something with those that are held, and answers the others. */
  const forHeld = (
    connection: Connection,
    statement: { readonly one: string; readonly many: string },
    params: ReadonlyArray<unknown>,
    queueId: number,
    claims: Claims
  ): Run<ReadonlyArray<Claim>> => {
    const [{ sequence, token }] = claims
    const rows = claims.length === 1
      ? connection.execute(statement.one, [...params, keyOf(queueId, sequence), token], undefined)
      : connection.execute(
        statement.many,
        [...params, JSON.stringify(claims.map(({ sequence, token }) => [keyOf(queueId, sequence), token]))],
        undefined
      )
    return Effect.map(rows, (found) => {
      if (found.length === claims.length) return noClaims
      const tokens = new Map<number, number>(found.map(({ seq, token }) => [seq % span, token]))
      return claims.filter(({ sequence, token }) => tokens.get(sequence) !== token)
    })
  }

  /** When the next comes back from its rest, after everything has that is due by now. */
  const nextReturn = (connection: Connection, queueId: number, now: number): Run<number | undefined> => {
    const look = Effect.map(
      connection.execute(sql.nextReturn, [queueId], undefined),
      ([row]): number | undefined => row.due ?? undefined
    )
    const comeBack = connection.execute(sql.comeBack, [queueId, now], undefined)
    const allComeBack = (next: number | undefined): Run<number | undefined> =>
      next === undefined || next > now
        ? Effect.succeed(next)
        // Very many may have become due at once, while nobody was there.
        : Effect.zipRight(
          comeBack,
          Effect.flatMap(
            look,
            (next) =>
              next === undefined || next > now ? Effect.succeed(next) : Effect.zipRight(pause, allComeBack(next))
          )
        )
    return Effect.flatMap(look, allComeBack)
  }

  /** The oldest that can be claimed. RETURNING has no order. */
  const take = (
    connection: Connection,
    queueId: number,
    limit: number,
    until: number,
    now: number
  ): Run<ReadonlyArray<ClaimedBatch>> => {
    const params = [until, queueId * span, (queueId + 1) * span, now]
    return limit === 1
      ? Effect.map(connection.execute(sql.claimOne, params, undefined), (rows) => rows.map(claimedOf))
      : Effect.map(
        connection.execute(sql.claimMany, [...params, limit], undefined),
        (rows) => rows.map(claimedOf).sort(bySequence)
      )
  }

  return {
    claim: (connection, queueId, options, now) => {
      const limit = Math.max(0, Math.min(mostRows, Math.floor(options.limit)))
      const until = due(options.leaseUntil)
      return Effect.flatMap(
        nextReturn(connection, queueId, now),
        (next) =>
          Effect.flatMap(take(connection, queueId, limit, until, now), (batches) => {
            if (batches.length >= limit) return Effect.succeed({ batches, nextAtMillis: undefined })
            // Nothing is left here but leases, those that begin now among them.
            const params = [queueId * span, (queueId + 1) * span, now]
            return Effect.map(connection.execute(sql.nextExpiry, params, undefined), ([row]) => {
              const nextAt = Math.min(next ?? Infinity, row.due ?? Infinity)
              return { batches, nextAtMillis: nextAt < Infinity ? nextAt : undefined }
            })
          })
      )
    },
    settle: (connection, queueId, claims) => forHeld(connection, sql.settle, [], queueId, claims),
    extend: (connection, queueId, claims, { failure, leaseUntil }) =>
      forHeld(connection, sql.extend, [due(leaseUntil), ...failureParams(failure)], queueId, claims),
    release: (connection, queueId, claims, { failure, giveBack, readyAt }) => {
      const noted = [giveBack ? 1 : 0, ...failureParams(failure)]
      return readyAt === undefined
        ? forHeld(connection, sql.release, noted, queueId, claims)
        : forHeld(connection, sql.releaseForLater, [due(readyAt), ...noted], queueId, claims)
    },
    deadLetter: (connection, queueId, claims, { diedAt, failure, reason }) =>
      forHeld(connection, sql.deadLetter, [diedAt, reason, 0, ...failureParams(failure)], queueId, claims),
    replace: (connection, queueId, claims, { items, oldestAtMillis, payload }) =>
      Effect.flatMap(forHeld(connection, sql.check, [], queueId, claims), (lost) => {
        if (lost.length > 0) return Effect.succeed(lost)
        const [oldest, second, ...others] = [...claims].sort(bySequence)
        const deleted = second === undefined
          ? Effect.void
          : forHeld(connection, sql.settle, [], queueId, [second, ...others])
        const params = [items, Math.floor(oldestAtMillis), payload, keyOf(queueId, oldest.sequence)]
        return deleted.pipe(
          Effect.zipRight(connection.execute(sql.replace, params, undefined)),
          Effect.as(noClaims)
        )
      })
  }
}

/** No batch has the key that is answered for a place that there is not. */
const keyOf = (queueId: number, sequence: number): number =>
  Number.isSafeInteger(sequence) && sequence > 0 && sequence < span ? queueId * span + sequence : -1
