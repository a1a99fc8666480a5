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
import { ready, tables } from "./sqliteSchema.ts"

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

const mostBatches = 2 ** 31 - 1

const noClaims: ReadonlyArray<Claim> = []
const unknown: ReadonlyArray<unknown> = [null, null, null]

const failureParams = (failure: Failure | undefined): ReadonlyArray<unknown> =>
  failure === undefined ? unknown : [failure.attempts, Math.floor(failure.failedAtMillis), failure.error]

/**
 * A payload as bytes of nobody else. One that is missing, because somebody has deleted its row, is empty: whoever
 * decodes it says so, and the others flow.
 *
 * @internal
 */
export const bytesOf = (payload: Uint8Array | null): Uint8Array =>
  payload === null ? new Uint8Array(0) : new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength)

const claimedOf = (row: any): ClaimedBatch => ({
  sequence: row.seq,
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
  const { batches, payloads } = tables(prefix)
  const one = "WHERE seq = ? AND token = ? AND queue_id = ? AND state = 1"
  const many = `WHERE seq IN (
    SELECT held.seq FROM json_each(?) AS given CROSS JOIN ${batches} AS held ON held.seq = given.value ->> 0
    WHERE held.token = given.value ->> 1 AND held.queue_id = ? AND held.state = 1)`
  const held = (statement: string) => ({
    one: `${statement} ${one} RETURNING seq, token`,
    many: `${statement} ${many} RETURNING seq, token`
  })
  const noted = "attempts = coalesce(?, attempts), failed_ms = coalesce(?, failed_ms), error = coalesce(?, error)"
  const claim = (which: string) => `
    UPDATE ${batches} SET state = 1, token = token + 1, deliveries = deliveries + 1, due_ms = ? WHERE seq ${which}
    RETURNING seq, token, items, oldest_ms, deliveries, attempts, failed_ms, error,
      (SELECT payload FROM ${payloads} WHERE ${payloads}.seq = ${batches}.seq) AS payload`
  const oldest = `SELECT seq FROM ${batches} WHERE queue_id = ? AND state < 2 AND due_ms = ${ready} ORDER BY seq`
  const sql = {
    nextDue: `SELECT min(due_ms) AS due FROM ${batches} WHERE queue_id = ? AND state < 2 AND due_ms > ${ready}`,
    promote: `UPDATE ${batches} SET due_ms = ${ready} WHERE seq IN (
      SELECT seq FROM ${batches} WHERE queue_id = ? AND state < 2 AND due_ms > ${ready} AND due_ms <= ? LIMIT ${atOnce})`,
    claimOne: claim(`= (${oldest} LIMIT 1)`),
    claimMany: claim(`IN (${oldest} LIMIT ?)`),
    settle: held(`DELETE FROM ${batches}`),
    extend: held(`UPDATE ${batches} SET due_ms = ?, ${noted}`),
    release: held(`UPDATE ${batches} SET state = 0, due_ms = ?, deliveries = deliveries - ?, ${noted}`),
    deadLetter: held(`UPDATE ${batches} SET state = 2, due_ms = ${ready}, died_ms = ?, reason = ?, ${noted}`),
    check: {
      one: `SELECT seq, token FROM ${batches} ${one}`,
      many: `SELECT seq, token FROM ${batches} ${many}`
    },
    replaceBatch: `UPDATE ${batches} SET items = ?, oldest_ms = ? WHERE seq = ?`,
    replacePayload: `INSERT INTO ${payloads} (payload, seq) VALUES (?, ?)
      ON CONFLICT DO UPDATE SET payload = excluded.payload`
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
      ? connection.execute(statement.one, [...params, sequence, token, queueId], undefined)
      : connection.execute(
        statement.many,
        [...params, JSON.stringify(claims.map(({ sequence, token }) => [sequence, token])), queueId],
        undefined
      )
    return Effect.map(rows, (found) => {
      if (found.length === claims.length) return noClaims
      const tokens = new Map<number, number>(found.map(({ seq, token }) => [seq, token]))
      return claims.filter(({ sequence, token }) => tokens.get(sequence) !== token)
    })
  }

  /** When the next is due, after everything that is due by now has been put back. */
  const nextDue = (connection: Connection, queueId: number, now: number): Run<number | undefined> => {
    const look = Effect.map(
      connection.execute(sql.nextDue, [queueId], undefined),
      ([row]): number | undefined => row.due ?? undefined
    )
    const putBack = connection.execute(sql.promote, [queueId, now], undefined)
    const putBackAll = (next: number | undefined): Run<number | undefined> =>
      next === undefined || next > now
        ? Effect.succeed(next)
        // Very many may have become due at once, while nobody was there.
        : Effect.zipRight(
          putBack,
          Effect.flatMap(
            look,
            (next) => next === undefined || next > now ? Effect.succeed(next) : Effect.zipRight(pause, putBackAll(next))
          )
        )
    return Effect.flatMap(look, putBackAll)
  }

  /** The oldest that can be claimed. RETURNING has no order. */
  const take = (
    connection: Connection,
    queueId: number,
    limit: number,
    until: number
  ): Run<ReadonlyArray<ClaimedBatch>> =>
    limit === 1
      ? Effect.map(connection.execute(sql.claimOne, [until, queueId], undefined), (rows) => rows.map(claimedOf))
      : Effect.map(
        connection.execute(sql.claimMany, [until, queueId, limit], undefined),
        (rows) => rows.map(claimedOf).sort(bySequence)
      )

  return {
    claim: (connection, queueId, options, now) => {
      const limit = Math.max(0, Math.min(mostBatches, Math.floor(options.limit)))
      const until = due(options.leaseUntil)
      return Effect.flatMap(
        nextDue(connection, queueId, now),
        (next) =>
          Effect.map(take(connection, queueId, limit, until), (batches) => {
            // The leases that begin now end at some time as well.
            const nextAt = Math.min(next ?? Infinity, batches.length > 0 ? until : Infinity)
            return { batches, nextAtMillis: batches.length < limit && nextAt < Infinity ? nextAt : undefined }
          })
      )
    },
    settle: (connection, queueId, claims) => forHeld(connection, sql.settle, [], queueId, claims),
    extend: (connection, queueId, claims, { failure, leaseUntil }) =>
      forHeld(connection, sql.extend, [due(leaseUntil), ...failureParams(failure)], queueId, claims),
    release: (connection, queueId, claims, { failure, giveBack, readyAt }) => {
      const from = readyAt === undefined ? ready : due(readyAt)
      return forHeld(connection, sql.release, [from, giveBack ? 1 : 0, ...failureParams(failure)], queueId, claims)
    },
    deadLetter: (connection, queueId, claims, { diedAt, failure, reason }) =>
      forHeld(connection, sql.deadLetter, [diedAt, reason, ...failureParams(failure)], queueId, claims),
    replace: (connection, queueId, claims, { items, oldestAtMillis, payload }) =>
      Effect.flatMap(forHeld(connection, sql.check, [], queueId, claims), (lost) => {
        if (lost.length > 0) return Effect.succeed(lost)
        const [oldest, second, ...others] = [...claims].sort(bySequence)
        const deleted = second === undefined
          ? Effect.void
          : forHeld(connection, sql.settle, [], queueId, [second, ...others])
        return deleted.pipe(
          Effect.zipRight(
            connection.execute(sql.replaceBatch, [items, Math.floor(oldestAtMillis), oldest.sequence], undefined)
          ),
          Effect.zipRight(connection.execute(sql.replacePayload, [payload, oldest.sequence], undefined)),
          Effect.as(noClaims)
        )
      })
  }
}
