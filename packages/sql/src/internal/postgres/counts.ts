/**
 * The counters of a queue in PostgreSQL: the sum of rows, each of which says by how much a transaction has changed them.
 *
 * A row that everybody changes would let transactions wait for each other: for a transaction of the app that appends
 * and stays open, everybody. These rows are only inserted, and wait for nothing. Now and then a process replaces those
 * that it sees by their sum.
 *
 * Each row has the number of its transaction. A process remembers the first number that it has seen a row of, and the
 * transactions below it that were still running. Only these can bring a row below it, so a sum that begins there is
 * exact, and the rows that were replaced are not passed again.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Run } from "../../BatchStoreDialect.ts"
import { perQueue, Wholes } from "./floors.ts"
import { tables } from "./schema.ts"

/** After how many changes by this process the rows are replaced by their sum, and how many at most. */
const changesPerSum = 200
const summedAtOnce = 10_000

const kinds = ["pending_batches", "pending_items", "dead_batches", "dead_items", "newer_batches", "newer_items"]

/** The number of the transaction, and once more, as what it begins with. */
const own = "pg_current_xact_id()::text::bigint, pg_current_xact_id()::text::bigint"
const ownIfAny = "pg_current_xact_id_if_assigned()::text::bigint"

type Kind = "pending" | "dead" | "newer"

export interface Counted {
  readonly pendingBatches: number
  readonly pendingItems: number
  readonly deadBatches: number
  readonly deadItems: number
  readonly newerBatches: number
  readonly newerItems: number
}

/** What a process knows of the rows of a queue. */
class Known {
  /** No row of a transaction below this is to come, except of those that were running. */
  from = 0
  running = ""
  changes = 0
  readonly wholes = new Wholes()
}

export interface Counts {
  /**
   * A part of a statement that counts rows with `items`. `$1` is the queue. Nothing is counted where there are no rows.
   */
  readonly counting: (rows: string, changes: Partial<Record<Kind, 1 | -1>>) => string
  /** A statement that counts as many batches and items as the last two of its parameters say. */
  readonly countGiven: (first: number) => string
  readonly read: (connection: Connection, queueId: number) => Run<Counted>
  /** Runs a statement that counts, and sometimes replaces the rows by their sum before. */
  readonly changed: <A>(connection: Connection, queueId: number, run: Run<A>) => Run<A>
}

export const makeCounts = (prefix: string): Counts => {
  const { counts } = tables(prefix)
  const known = perQueue(() => new Known())
  const sums = kinds.map((kind) => `coalesce(sum(${kind}), 0) AS ${kind}`).join(", ")
  const sql = {
    // What the transaction has summed up itself would be there again, were it rolled back.
    read: `SELECT ${sums}, min(CASE WHEN xid = ${ownIfAny} THEN since ELSE xid END) AS first,
        pg_snapshot_xmax(pg_current_snapshot())::text AS next,
        concat_ws(',', ${ownIfAny}, (SELECT string_agg(xid::text, ',')
          FROM pg_snapshot_xip(pg_current_snapshot()) AS running (xid))) AS running
      FROM (
        SELECT * FROM ${counts} WHERE queue_id = $1::integer AND xid >= $2::bigint
        UNION ALL SELECT late.* FROM unnest($3::bigint[]) AS given (xid)
          CROSS JOIN LATERAL (SELECT * FROM ${counts} WHERE queue_id = $1::integer AND xid = given.xid OFFSET 0) AS late
          WHERE given.xid < $2::bigint
      ) AS known`,
    // Rows are never changed, so that they are where they were.
    sum: `WITH summed AS (
        DELETE FROM ${counts} WHERE ctid = ANY (ARRAY(
          SELECT ctid FROM ${counts} WHERE queue_id = $1::integer AND xid >= $2::bigint
          ORDER BY xid LIMIT ${summedAtOnce} FOR UPDATE SKIP LOCKED
        )) RETURNING *
      )
      INSERT INTO ${counts} (queue_id, xid, since, ${kinds.join(", ")})
        SELECT $1::integer, pg_current_xact_id()::text::bigint,
          min(CASE WHEN xid = pg_current_xact_id()::text::bigint THEN since ELSE xid END),
          ${kinds.map((kind) => `sum(${kind})`).join(", ")} FROM summed HAVING count(*) > 0`
  }

  const scan = (connection: Connection, queueId: number, from: number, running: string): Run<Counted> =>
    Effect.map(connection.execute(sql.read, [queueId, from, `{${running}}`], undefined), ([row]) => {
      const of = known(queueId)
      of.from = Math.min(Number(row.first ?? row.next), Number(row.next))
      of.running = row.running
      return {
        pendingBatches: Number(row.pending_batches),
        pendingItems: Number(row.pending_items),
        deadBatches: Number(row.dead_batches),
        deadItems: Number(row.dead_items),
        newerBatches: Number(row.newer_batches),
        newerItems: Number(row.newer_items)
      }
    })

  const read: Counts["read"] = (connection, queueId) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const { from, running, wholes } = known(queueId)
      // The numbers of a database that was restored begin anew.
      return wholes.isDue(now)
        ? wholes.run(now, scan(connection, queueId, 0, ""))
        : scan(connection, queueId, from, running)
    })

  return {
    counting: (rows, changes) => {
      const of = Object.entries(changes) as ReadonlyArray<[Kind, 1 | -1]>
      const columns = of.flatMap(([kind]) => [`${kind}_batches`, `${kind}_items`]).join(", ")
      const values = of.flatMap(([, sign]) => [`${sign} * count(*)`, `${sign} * sum(items)`]).join(", ")
      return `INSERT INTO ${counts} (queue_id, xid, since, ${columns})
        SELECT $1::integer, ${own}, ${values} FROM ${rows} HAVING count(*) > 0`
    },
    countGiven: (first) =>
      `INSERT INTO ${counts} (queue_id, xid, since, pending_batches, pending_items)
        VALUES ($1::integer, ${own}, $${first}::bigint, $${first + 1}::bigint)`,
    read,
    // Before it, and not after: what has been committed by itself must not fail.
    changed: (connection, queueId, run) =>
      Effect.suspend(() => {
        const of = known(queueId)
        of.changes += 1
        if (of.changes < changesPerSum) return run
        of.changes = 0
        return Effect.flatMap(
          read(connection, queueId),
          () => Effect.zipRight(connection.execute(sql.sum, [queueId, of.from], undefined), run)
        )
      })
  }
}
