import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import { Effect, Layer, Schedule } from "effect"
import { mkdtempSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { flightLines, run, start, startIn, temporaryDirectory, writeLines } from "./support/flights.ts"

const directory = temporaryDirectory()
const count = 2_000
const file = writeLines(directory, "flights.ndjson", flightLines(count))

/** Its first line of progress names the process. */
const firstProcess = /counted by process 1 \((\d+)\)/

describe.concurrent("the second process of a replay", () => {
  it("is killed as well where there is one flight alone", async () => {
    const { code, stdout } = await run("--file", writeLines(directory, "one.ndjson", flightLines(1)), "--json")
    expect(code).toBe(0)
    const { check, queues: { routes } } = JSON.parse(stdout)
    expect(check.holds).toBe(true)
    expect(routes).toMatchObject({ storedBatches: 1, deliveries: 2, restarts: 1 })
    expect(routes.kill).toEqual({ batchesInFlight: 1, batchesCountedTwice: 1, incrementsCountedTwice: 1 })
  })

  it("counts what was offered when the run is interrupted after it was killed: exit code 130", async () => {
    const { child, ended, said } = start("--file", file, "--rate", "200")
    await said(/counted by process 2 /)
    child.kill("SIGINT")
    const { code, stdout } = await ended
    expect(code).toBe(130)
    expect(stdout).toContain("It was killed in the middle.")
    expect(stdout).toContain("It adds up.")
  })

  it("is missed when somebody else kills it, in one line: exit code 1", async () => {
    const { ended, said } = start("--file", file, "--rate", "100")
    const [, pid] = await said(firstProcess)
    process.kill(Number(pid), "SIGKILL")
    const { code, stderr, stdout } = await ended
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
    expect(stderr).toMatch(/^flights: the process that counts the routes ended: SIGKILL\n$/m)
  })

  it("is missed when it cannot be started, in one line: exit code 1", async () => {
    // Whatever has a channel to its parent ends at once.
    const broken = "--import=data:text/javascript,if(process.send)process.exit(3)"
    const { ended } = startIn({ NODE_OPTIONS: broken }, "--file", file, "--rate", "100", "--json")
    expect(await ended).toEqual({
      code: 1,
      stdout: "",
      stderr: "flights: the process that counts the routes ended with exit code 3\n"
    })
  })

  it("ends when the first process is killed", async () => {
    // What a killed process leaves behind is to be removed as well.
    const env = { TMPDIR: mkdtempSync(join(directory, "tmp-")) }
    const { child, ended, said } = startIn(env, "--file", file, "--rate", "100")
    await said(firstProcess)
    child.kill("SIGKILL")
    // It would not be resolved before the second has let go of stderr.
    expect((await ended).code).toBe(null)
  })

  it("a count that somebody else has changed is noticed: exit code 1", async () => {
    const own = mkdtempSync(join(directory, "tmp-"))
    const { ended } = startIn({ TMPDIR: own }, "--file", file, "--rate", "1000", "--json")
    await Effect.runPromise(
      Effect.suspend((): Effect.Effect<unknown, unknown> => {
        const [found] = readdirSync(own, { recursive: true, encoding: "utf8" }).filter((name) =>
          name.endsWith("routes.sqlite")
        )
        return found === undefined ? Effect.fail("no file") : addIncrement(join(own, found))
      }).pipe(Effect.retry(Schedule.spaced("50 millis")))
    )
    const { code, stderr, stdout } = await ended
    expect({ code, stderr }).toEqual({ code: 1, stderr: "" })
    const { check } = JSON.parse(stdout)
    expect(check.claims.filter(({ holds }: { holds: boolean }) => !holds)).toMatchObject([
      { claim: "routes: counted = input + counted twice" },
      { claim: "routes: counts that differ from that", actual: 1 }
    ])
  })

  it("a flight that no queue can store is told with its line: exit code 2", async () => {
    const lines = flightLines(3)
    const broken = lines[1].replace(/"origin":"[^"]+"/, "\"origin\":\"\\ud800\"")
    const { code, stderr, stdout } = await run(
      "--file",
      writeLines(directory, "surrogate.ndjson", [lines[0], broken, lines[2]]),
      "--json"
    )
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(stderr).toMatch(/^flights: .*surrogate\.ndjson:2: [^\n]+\n$/)
  })
})

/** Adds a flight to the count of one route; fails as long as there is none. */
const addIncrement = (filename: string) =>
  Effect.flatMap(
    SqliteClient.SqliteClient,
    (sql) =>
      sql`UPDATE sluice_route_counts SET flights = flights + 1
        WHERE route = (SELECT min(route) FROM sluice_route_counts) RETURNING route`
  ).pipe(
    Effect.filterOrFail((changed) => changed.length === 1),
    Effect.provide(Layer.orDie(SqliteClient.layer({ filename })))
  )
