/**
 * Keeps the database small while the program runs for days: a round begins with what the one before has written removed.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { Writes } from "../database.ts"
import { postedFrom } from "./api.ts"

/** Flights that were posted are more than a round: whoever has posted one may still look for it later. So many stay. */
const postedKept = 10_000

/** In one write, so that nobody sees tables of two rounds. */
export const clear = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const writes = yield* Writes
  const all = Effect.all([
    sql`DELETE FROM sluice_flights WHERE seq < ${postedFrom}`,
    sql`DELETE FROM sluice_flights WHERE seq <= (SELECT max(seq) FROM sluice_flights) - ${postedKept}`,
    sql`DELETE FROM sluice_board`,
    sql`DELETE FROM sluice_airport_statistics`,
    sql`DELETE FROM sluice_airport_slots`,
    sql`DELETE FROM sluice_route_counts`,
    sql`DELETE FROM sluice_route_deliveries`
  ])
  yield* writes.submit(all, { name: "clear" })
})
