import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import { Effect, Layer, Schedule } from "effect"
import { once } from "node:events"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { flightLines, run, start, temporaryDirectory, writeLines } from "./support/flights.ts"

const directory = temporaryDirectory()
const count = 2_000
const lines = flightLines(count)
const file = writeLines(directory, "flights.ndjson", lines)
const late = lines.filter((line) => JSON.parse(line).delay > 30).length
const quick = ["--file", file, "--sink-delay", "2", "--json"]

describe.concurrent("a replay", () => {
  it.each(["suspend", "reject", "dropNewest", "dropOldest", "coalesceByKey"])(
    "under %s adds up, and writes one JSON document and nothing else",
    async (policy) => {
      const { code, stderr, stdout } = await run(...quick, "--policy", policy)
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
      const { airports, check, coordinator, options, queues, source } = JSON.parse(stdout)
      expect(check).toMatchObject({ holds: true, examples: [] })
      expect(options).toMatchObject({ policy, rate: null, speed: null })
      expect(source).toBe(file)
      expect(queues.flights.offered).toBe(count)
      expect(queues.board.offered).toBe(count)
      expect(queues.board.coalesced).toBeGreaterThan(0)
      const { routes } = queues
      expect(routes).toMatchObject({ offered: count, refused: 0, dropped: 0, workers: 2, restarts: 1 })
      expect(routes).toMatchObject({ pending: { batches: 0 }, dead: { batches: 0 } })
      expect(routes.stored + routes.coalesced).toBe(count)
      expect([1, 2]).toContain(routes.kill.batchesInFlight)
      expect(routes.kill.batchesCountedTwice).toBe(routes.kill.batchesInFlight)
      expect(routes.kill.incrementsCountedTwice).toBeGreaterThan(0)
      expect(routes.deliveries).toBe(routes.storedBatches + routes.kill.batchesCountedTwice)
      const { slots, statistics } = airports
      expect(statistics).toMatchObject({ succeeded: count, refused: 0, cancelled: 0, held: 0 })
      expect(statistics.flightsPerLoad).toBeGreaterThan(1)
      expect(statistics.loadsFailed + statistics.savesFailed).toBeGreaterThan(0)
      expect(slots).toMatchObject({ refused: 0, cancelled: 0, dropped: 0, held: 0 })
      expect(slots.given + slots.refusedByRule).toBe(late)
      expect(slots.refusedByRule).toBeGreaterThan(0)
      expect(slots.failed).toBe(slots.answersLost)
      expect(slots.answersLost).toBeGreaterThan(0)
      expect(coordinator).toMatchObject({
        succeeded: queues.flights.batches + queues.board.batches + statistics.saves - statistics.savesFailed
          + slots.given,
        failed: queues.flights.retries + queues.board.retries + statistics.savesFailed + slots.rejected
          + slots.rolledBack,
        cancelled: 0,
        depth: 0,
        inFlight: 0
      })
      expect(coordinator.offered).toBe(coordinator.succeeded + coordinator.failed)
      expect(coordinator.batches).toBeLessThanOrEqual(coordinator.offered)
      if (policy === "suspend") expect(queues.flights.settled).toBe(count)
      if (policy === "reject") expect(queues.flights.refused).toBeGreaterThan(0)
      if (policy === "dropNewest") expect(queues.flights.droppedByReason["drop-newest"]).toBeGreaterThan(0)
      if (policy === "dropOldest") expect(queues.flights.droppedByReason["drop-oldest"]).toBeGreaterThan(0)
      if (policy === "coalesceByKey") expect(queues.flights.coalesced).toBeGreaterThan(0)
    }
  )

  it("shows its result as text, with numbers for all queues and for the coordinator", async () => {
    const { code, stdout } = await run("--file", file, "--sink-delay", "0")
    expect(code).toBe(0)
    expect(stdout).toContain("flights (suspend)")
    expect(stdout).toMatch(
      /│ offered │ succeeded │ failed │ cancelled │ +waiting │ in flight │ groups │ writes a group │/
    )
    expect(stdout).toContain("ok    coordinator: succeeded = batches settled + statistics saved + slots given: ")
    expect(stdout).toMatch(/^Airports: \d+, whose statistics counted 2,000 flights\. .*: [\d.]+ flights a load\.$/m)
    expect(stdout).toMatch(/^Slots: \d+ given, \d+ refused, .*$/m)
    expect(stdout).toMatch(/^ok {4}statistics: loads, one an airport in 1000 ms: \d+ of at most [\d,]+$/m)
    expect(stdout).toMatch(
      /^Routes: 2,000 increments, .* 2 workers in a second process counted them, in \d+ deliveries\.$/m
    )
    expect(stdout).toMatch(
      /^It was killed in the middle\. Batches in flight then: [12], counted and not yet settled\.$/m
    )
    expect(stdout).toMatch(/Counted twice: batches [12], increments \d+\.$/m)
    expect(stdout).toContain("`processTransactional` will make it exact later.")
    expect(stdout).toContain("It adds up.")
  })

  it("keeps to the rate", async () => {
    const few = writeLines(directory, "few.ndjson", flightLines(100))
    const { stdout } = await run("--file", few, "--json", "--rate", "200")
    const { check, durationMillis, options } = JSON.parse(stdout)
    expect(check.holds).toBe(true)
    expect(options.rate).toBe(200)
    // The last of 100 flights is due after 495 ms.
    expect(durationMillis).toBeGreaterThanOrEqual(490)
  })

  it("leaves blank lines out, and counts them", async () => {
    const lines = flightLines(3)
    const spaced = writeLines(directory, "spaced.ndjson", [lines[0], "", lines[1], "  ", lines[2], "{}"])
    const { stderr } = await run("--file", spaced)
    expect(stderr).toContain("spaced.ndjson:6: ")
  })

  it("adds up when there is no flight at all", async () => {
    const { code, stdout } = await run("--json", "--file", writeLines(directory, "none.ndjson", [""]))
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ flights: 0, check: { holds: true }, queues: { routes: { kill: null } } })
  })

  it("leaves its tables in the database that it was given, and replaces those of the last run", async () => {
    const db = join(directory, "kept.sqlite")
    await run(...quick, "--db", db)
    const { code } = await run(...quick, "--db", db)
    expect(code).toBe(0)
    expect(existsSync(db)).toBe(true)
    const rows = await Effect.runPromise(inDatabase(db, (sql) =>
      sql<{ rows: number }>`
      SELECT count(*) AS rows FROM sluice_flights`))
    expect(rows).toEqual([{ rows: count }])
  })

  it("notices that somebody else has deleted a row: exit code 1", async () => {
    const db = join(directory, "sabotaged.sqlite")
    const { ended } = start(...quick, "--db", db, "--rate", "1000")
    await Effect.runPromise(
      inDatabase(db, (sql) =>
        sql`DELETE FROM sluice_flights WHERE seq = 1 RETURNING seq`.pipe(
          Effect.filterOrFail((deleted) => deleted.length === 1)
        )).pipe(
          // The table is not there at once, and then it is empty. With a new connection each time: the client keeps
          // statements, also those that could not be prepared.
          Effect.retry(Schedule.spaced("50 millis"))
        )
    )
    const { code, stderr, stdout } = await ended
    expect({ code, stderr }).toEqual({ code: 1, stderr: "" })
    const { check } = JSON.parse(stdout)
    expect(check.holds).toBe(false)
    expect(check.claims.filter(({ holds }: { holds: boolean }) => !holds)).not.toEqual([])
  })

  it("drains and tells what it has when it is interrupted, also when the signal comes twice: exit code 130", async () => {
    const { child, ended } = start("--file", file, "--rate", "200")
    // Its first line of progress.
    await once(child.stderr, "data")
    child.kill("SIGINT")
    child.kill("SIGINT")
    const { code, stdout } = await ended
    expect(code).toBe(130)
    expect(stdout).toContain("interrupted, and what had been offered was drained")
    expect(stdout).toContain("It was not killed: the run was over before the middle.")
    expect(stdout).toContain("It adds up.")
    expect(stdout).toMatch(/│ held +│ +0 │ +0 │/)
  })
})

const inDatabase = <A, E>(
  filename: string,
  use: (sql: SqliteClient.SqliteClient) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.flatMap(SqliteClient.SqliteClient, use).pipe(
    Effect.provide(Layer.orDie(SqliteClient.layer({ filename })))
  )
