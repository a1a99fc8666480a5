/**
 * Appends batches to the store of PostgreSQL, and remembers their ids.
 *
 * Appends without a bound wait for nobody. Those with one take turns, queue by queue, until they are committed: what
 * fits is seen by a statement that begins after the last one has committed.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { Appended, NewBatch } from "@sluice/core/BatchStore"
import { longestFitting } from "@sluice/core/QueueStore"
import * as Effect from "effect/Effect"
import type { ClipPart, Operations, Run } from "../../BatchStoreDialect.ts"
import type { Counts } from "./counts.ts"
import type { Floors } from "./floors.ts"
import { perQueue } from "./floors.ts"
import { batchParams, itemsOf, never } from "./rows.ts"
import { among, tables } from "./schema.ts"

/** How many ids a part of a clip corrects. */
const clippedAtOnce = 1000

/** After how long, or how many ids of this process, old ids are forgotten, and how many at least at once. */
const forgottenEvery = 1000
const forgottenAtOnce = 1000

const none: ReadonlyArray<string> = []
const nothing: Appended = { appended: 0, duplicates: none }

/** What this process has to forget. */
class Forgetting {
  added = 0
  private last = -Infinity

  /** How many are to be forgotten now. */
  due(now: number): number {
    if (this.added < forgottenAtOnce && now - this.last < forgottenEvery && now >= this.last) return 0
    const many = forgottenAtOnce + 2 * this.added
    this.added = 0
    this.last = now
    return many
  }
}

type Names = "append" | "appendWithIds" | "clipIds" | "findQueue" | "isSingle" | "lockOf" | "queueId"

export const makeAppends = (
  prefix: string,
  counts: Counts,
  floorsOf: (queueId: number) => Floors
): Pick<Operations, Names> => {
  const { batches, ids, places, queues } = tables(prefix)
  const forgettingOf = perQueue(() => new Forgetting())
  const sql = {
    queueId: `SELECT id FROM ${queues} WHERE name = $1::text`,
    addQueue: `INSERT INTO ${queues} (name) VALUES ($1::text) ON CONFLICT DO NOTHING`,
    // The number of the table tells the locks of one prefix and schema from those of others.
    lock: `SELECT pg_advisory_xact_lock('${queues}'::regclass::oid::integer, $1::integer)`,
    append: `WITH added AS (
        INSERT INTO ${batches} (queue_id, seq, items, oldest_ms, payload)
          SELECT $1::integer, nextval('${places}'), items, oldest_ms, substring($6::bytea FROM start FOR length)
          FROM unnest($2::bigint[], $3::bigint[], $4::integer[], $5::integer[]) AS given (items, oldest_ms, start, length)
      )
      ${counts.countGiven(7)}`,
    // Whoever remembers the same ids at the same time waits here, until it is known whether the other one commits. They
    // are put in in one order, so that nobody waits for somebody who waits.
    remember: `WITH given AS (SELECT id FROM unnest($2::text[]) AS given (id)),
      known AS (
        SELECT given.id FROM given CROSS JOIN LATERAL (
          SELECT 1 FROM ${ids} WHERE queue_id = $1::integer AND id = given.id AND at_ms > $4::bigint LIMIT 1
        ) AS known
      ),
      longest AS (UPDATE ${queues} SET id_window_ms = $5::bigint WHERE id = $1::integer AND id_window_ms < $5::bigint),
      put AS (
        INSERT INTO ${ids} AS before (queue_id, id, at_ms)
          SELECT $1::integer, id, $3::bigint FROM given WHERE NOT EXISTS (SELECT FROM known) ORDER BY id
          ON CONFLICT (queue_id, id) DO UPDATE SET at_ms = excluded.at_ms WHERE before.at_ms <= $4::bigint
          RETURNING id
      )
      SELECT id, true AS is_known FROM known UNION ALL SELECT id, false FROM put`,
    takeBack: `DELETE FROM ${ids} WHERE queue_id = $1::integer AND id = ANY ($2::text[])`,
    // What others are about to remember anew is not forgotten.
    forget: `WITH old AS (
        SELECT id FROM ${ids} WHERE queue_id = $1::integer AND at_ms >= $2::bigint
          AND at_ms <= $3::bigint - (SELECT id_window_ms FROM ${queues} WHERE id = $1::integer)
        ORDER BY at_ms LIMIT $4::bigint FOR UPDATE SKIP LOCKED
      )
      DELETE FROM ${ids} WHERE queue_id = $1::integer AND ${among("old", "id")} RETURNING at_ms`,
    clipIds: `WITH late AS (
        SELECT id FROM ${ids} WHERE queue_id = $1::integer AND at_ms > $2::bigint
        ORDER BY at_ms LIMIT ${clippedAtOnce} FOR UPDATE SKIP LOCKED
      )
      UPDATE ${ids} SET at_ms = $2::bigint WHERE queue_id = $1::integer AND ${among("late", "id")} RETURNING 1`
  }

  const insert = (connection: Connection, queueId: number, added: ReadonlyArray<NewBatch>): Run<Appended> => {
    if (added.length === 0) return Effect.succeed(nothing)
    const params = [queueId, ...batchParams(added), added.length, itemsOf(added)]
    const answer: Appended = { appended: added.length, duplicates: none }
    return counts.changed(connection, queueId, Effect.as(connection.execute(sql.append, params, undefined), answer))
  }

  /** Those that fit, once it is this transaction's turn. */
  const fitting = (
    connection: Connection,
    queueId: number,
    batches: ReadonlyArray<NewBatch>,
    most: number
  ): Run<ReadonlyArray<NewBatch>> =>
    Effect.zipRight(
      connection.execute(sql.lock, [queueId], undefined),
      Effect.map(counts.read(connection, queueId), ({ pendingItems }) => longestFitting(batches, most - pendingItems))
    )

  const forget = (connection: Connection, queueId: number, now: number): Run<void> => {
    const many = forgettingOf(queueId).due(now)
    if (many === 0) return Effect.void
    const floor = floorsOf(queueId).ids
    return Effect.map(
      floor.scan(now, (from) => connection.execute(sql.forget, [queueId, from, now, many], undefined)),
      (rows) => {
        if (rows.length > 0) floor.found(Math.min(...rows.map(({ at_ms }) => Number(at_ms))), now)
      }
    )
  }

  const appendWithIds: Operations["appendWithIds"] = (connection, queueId, append, now) =>
    Effect.gen(function*() {
      const { batches, idWindowMillis = Infinity, maxPendingItems } = append
      const added = maxPendingItems === undefined
        ? batches
        : yield* fitting(connection, queueId, batches, maxPendingItems)
      const given = added.flatMap(({ ids }) => ids ?? none)
      if (given.length === 0) return yield* insert(connection, queueId, added)
      const window = Math.min(never, Math.ceil(idWindowMillis))
      const params = [queueId, given, now, Math.max(-never, Math.floor(now - idWindowMillis)), window]
      const rows = yield* connection.execute(sql.remember, params, undefined)
      const known = new Set<string>(rows.flatMap(({ id, is_known }) => is_known ? [id] : []))
      if (known.size > 0) return { appended: 0, duplicates: given.filter((id) => known.has(id)) }
      if (rows.length < given.length) {
        // Somebody else has remembered the others meanwhile.
        const put = new Set<string>(rows.map(({ id }) => id))
        yield* connection.execute(sql.takeBack, [queueId, [...put]], undefined)
        return { appended: 0, duplicates: given.filter((id) => !put.has(id)) }
      }
      forgettingOf(queueId).added += given.length
      yield* forget(connection, queueId, now)
      return yield* insert(connection, queueId, added)
    })

  const clipIds: ClipPart = (connection, queueId, _, now) =>
    Effect.map(connection.execute(sql.clipIds, [queueId, now], undefined), ({ length }) => {
      floorsOf(queueId).ids.lower(now)
      return length < clippedAtOnce ? undefined : []
    })

  const findQueue = (connection: Connection, name: string): Run<number | undefined> =>
    Effect.map(
      connection.execute(sql.queueId, [name], undefined),
      ([found]) => found === undefined ? undefined : Number(found.id)
    )

  return {
    findQueue,
    queueId: (connection, name) =>
      Effect.flatMap(findQueue(connection, name), (found) =>
        found !== undefined
          ? Effect.succeed(found)
          // Transactions that make several queues, in any order, take turns.
          : connection.execute(sql.lock, [0], undefined).pipe(
            Effect.zipRight(connection.execute(sql.addQueue, [name], undefined)),
            Effect.zipRight(connection.execute(sql.queueId, [name], undefined)),
            Effect.map(([{ id }]) => Number(id))
          )),
    clipIds,
    lockOf: (queueId, { maxPendingItems }) => maxPendingItems === undefined ? undefined : queueId,
    isSingle: ({ maxPendingItems }) => maxPendingItems === undefined,
    append: (connection, queueId, { batches, maxPendingItems }) =>
      maxPendingItems === undefined
        ? insert(connection, queueId, batches)
        : Effect.flatMap(
          fitting(connection, queueId, batches, maxPendingItems),
          (added) => insert(connection, queueId, added)
        ),
    appendWithIds
  }
}
