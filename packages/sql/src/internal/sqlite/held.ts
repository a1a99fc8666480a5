/**
 * The operations on claimed batches in the store of SQLite.
 *
 * Fresh batches are leased in the first table, returned ones in the second. A settlement looks in the first table, and
 * in the second only for batches that are not in the first.
 *
 * Each statement exists twice, for one batch and for many. A list in SQL creates a temporary table for each run, which
 * costs more than all other work for one batch.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { Claim, Failure, Part, ReleaseOptions } from "@sluice/core/BatchStore"
import * as Effect from "effect/Effect"
import type { Claims, HeldOperations, Run } from "../../BatchStoreDialect.ts"
import type { Damage } from "../store/damage.ts"
import { due } from "./claims.ts"
import { isWhole, orStuck, walkOf } from "./damage.ts"
import { gone, putBack, ready, span, tables } from "./schema.ts"

const noClaims: ReadonlyArray<Claim> = []
const noRows: ReadonlyArray<any> = []
const unknown: ReadonlyArray<unknown> = [null, null, null]

const failureParams = (failure: Failure | undefined): ReadonlyArray<unknown> =>
  failure === undefined ? unknown : [failure.attempts, Math.floor(failure.failedAtMillis), failure.error]

const isSome = (claims: ReadonlyArray<Claim>): claims is Claims => claims.length > 0

/** A statement for one claim, and the same for many. */
interface Statement {
  readonly one: string
  readonly many: string
}

/** What is done with those that are leased in one of the tables. Answers a row for each, with `seq` and `token`. */
type Step = (claims: Claims) => Run<ReadonlyArray<any>>

/** No batch has the key that is answered for a place that there is not. */
const keyOf = (queueId: number, sequence: number): number =>
  Number.isSafeInteger(sequence) && sequence > 0 && sequence < span ? queueId * span + sequence : -1

/** What a batch becomes that is put back. */
const releasedOf = ({ delayMillis = 0, failure, giveBack = false, version }: ReleaseOptions, now: number) => ({
  isFresh: version === undefined && failure === undefined && !(delayMillis > 0),
  dueAt: due(now + Math.max(0, delayMillis)),
  version: version === undefined ? 0 : Math.max(1, Math.floor(version)),
  failure,
  giveBack: giveBack ? 1 : 0
})

/** In a damaged file each batch is a case of its own, and what cannot be deleted is only marked as gone. */
export const makeHeld = (prefix: string, damage?: Damage): HeldOperations => {
  const { batches, dead, queues, resting } = tables(prefix)
  const walk = walkOf(batches, "seq")
  const isLeased = { [batches]: `due_ms > ${putBack} AND due_ms <> ${gone}`, [resting]: "leased = 1" }
  const held = (table: string, statement: string, answer = "seq, token"): Statement => {
    const returning = answer === "" ? "" : `RETURNING ${answer}`
    return {
      one: `${statement} WHERE seq = ? AND token = ? AND ${isLeased[table]} ${returning}`,
      many: `${statement} WHERE seq IN (
        SELECT held.seq FROM json_each(?) AS given CROSS JOIN ${table} AS held ON held.seq = given.value ->> 0
        WHERE held.token = given.value ->> 1 AND ${isLeased[table]}) ${returning}`
    }
  }
  const noted = "attempts = coalesce(?, attempts), failed_ms = coalesce(?, failed_ms), error = coalesce(?, error)"
  const moved = (from: string, to: string, columns: string) =>
    held(
      from,
      `INSERT INTO ${to} (${columns}, deliveries, attempts, failed_ms, error, seq, token, items, oldest_ms, payload)
        SELECT ${columns.replace(/\w+/g, "?")}, deliveries - ?, coalesce(?, attempts), coalesce(?, failed_ms),
          coalesce(?, error), seq, token, items, oldest_ms, payload FROM ${from}`,
      "seq, token, items"
    )
  const both = (make: (table: string) => Statement) => ({ batches: make(batches), resting: make(resting) })
  const inserted = (table: string, columns: string) =>
    `INSERT INTO ${table} (${columns}, seq, deliveries, attempts, failed_ms, error, items, oldest_ms, payload)
      VALUES (${columns.replace(/\w+/g, "?")}, ?, ?, ?, ?, ?, ?, ?, ?)`
  const content = "deliveries, attempts, failed_ms, error"
  const sql = {
    settle: both((table) => held(table, `DELETE FROM ${table}`)),
    // As long as before: the row stays where it is.
    mark: {
      batches: held(batches, `UPDATE ${batches} SET due_ms = ${gone}`, "seq, token, items"),
      resting: held(resting, `UPDATE ${resting} SET due_ms = ${gone}, leased = 0`, "seq, token, items")
    },
    extend: both((table) => held(table, `UPDATE ${table} SET due_ms = ?, since_ms = ?, ${noted}`)),
    refresh: held(
      batches,
      `UPDATE ${batches} SET due_ms = ${putBack}, since_ms = ${ready}, deliveries = deliveries - ?, ${noted}`
    ),
    rest: moved(batches, resting, "due_ms, since_ms, version, leased"),
    restAgain: held(
      resting,
      `UPDATE ${resting} SET due_ms = ?, since_ms = ?, version = ?, leased = ?, deliveries = deliveries - ?, ${noted}`
    ),
    freshAgain: moved(resting, batches, "due_ms"),
    bury: both((table) => moved(table, dead, "died_ms, reason")),
    look: both((table) => held(table, `SELECT seq, token, ${content} FROM ${table}`, "")),
    replace: both((table) => held(table, `UPDATE ${table} SET items = ?, oldest_ms = ?, payload = ?, ${noted}`)),
    // Who asks again, because the answer was lost, must not divide what has been divided.
    keep: both((table) =>
      held(
        table,
        `UPDATE ${table} SET token = token + 1, items = ?, oldest_ms = ?, payload = ?, ${noted}`,
        "seq, token - 1 AS token"
      )
    ),
    places: `UPDATE ${queues} SET next_place = next_place + ? WHERE id = ? RETURNING next_place`,
    pending: `UPDATE ${queues} SET pending_batches = pending_batches + ?, pending_items = pending_items + ?
      WHERE id = ?`,
    insertFresh: inserted(batches, "due_ms"),
    insertResting: inserted(resting, "due_ms, since_ms, version, leased"),
    insertDead: inserted(dead, "died_ms, reason"),
    forgive: [batches, resting, dead].map((table) =>
      `UPDATE ${table} SET deliveries = max(0, deliveries - given.count) FROM (
        SELECT held.seq, count(*) AS count FROM json_each(?) AS claims
        CROSS JOIN ${table} AS held ON held.seq = claims.value ->> 0 AND held.token > claims.value ->> 1
        GROUP BY held.seq
      ) AS given WHERE ${table}.seq = given.seq AND deliveries > 0`
    )
  }

  const keysOf = (queueId: number, claims: ReadonlyArray<Claim>): string =>
    JSON.stringify(claims.map(({ sequence, token }) => [keyOf(queueId, sequence), token]))

  const run = (
    connection: Connection,
    queueId: number,
    statement: Statement,
    params: ReadonlyArray<unknown>,
    claims: Claims
  ): Run<ReadonlyArray<any>> => {
    const [{ sequence, token }] = claims
    return claims.length === 1
      ? connection.execute(statement.one, [...params, keyOf(queueId, sequence), token], undefined)
      : connection.execute(statement.many, [...params, keysOf(queueId, claims)], undefined)
  }

  /** Does something with those that are held, in one table and then in the other, and answers the others. */
  const forHeld = (
    connection: Connection,
    queueId: number,
    claims: Claims,
    inBatches: Step,
    inResting: Step
  ): Run<ReadonlyArray<Claim>> =>
    damage !== undefined
      ? Effect.filter(claims, (claim) => isLost(connection, queueId, claim, inBatches, inResting, damage))
      : Effect.flatMap(inBatches(claims), (found) => {
        const left = without(claims, found)
        return isSome(left) ? Effect.map(inResting(left), (found) => without(left, found)) : Effect.succeed(noClaims)
      })

  /** What has come back is not in the first table, also where that is broken at its place. */
  const isLost = (
    connection: Connection,
    queueId: number,
    claim: Claim,
    inBatches: Step,
    inResting: Step,
    damage: Damage
  ): Run<boolean> =>
    Effect.gen(function*() {
      const key = keyOf(queueId, claim.sequence)
      const isBroken = damage.has("batches", claim.sequence)
      if (!isBroken && (yield* isWhole(connection, walk, key, damage, "batches"))) {
        const found = yield* inBatches([claim])
        if (found.length > 0) return false
      }
      return (yield* inResting([claim])).length === 0
    })

  const forBoth = (
    connection: Connection,
    queueId: number,
    claims: Claims,
    statement: { readonly batches: Statement; readonly resting: Statement },
    params: ReadonlyArray<unknown>
  ): Run<ReadonlyArray<Claim>> =>
    forHeld(
      connection,
      queueId,
      claims,
      (claims) => run(connection, queueId, statement.batches, params, claims),
      (claims) => run(connection, queueId, statement.resting, params, claims)
    )

  /** Deletes what is held in one of the tables. */
  const remove = (connection: Connection, queueId: number, table: "batches" | "resting") => (claims: Claims) => {
    const [{ sequence }] = claims
    if (damage?.isStuck(table, sequence)) {
      return Effect.tap(
        run(connection, queueId, sql.mark[table], [], claims),
        (found) => count(connection, queueId, found, -1)
      )
    }
    const removed = run(connection, queueId, sql.settle[table], [], claims)
    return damage === undefined ? removed : orStuck(removed, damage, table, sequence)
  }

  /** Puts what is held into another table. It is there before it is deleted, for those who watch. */
  const move = (
    connection: Connection,
    queueId: number,
    from: "batches" | "resting",
    statement: Statement,
    params: ReadonlyArray<unknown>,
    claims: Claims
  ): Run<ReadonlyArray<any>> =>
    Effect.flatMap(run(connection, queueId, statement, params, claims), (found) =>
      found.length === 0
        ? Effect.succeed(noRows)
        : Effect.as(remove(connection, queueId, from)(claims), found))

  const settle: HeldOperations["settle"] = (connection, queueId, claims) =>
    forHeld(connection, queueId, claims, remove(connection, queueId, "batches"), remove(connection, queueId, "resting"))

  const count = (
    connection: Connection,
    queueId: number,
    rows: ReadonlyArray<{ readonly items: number }>,
    sign: 1 | -1 = 1
  ) =>
    connection.execute(
      sql.pending,
      [sign * rows.length, rows.reduce((sum, { items }) => sum + sign * items, 0), queueId],
      undefined
    )

  const release: HeldOperations["release"] = (connection, queueId, claims, options, now) => {
    const { dueAt, failure, giveBack, isFresh, version } = releasedOf(options, now)
    const noted = [giveBack, ...failureParams(failure)]
    const rest = [dueAt, now, version, 0, ...noted]
    return isFresh
      ? forHeld(
        connection,
        queueId,
        claims,
        (claims) => run(connection, queueId, sql.refresh, noted, claims),
        (claims) =>
          damage !== undefined
            // Its old place may be broken, or taken by what could not be deleted: it comes back, as it did before.
            ? run(connection, queueId, sql.restAgain, rest, claims)
            : Effect.tap(
              move(connection, queueId, "resting", sql.freshAgain, [putBack, ...noted], claims),
              (found) => count(connection, queueId, found)
            )
      )
      : forHeld(
        connection,
        queueId,
        claims,
        (claims) => move(connection, queueId, "batches", sql.rest, rest, claims),
        (claims) => run(connection, queueId, sql.restAgain, rest, claims)
      )
  }

  const deadLetter: HeldOperations["deadLetter"] = (connection, queueId, claims, { failure, reason }, now) => {
    const params = [now, reason, 0, ...failureParams(failure)]
    return forHeld(
      connection,
      queueId,
      claims,
      (claims) => move(connection, queueId, "batches", sql.bury.batches, params, claims),
      (claims) => move(connection, queueId, "resting", sql.bury.resting, params, claims)
    )
  }

  /** What is remembered of the oldest, and whether all are held. */
  const lookAll = (connection: Connection, queueId: number, claims: Claims) => {
    const rows: Array<any> = []
    const noteRows = (found: ReadonlyArray<any>) => void rows.push(...found)
    const step = (statement: Statement): Step => (claims) =>
      Effect.tap(run(connection, queueId, statement, [], claims), (found) => noteRows(found))
    return Effect.map(forHeld(connection, queueId, claims, step(sql.look.batches), step(sql.look.resting)), (lost) => ({
      lost,
      oldest: rows.reduce((one, other) => one === undefined || other.seq < one.seq ? other : one, undefined)
    }))
  }

  /** A part at a new place. */
  const insert = (connection: Connection, oldest: any, part: Part, seq: number, now: number) => {
    const { becomes, items, oldestAtMillis, payload } = part
    const row = (deliveries: number, failure: Failure | undefined) => [
      seq,
      deliveries,
      ...(failure === undefined ? [oldest.attempts, oldest.failed_ms, oldest.error] : failureParams(failure)),
      items,
      Math.floor(oldestAtMillis),
      payload
    ]
    const execute = (statement: string, params: ReadonlyArray<unknown>) =>
      connection.execute(statement, params, undefined)
    if (becomes._tag === "Dead") {
      return execute(sql.insertDead, [now, becomes.reason, ...row(oldest.deliveries, becomes.failure)])
    }
    const { dueAt, failure, giveBack, isFresh, version } = releasedOf(
      becomes._tag === "Kept" ? { failure: becomes.failure } : becomes,
      now
    )
    const rest = row(oldest.deliveries - giveBack, failure)
    return isFresh
      ? Effect.zipRight(execute(sql.insertFresh, [ready, ...rest]), count(connection, Math.floor(seq / span), [part]))
      : execute(sql.insertResting, [dueAt, now, version, 0, ...rest])
  }

  /** The part that takes the place of the oldest batch. */
  const putFirst = (connection: Connection, queueId: number, claim: Claim, part: Part, now: number) => {
    const { becomes, items, oldestAtMillis, payload } = part
    const failure = becomes._tag === "Kept" ? becomes.failure : undefined
    const params = [items, Math.floor(oldestAtMillis), payload, ...failureParams(failure)]
    const replaced = forBoth(connection, queueId, [claim], sql.replace, params)
    switch (becomes._tag) {
      case "Kept":
        return forBoth(connection, queueId, [claim], sql.keep, params)
      case "Released":
        return Effect.zipRight(replaced, release(connection, queueId, [claim], becomes, now))
      case "Dead":
        return Effect.zipRight(replaced, deadLetter(connection, queueId, [claim], becomes, now))
    }
  }

  const divide: HeldOperations["divide"] = (connection, queueId, claims, parts, now) =>
    Effect.gen(function*() {
      const { lost, oldest } = yield* lookAll(connection, queueId, claims)
      if (lost.length > 0) return { lost, parts: noClaims }
      const oldestClaim: Claim = { sequence: oldest.seq % span, token: oldest.token }
      const kept = parts.findIndex(({ becomes }) => becomes._tag === "Kept")
      const first = Math.max(0, kept)
      const gone = parts.length === 0 ? claims : claims.filter(({ sequence }) => sequence !== oldestClaim.sequence)
      if (isSome(gone)) yield* settle(connection, queueId, gone)
      if (parts.length === 0) return { lost, parts: noClaims }
      yield* putFirst(connection, queueId, oldestClaim, parts[first], now)
      const firstClaim = kept < 0 ? oldestClaim : { ...oldestClaim, token: oldestClaim.token + 1 }
      if (parts.length === 1) return { lost, parts: [firstClaim] }
      const [{ next_place }] = yield* connection.execute(sql.places, [parts.length - 1, queueId], undefined)
      let place: number = next_place - parts.length + 1
      const placed: Array<Claim> = []
      for (const [index, part] of parts.entries()) {
        if (index === first) placed.push(firstClaim)
        else {
          yield* insert(connection, oldest, part, queueId * span + place, now)
          placed.push({ sequence: place++, token: 0 })
        }
      }
      return { lost, parts: placed }
    })

  return {
    settle,
    release,
    deadLetter,
    divide,
    extend: (connection, queueId, claims, { failure, leaseMillis }, now) =>
      forBoth(connection, queueId, claims, sql.extend, [due(now + leaseMillis), now, ...failureParams(failure)]),
    forgive: (connection, queueId, claims) => {
      const keys = [keysOf(queueId, claims)]
      return Effect.forEach(sql.forgive, (statement) => connection.execute(statement, keys, undefined), {
        discard: true
      })
    }
  }
}

/** Those that no row was answered for. */
const without = (claims: Claims, found: ReadonlyArray<any>): ReadonlyArray<Claim> => {
  if (found.length === claims.length) return noClaims
  const tokens = new Map<number, number>(found.map(({ seq, token }) => [seq % span, token]))
  return claims.filter(({ sequence, token }) => tokens.get(sequence) !== token)
}
