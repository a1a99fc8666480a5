// Runs the built program as a server, in a process of its own, and speaks to it over HTTP.
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import { Effect, Option, Schedule } from "effect"
import { connect, createServer } from "node:net"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { afterAll, describe, expect, it } from "vitest"
import { parse } from "../src/flights/options.ts"
import { type Ended, flightLines, run, startIn, temporaryDirectory, writeLines } from "./support/flights.ts"

const directory = temporaryDirectory()
const token = "a token for the tests"
/** So slow that this machine may be busy with something else, and so long that it is not over before the test. */
const slowly = ["--rate", "50"]
const many = writeLines(directory, "many.ndjson", flightLines(20_000))
const few = writeLines(directory, "few.ndjson", flightLines(30))
const flight = { date: "2001/03/01 12:00", delay: 5, distance: 337, origin: "SFO", destination: "LAX" }
const increment = { route: "SFO-LAX", flights: 1, delaySum: 5, firstSeq: 1, lastSeq: 1 }

/** However a test ends, no server is left behind. */
const running = new Set<{ kill: (signal: "SIGKILL") => void }>()
afterAll(() => {
  for (const child of running) child.kill("SIGKILL")
})

const serve = async (env: Readonly<Record<string, string>>, ...args: ReadonlyArray<string>) => {
  const { child, ended, said } = startIn(env, "--serve", "--port", "0", ...args)
  running.add(child)
  child.on("close", () => running.delete(child))
  const [, url] = await said(/^flights: serving at (http:\/\/\S+)$/m)
  const ask = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(`${url}${path}`, init)
    const text = await response.text()
    const isJson = response.headers.get("content-type")?.startsWith("application/json") === true
    return { status: response.status, body: isJson ? JSON.parse(text) : text }
  }
  const post = (path: string, body: unknown) =>
    ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })
  const operate = (path: string, method = "GET") => ask(path, { method, headers: { authorization: `Bearer ${token}` } })
  const stop = (signal: NodeJS.Signals = "SIGTERM"): Promise<Ended> => {
    child.kill(signal)
    return ended
  }
  return { url, port: Number(new URL(url).port), child, ended, said, ask, post, operate, stop }
}

const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

const query = <A extends object>(
  filename: string,
  select: (sql: SqliteClient.SqliteClient) => Effect.Effect<ReadonlyArray<A>, unknown>
): Promise<ReadonlyArray<A>> =>
  Effect.runPromise(
    Effect.flatMap(SqliteClient.SqliteClient, select).pipe(
      Effect.provide(SqliteClient.layer({ filename, readonly: true, disableWAL: true })),
      // The server may be writing, or closing its file, at this moment.
      Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 100 })
    )
  )

const destinations = (filename: string) =>
  query<{ destination: string }>(filename, (sql) => sql`SELECT destination FROM sluice_flights`)
    .then((rows) => new Set(rows.map(({ destination }) => destination)))

/** The routes that are counted, and those that are stored and not yet counted. */
const routes = async (filename: string) => {
  // In this order: what is counted in between is found, because it is counted before it leaves the store.
  const stored = await query<{ payload: string }>(
    filename,
    (sql) => sql`SELECT CAST(payload AS TEXT) AS payload FROM sluice_batches`
  )
  const counted = await query<{ route: string }>(filename, (sql) => sql`SELECT route FROM sluice_route_counts`)
  return [...counted.map(({ route }) => `"${route}"`), ...stored.map(({ payload }) => payload)].join("\n")
}

describe("npm start -- --serve", () => {
  it("takes flights in, writes them to the database of the replay, and tells how it is", async () => {
    const db = join(directory, "taken.sqlite")
    const server = await serve({ SLUICE_ADMIN_TOKEN: token }, "--db", db, "--file", many, ...slowly)

    const one = await server.post("/queues/flights?wait=settled", { ...flight, destination: "one" })
    expect(one).toMatchObject({ status: 202, body: { items: 1, settled: 1 } })
    const two = await server.post(
      "/queues/flights?wait=settled",
      ["two", "three"].map((destination) => ({
        ...flight,
        destination
      }))
    )
    expect(two).toMatchObject({ status: 202, body: { items: 2, settled: 2 } })
    const posted = await query(
      db,
      (sql) => sql`SELECT * FROM sluice_flights WHERE destination IN ('one', 'two', 'three') ORDER BY seq`
    )
    const row = { ...flight, flights: 1, delay_sum: flight.delay }
    expect(posted).toEqual([
      { ...row, destination: "one", seq: 1_000_000_000 },
      { ...row, destination: "two", seq: 1_000_000_001 },
      { ...row, destination: "three", seq: 1_000_000_002 }
    ])

    const board = await server.post("/queues/board?wait=settled", { ...flight, origin: "nowhere" })
    expect(board).toMatchObject({ status: 202, body: { settled: 1 } })
    expect(await query(db, (sql) => sql`SELECT destination, flights FROM sluice_board WHERE airport = 'nowhere'`))
      .toEqual([{ destination: "LAX", flights: 1 }])

    const route = await server.post("/queues/routes?wait=stored", { ...increment, route: "here-there" })
    expect(route).toMatchObject({ status: 202, body: { stored: 1 } })
    expect(await routes(db)).toContain("\"here-there\"")

    const bad = await server.post("/queues/flights", [flight, { ...flight, delay: 0.5 }])
    expect(bad).toMatchObject({
      status: 400,
      body: { _tag: "InvalidItems", faults: [{ position: 1, field: "delay" }] }
    })
    const noDate = await server.post("/queues/flights", { ...flight, date: "2001/02/30 12:00" })
    expect(noDate).toMatchObject({ status: 400, body: { faults: [{ field: "date" }] } })
    // As many would not be counted exactly.
    const tooMany = await server.post("/queues/routes", { ...increment, flights: Number.MAX_SAFE_INTEGER })
    expect(tooMany).toMatchObject({ status: 400, body: { faults: [{ field: "flights" }] } })
    expect(await server.post("/queues/statistics", {})).toMatchObject({ status: 404 })

    const { body: metrics } = await server.ask("/metrics")
    for (const name of ["flights", "board", "routes"]) {
      expect(metrics).toMatch(new RegExp(`^sluice_\\w+\\{.*="${name}".*\\} \\d`, "m"))
    }
    expect(await server.ask("/health/live")).toEqual({ status: 200, body: { status: "live" } })
    expect(await server.ask("/health/ready")).toEqual({ status: 200, body: { queues: 3 } })
    const docs = await server.ask("/docs")
    expect(docs.status).toBe(200)
    expect(docs.body).toContain("swagger")
    expect(docs.body).toContain("/queues/routes")

    expect(await server.ask("/admin/queues")).toMatchObject({ status: 401 })
    const { body: states, status } = await server.operate("/admin/queues")
    expect(status).toBe(200)
    expect(states.map(({ name }: { name: string }) => name)).toEqual(["flights", "board", "routes"])

    const { code, stderr, stdout } = await server.stop()
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" })
    expect(stderr).toContain(`curl -H "authorization: Bearer $SLUICE_ADMIN_TOKEN" ${server.url}/admin/queues`)
    expect(stderr).not.toContain(token)
    expect(stderr).toMatch(/^flights: ended: all that was taken is written$/m)
  })

  it.each(["SIGTERM", "SIGINT"] as const)(
    "writes everything that it has answered for when %s comes while items come in: exit code 0",
    async (signal) => {
      const db = join(directory, `${signal}.sqlite`)
      const server = await serve({}, "--db", db, "--file", many, ...slowly)
      const answered = { flights: new Set<string>(), routes: new Set<string>() }
      const refusals = new Set<number>()
      const state = { isOver: false, next: 0 }
      void server.ended.then(() => {
        state.isOver = true
      })
      const poster = async () => {
        while (!state.isOver) {
          const number = state.next++
          const name = `${signal}${number}`
          const isRoute = number % 2 === 0
          // Some do not wait: what is taken is written all the same, as long as the process ends as it should.
          const wait = number % 4 < 2 ? `?wait=${isRoute ? "stored" : "settled"}` : ""
          try {
            const { status } = isRoute
              ? await server.post(`/queues/routes${wait}`, { ...increment, route: name })
              : await server.post(`/queues/flights${wait}`, { ...flight, destination: name })
            if (status === 202) answered[isRoute ? "routes" : "flights"].add(name)
            else refusals.add(status)
            if (status !== 202) await pause(50)
          } catch {
            // It does not listen any more.
            await pause(50)
          }
        }
      }
      const posters = Array.from({ length: 16 }, poster)
      while (!state.isOver && (answered.flights.size < 100 || answered.routes.size < 100)) {
        await pause(20)
      }
      const { code, stderr } = await server.stop(signal)
      await Promise.all(posters)
      expect({ code, stderr }).toMatchObject({
        code: 0,
        stderr: expect.stringContaining("all that was taken is written")
      })
      // Full is a matter of speed.
      expect([...refusals].filter((status) => status !== 503 && status !== 429)).toEqual([])
      const inTable = await destinations(db)
      expect([...answered.flights].filter((name) => !inTable.has(name))).toEqual([])
      const stored = await routes(db)
      expect([...answered.routes].filter((name) => !stored.includes(`"${name}"`))).toEqual([])
    }
  )

  it("replays round after round, each in place of the one before; without a token there is no /admin", async () => {
    const db = join(directory, "rounds.sqlite")
    const server = await serve({}, "--db", db, "--file", few, "--rate", "1000")
    expect((await server.operate("/admin/queues")).status).toBe(404)
    await server.post("/queues/flights?wait=settled", { ...flight, destination: "posted" })
    await server.said(/^flights: round 1: 30 flights in /m)
    await server.said(/^flights: round 2: 30 flights in /m)
    await server.said(/^flights: round 3: 30 flights in /m)
    const { body: metrics } = await server.ask("/metrics")
    expect(Number(/^sluice_items_offered_total\{.*"flights".*\} (\d+)$/m.exec(metrics)?.[1])).toBeGreaterThanOrEqual(91)
    const { code, stderr } = await server.stop()
    expect(code).toBe(0)
    expect(stderr).toContain("/admin is not there: set SLUICE_ADMIN_TOKEN")
    const [rows] = await query<Record<string, number>>(
      db,
      (sql) =>
        sql`SELECT
        (SELECT count(*) FROM sluice_flights WHERE seq <= 30) AS replayed,
        (SELECT count(*) FROM sluice_flights WHERE seq > 30) AS posted,
        (SELECT sum(flights) FROM sluice_board) AS board,
        (SELECT coalesce(sum(flights), 0) FROM sluice_airport_statistics) AS counted,
        (SELECT count(*) FROM sluice_airport_slots) AS slots`
    )
    // It may have been stopped in the middle of a round.
    expect(rows.posted).toBe(1)
    expect(rows.replayed).toBeLessThanOrEqual(30)
    expect(rows.board).toBeLessThanOrEqual(30)
    expect(rows.counted).toBeLessThanOrEqual(30)
    expect(rows.slots).toBeLessThanOrEqual(30)
  })

  it("counts what was stored and not counted when it is started again with the same database", async () => {
    const db = join(directory, "again.sqlite")
    const args = ["--db", db, "--file", writeLines(directory, "one.ndjson", flightLines(1)), "--rate", "0.001"]
    const first = await serve({ SLUICE_ADMIN_TOKEN: token }, ...args)
    expect((await first.operate("/admin/queues/routes/pause", "POST")).body).toMatchObject({ paused: true })
    expect((await first.post("/queues/routes?wait=stored", { ...increment, route: "later" })).status).toBe(202)
    expect((await first.stop()).code).toBe(0)
    expect(await query(db, (sql) => sql`SELECT * FROM sluice_route_counts WHERE route = 'later'`)).toEqual([])
    const second = await serve({}, ...args)
    const look = () => query<object>(db, (sql) => sql`SELECT flights FROM sluice_route_counts WHERE route = 'later'`)
    let seen = await look()
    while (seen.length === 0) {
      await pause(20)
      seen = await look()
    }
    expect(seen).toEqual([{ flights: 1 }])
    const { code } = await second.stop()
    expect(code).toBe(0)
    expect(await query(db, (sql) => sql`SELECT 1 FROM sluice_batches`)).toEqual([])
  })

  it("ends at once when a signal comes again later", async () => {
    const server = await serve({ SLUICE_GRACE: "1 hour" }, "--file", few)
    const socket = connect(server.port, "127.0.0.1")
    socket.on("error", () => {})
    // Half a body, which would be waited for. The server says when the half is there.
    const isThere = new Promise((resolve) => socket.once("data", resolve))
    socket.write(
      "POST /queues/flights HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n"
        + "expect: 100-continue\r\n\r\n{"
    )
    expect(String(await isThere)).toContain("100 Continue")
    server.child.kill("SIGTERM")
    while ((await server.ask("/health/ready")).status === 200) await pause(20)
    // One that comes within a second is the same: npm sends Ctrl-C once more.
    await pause(1200)
    const { code, stderr } = await server.stop()
    expect(code).toBe(143)
    expect(stderr).not.toContain("ended:")
    socket.destroy()
  })

  it("is not held up by half a request, and by who only connects: exit code 0", async () => {
    const server = await serve({}, "--file", few)
    const begin = "POST /queues/flights HTTP/1.1\r\nhost: x\r\n"
    const sockets = ["", begin, `${begin}content-type: application/json\r\ncontent-length: 99\r\n\r\n{`].map((text) => {
      const socket = connect(server.port, "127.0.0.1")
      socket.on("error", () => {})
      socket.write(text)
      return socket
    })
    await pause(300)
    const { code } = await server.stop()
    expect(code).toBe(0)
    for (const socket of sockets) socket.destroy()
  })

  it("a port that is taken is told in one line: exit code 2", async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve))
    const { port } = other.address() as AddressInfo
    const { code, stderr, stdout } = await run("--serve", "--port", String(port), "--file", few)
    other.close()
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(stderr).toMatch(/^flights: --host 127\.0\.0\.1 --port \d+: listen EADDRINUSE[^\n]*\n$/)
  })

  it("a token that is too short is told in one line, without the token: exit code 2", async () => {
    const { ended } = startIn({ SLUICE_ADMIN_TOKEN: "short" }, "--serve", "--port", "0", "--file", few)
    expect(await ended).toEqual({
      code: 2,
      stdout: "",
      stderr: "flights: SLUICE_ADMIN_TOKEN must be at least 16 characters of ASCII, without space around them\n"
    })
  })

  it("a grace that is no time is told in one line: exit code 2", async () => {
    const { ended } = startIn({ SLUICE_GRACE: "soon" }, "--serve", "--port", "0", "--file", few)
    expect(await ended).toEqual({ code: 2, stdout: "", stderr: "flights: SLUICE_GRACE must be a duration\n" })
  })

  it("a file that cannot be read is told before anything is served: exit code 2", async () => {
    const { code, stderr } = await run("--serve", "--port", "0", "--file", join(directory, "nowhere.ndjson"))
    expect(code).toBe(2)
    expect(stderr).toMatch(/^flights: [^\n]*nowhere\.ndjson: there is no such file\n$/)
  })

  it("is what npm start tells of in its last line, and nothing else of npm start has changed", async () => {
    const { code, stdout } = await run("--file", few, "--sink-delay", "0")
    expect(code).toBe(0)
    expect(stdout).toMatch(/\nIt adds up\.\nTo serve it over HTTP: npm start -- --serve\n$/)
  })
})

describe("the options of --serve", () => {
  const parsed = (...args: ReadonlyArray<string>) =>
    Effect.runPromise(Effect.either(parse(["node", "flights", ...args])).pipe(Effect.provide(NodeContext.layer)))

  it("have their defaults", async () => {
    expect(await parsed()).toMatchObject({ right: { value: { serve: Option.none() } } })
    expect(await parsed("--serve")).toMatchObject({
      right: {
        value: { serve: Option.some({ host: "127.0.0.1", port: 3000 }), pace: { _tag: "Rate", perSecond: 200 } }
      }
    })
    expect(await parsed("--serve", "--port", "0", "--host", "::1", "--speed", "60")).toMatchObject({
      right: { value: { serve: Option.some({ host: "::1", port: 0 }), pace: { _tag: "Speed", factor: 60 } } }
    })
  })

  it.each<readonly [string, ReadonlyArray<string>, string]>([
    ["a port that is too large", ["--serve", "--port", "65536"], "--port must be an integer from 0 to 65535"],
    ["a negative port", ["--serve", "--port=-1"], "--port must be an integer from 0 to 65535"],
    ["a port that is no number", ["--serve", "--port", "http"], "--port must be an integer from 0 to 65535"],
    ["an empty host", ["--serve", "--host", ""], "--host must be an address or a name, not empty"],
    ["a port of nothing", ["--port", "3000"], "--port and --host are for --serve"],
    ["a host of nothing", ["--host", "::1"], "--port and --host are for --serve"],
    ["a document without an end", ["--serve", "--json"], "--serve and --json exclude each other"]
  ])("%s is refused", async (_, args, message) => {
    const result = await parsed(...args)
    expect(result).toMatchObject({ left: { _tag: "BadOption", message: expect.stringContaining(message) } })
  })
})
