/**
 * Divides claimed batches in the store of PostgreSQL.
 *
 * The batches are locked by the first statement. What the others do depends on what that finds, and holds because the
 * transaction ends after all of them.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { Claim, Failure, Part } from "@sluice/core/BatchStore"
import * as Effect from "effect/Effect"
import type { Claims, HeldOperations, Run } from "../../BatchStoreDialect.ts"
import type { Counts } from "./counts.ts"
import type { Floors } from "./floors.ts"
import { heldIn, noted, releasedOf, without } from "./held.ts"
import { batchParams, claimParams, failureParams } from "./rows.ts"
import { ready, resting, tables } from "./schema.ts"

const noClaims: ReadonlyArray<Claim> = []

const isSome = (claims: ReadonlyArray<Claim>): claims is Claims => claims.length > 0

/** The batch that the parts take the place of. */
interface Oldest extends Claim {
  readonly items: number
  readonly deliveries: number
  readonly failure: Failure
}

const oldestOf = (row: any): Oldest => ({
  sequence: Number(row.seq),
  token: Number(row.token),
  items: Number(row.items),
  deliveries: Number(row.deliveries),
  failure: { attempts: Number(row.attempts), failedAtMillis: Number(row.failed_ms), error: row.error }
})

/** A part that gets a new place. */
interface Placed {
  readonly part: Part
  readonly place: number
}

/** The failures of parts as three arrays. */
const failuresOf = (failures: ReadonlyArray<Failure>): ReadonlyArray<unknown> => [
  failures.map(({ attempts }) => attempts),
  failures.map(({ failedAtMillis }) => Math.floor(failedAtMillis)),
  failures.map(({ error }) => error)
]

const isDead = ({ part }: Placed): boolean => part.becomes._tag === "Dead"

export const makeDivide = (
  prefix: string,
  counts: Counts,
  floorsOf: (queueId: number) => Floors,
  held: Omit<HeldOperations, "divide">
): HeldOperations["divide"] => {
  const { batches, dead, places } = tables(prefix)
  const payload = "substring($6::bytea FROM start FOR length)"
  const given = "$2::bigint[], $3::bigint[], $4::integer[], $5::integer[], $7::bigint[]"
  const parts = "items, oldest_ms, start, length, seq"
  const sql = {
    look: heldIn(batches, "seq, token, items, deliveries, attempts, failed_ms, error"),
    replace: `WITH replaced AS (
        UPDATE ${batches} SET token = token + $4::bigint, items = $5::bigint, oldest_ms = $6::bigint,
          payload = $7::bytea, ${noted(8)}
        WHERE queue_id = $1::integer AND seq = $2::bigint AND token = $3::bigint
      )
      ${counts.countGiven(11)}`,
    places: `SELECT nextval('${places}') AS seq FROM generate_series(1, $1::integer)`,
    add: `WITH added AS (
        INSERT INTO ${batches} (queue_id, seq, items, oldest_ms, payload, state, due_ms, since_ms, version, deliveries,
            attempts, failed_ms, error)
          SELECT $1::integer, seq, items, oldest_ms, ${payload}, state, due_ms, $15::bigint, version, deliveries,
            attempts, failed_ms, error
          FROM unnest(${given}, $8::smallint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[],
            $13::bigint[], $14::text[])
            AS given (${parts}, state, due_ms, version, deliveries, attempts, failed_ms, error)
          RETURNING items, version
      ),
      newer AS (${counts.counting("added WHERE version > 0", { newer: 1 })})
      ${counts.counting("added", { pending: 1 })}`,
    addDead: `WITH added AS (
        INSERT INTO ${dead} (queue_id, seq, items, oldest_ms, payload, deliveries, attempts, failed_ms, error, reason,
            died_ms)
          SELECT $1::integer, seq, items, oldest_ms, ${payload}, $8::bigint, attempts, failed_ms, error, reason,
            $13::bigint
          FROM unnest(${given}, $9::bigint[], $10::bigint[], $11::text[], $12::text[])
            AS given (${parts}, attempts, failed_ms, error, reason)
          RETURNING items
      )
      ${counts.counting("added", { dead: 1 })}`
  }

  /** The part that takes the place of the oldest batch. */
  const putFirst = (connection: Connection, queueId: number, oldest: Oldest, part: Part, now: number): Run<unknown> => {
    const { becomes, items, oldestAtMillis, payload } = part
    const { sequence, token } = oldest
    const isKept = becomes._tag === "Kept"
    const replaced = connection.execute(sql.replace, [
      queueId,
      sequence,
      token,
      // Who asks again, because the answer was lost, must not divide what has been divided.
      isKept ? 1 : 0,
      items,
      Math.floor(oldestAtMillis),
      payload,
      ...failureParams(isKept ? becomes.failure : undefined),
      0,
      items - oldest.items
    ], undefined)
    switch (becomes._tag) {
      case "Kept":
        return replaced
      case "Released":
        return Effect.zipRight(replaced, held.release(connection, queueId, [oldest], becomes, now))
      case "Dead":
        return Effect.zipRight(replaced, held.deadLetter(connection, queueId, [oldest], becomes, now))
    }
  }

  const add = (
    connection: Connection,
    queueId: number,
    { deliveries, failure }: Oldest,
    placed: ReadonlyArray<Placed>,
    now: number
  ): Run<unknown> => {
    if (placed.length === 0) return Effect.void
    const released = placed.map(({ part: { becomes } }) =>
      releasedOf(becomes._tag === "Released" ? becomes : { failure }, now)
    )
    for (const { dueAt } of released) floorsOf(queueId).resting.lower(dueAt)
    return connection.execute(sql.add, [
      queueId,
      ...batchParams(placed.map(({ part }) => part)),
      placed.map(({ place }) => place),
      released.map(({ isFresh }) => isFresh ? ready : resting),
      released.map(({ dueAt }) => dueAt),
      released.map(({ version }) => version),
      released.map(({ giveBack }) => deliveries - giveBack),
      ...failuresOf(released.map((one) => one.failure ?? failure)),
      now
    ], undefined)
  }

  const addDead = (
    connection: Connection,
    queueId: number,
    { deliveries, failure }: Oldest,
    placed: ReadonlyArray<Placed>,
    now: number
  ): Run<unknown> => {
    if (placed.length === 0) return Effect.void
    const letters = placed.map(({ part: { becomes } }) => becomes._tag === "Dead" ? becomes : { failure, reason: "" })
    return connection.execute(sql.addDead, [
      queueId,
      ...batchParams(placed.map(({ part }) => part)),
      placed.map(({ place }) => place),
      deliveries,
      ...failuresOf(letters.map(({ failure }) => failure)),
      letters.map(({ reason }) => reason),
      now
    ], undefined)
  }

  return (connection, queueId, claims, parts, now) =>
    Effect.gen(function*() {
      const rows = yield* connection.execute(sql.look, [queueId, ...claimParams(claims)], undefined)
      const lost = without(claims, rows)
      if (lost.length > 0) return { lost, parts: noClaims }
      const oldest = oldestOf(rows[0])
      const kept = parts.findIndex(({ becomes }) => becomes._tag === "Kept")
      const first = Math.max(0, kept)
      const gone = parts.length === 0 ? claims : claims.filter(({ sequence }) => sequence !== oldest.sequence)
      if (isSome(gone)) yield* held.settle(connection, queueId, gone)
      if (parts.length === 0) return { lost, parts: noClaims }
      yield* putFirst(connection, queueId, oldest, parts[first], now)
      const { sequence, token } = oldest
      const firstClaim: Claim = { sequence, token: kept < 0 ? token : token + 1 }
      if (parts.length === 1) return { lost, parts: [firstClaim] }
      const found = yield* connection.execute(sql.places, [parts.length - 1], undefined)
      const free = found.map(({ seq }) => Number(seq)).sort((one, other) => one - other)
      const places = parts.map((_, index) => index === first ? sequence : free[index < first ? index : index - 1])
      const placed = parts.map((part, index): Placed => ({ part, place: places[index] }))
        .filter((_, index) => index !== first)
      yield* add(connection, queueId, oldest, placed.filter((one) => !isDead(one)), now)
      yield* addDead(connection, queueId, oldest, placed.filter(isDead), now)
      return {
        lost,
        parts: places.map((place, index): Claim => index === first ? firstClaim : { sequence: place, token: 0 })
      }
    })
}
