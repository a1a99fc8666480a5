import { SqlClient, type Statement } from "@effect/sql"
import * as SeededRun from "@sluice/core/testing/SeededRun"
import * as SeededScheduler from "@sluice/core/testing/SeededScheduler"
import { Cause, Deferred, Effect, Exit, Fiber, Option, Scope, Stream } from "effect"
import Database from "better-sqlite3"
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { beforeAll, describe, expect, it } from "vitest"
import * as SqliteStore from "../src/SqliteStore.ts"
import type * as SqlTransaction from "../src/SqlTransaction.ts"
import * as WriteCoordinator from "../src/WriteCoordinator.ts"
import { atLeast, type Campaign, campaign, forSeeds } from "../../core/test/support/campaigns.ts"
import { loadDriver } from "./database.ts"

// Random writes, failures, interruptions and closings, under many schedules. The table `log` has what is committed, in
// the order in which it was written. Running exactly those writes again, one after another and without a database, must
// give the same log, the same counters, and the same answers.

type Ending =
  | "succeeds"
  | "fails"
  | "dies"
  | "interrupts itself"
  | "hangs"
  /** It cannot be interrupted, goes on after its time is over, and then tries to write. */
  | "outlives its time"
  | "ends the transaction"
  | "ends the transaction and hides it"
  | "breaks the commit"

interface Plan {
  readonly id: number
  readonly submitter: number
  readonly counter: number
  /** One statement, which is not an Effect of its own. */
  readonly single: boolean
  /** What it does between its steps: nothing, give way (0), or sleep so many milliseconds. */
  readonly pauses: ReadonlyArray<number | undefined>
  readonly nested: ReadonlyArray<Plan>
  readonly ending: Ending
  readonly retryable: boolean
  readonly announced: boolean
  /** After how many milliseconds its caller is interrupted. */
  readonly interruptedAfter: number | undefined
  /** Whether it leaves a fiber behind that tries to write after its end. */
  readonly strays: boolean
}

interface Setting {
  /** How writes end; "succeeds" is always one of them. */
  readonly endings: ReadonlyArray<Ending>
  /** Whether writes inside writes are announced. */
  readonly nestedAnnounced?: boolean
  readonly closesEarly?: boolean
  readonly strays?: boolean
  /** Timers run out in the middle of work, so that any write may take too long. */
  readonly slow?: boolean
  readonly filename?: () => string
}

interface Row {
  readonly write: number
  readonly step: number
  readonly value: number
}

interface World {
  readonly counters: Array<number>
  readonly log: Array<Row>
}

/** Neither commutes nor associates: two writes in another order, or interleaved, come out differently. */
const following = (value: number, { id }: Plan) => (value * 31 + id * 7 + 1) % 1_000_003

const counters = 3

/** The choices of one run. */
const choices = (seed: number) => {
  const next = SeededScheduler.mulberry32(seed ^ 0x5eed)
  const below = (limit: number) => next() % limit
  const chance = (probability: number) => next() < probability * 2 ** 32
  const pick = <A>(from: ReadonlyArray<A>): A => from[below(from.length)]
  return { below, chance, pick }
}

type Choices = ReturnType<typeof choices>

const plansOf = ({ below, chance, pick }: Choices, setting: Setting): ReadonlyArray<ReadonlyArray<Plan>> => {
  let id = 1
  const pause = () => pick([undefined, undefined, 0, 0, 1 + below(5)])
  const plan = (submitter: number, depth: number): Plan => {
    const single = chance(0.2)
    const ending = depth === 0
      ? chance(0.55) ? "succeeds" : pick(setting.endings)
      : pick<Ending>(["succeeds", "succeeds", "fails", "dies", "interrupts itself"])
    const isEffect = !single || !["succeeds", "fails", "ends the transaction", "breaks the commit"].includes(ending)
    return {
      id: id++,
      submitter,
      counter: below(counters),
      single: !isEffect,
      pauses: isEffect ? Array.from({ length: 1 + below(3) }, pause) : [undefined],
      nested: isEffect && depth < 2 && chance(0.3)
        ? Array.from({ length: 1 + below(2) }, () => plan(submitter, depth + 1))
        : [],
      ending,
      retryable: chance(0.4),
      announced: (depth === 0 || setting.nestedAnnounced === true) && chance(0.7),
      interruptedAfter: depth === 0 && chance(0.25) ? below(12) : undefined,
      strays: isEffect && setting.strays === true && chance(0.5)
    }
  }
  return Array.from(
    { length: 1 + below(5) },
    (_, submitter) => Array.from({ length: 1 + below(4) }, () => plan(submitter, 0))
  )
}

// -----------------------------------------------------------------------------
// the serial model
// -----------------------------------------------------------------------------

/** What a write answers, its nested writes included: those that fail leave nothing and are undefined. */
interface Answer {
  readonly value: number
  readonly nested: ReadonlyArray<Answer | undefined>
}

const serially = (world: World, plan: Plan): Answer => {
  if (plan.single) {
    const value = world.counters[plan.counter]
    world.log.push({ write: plan.id, step: 0, value })
    return { value, nested: [] }
  }
  plan.pauses.forEach((_, step) => {
    const value = following(world.counters[plan.counter], plan)
    world.counters[plan.counter] = value
    world.log.push({ write: plan.id, step, value })
  })
  const value = world.counters[plan.counter]
  const nested = plan.nested.map((inner) => {
    const before = { counters: [...world.counters], length: world.log.length }
    const answer = serially(world, inner)
    if (inner.ending === "succeeds") return answer
    world.counters.splice(0, counters, ...before.counters)
    world.log.length = before.length
    return undefined
  })
  return { value, nested }
}

// -----------------------------------------------------------------------------
// the real thing
// -----------------------------------------------------------------------------

const schema = [
  "CREATE TABLE counters (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
  "CREATE TABLE log (at INTEGER PRIMARY KEY, write INTEGER NOT NULL, step INTEGER NOT NULL, value INTEGER NOT NULL)",
  "CREATE TABLE strays (write INTEGER NOT NULL, last INTEGER)",
  "CREATE TABLE taken (id INTEGER PRIMARY KEY)",
  "CREATE TABLE missing (id INTEGER PRIMARY KEY)",
  "CREATE TABLE dangling (id INTEGER REFERENCES missing DEFERRABLE INITIALLY DEFERRED)",
  "INSERT INTO taken VALUES (1)",
  ...Array.from({ length: counters }, (_, id) => `INSERT INTO counters VALUES (${id}, ${id})`)
]

const makeSchema = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => Effect.forEach(schema, (statement) => sql.unsafe(statement), { discard: true })
)

const pausing = (pause: number | undefined) =>
  pause === undefined ? Effect.void : pause === 0 ? Effect.yieldNow() : Effect.sleep(pause)

/** What there is to know of one write from the outside. */
interface Known {
  /** How often it began. A write inside another begins as often as that one. */
  runs: number
  exit: Exit.Exit<unknown, unknown> | undefined
  /** How often it had begun when its caller was told. */
  runsWhenTold: number
  /** Whether it was submitted after the closing. */
  readonly late: boolean
}

const tagOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "success"
  const failure = Cause.failureOption(exit.cause)
  if (Option.isNone(failure)) return Cause.isInterruptedOnly(exit.cause) ? "interrupted" : "defect"
  const error = failure.value
  return typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : String(error)
}

interface Outcome {
  readonly violations: ReadonlyArray<string>
  readonly tags: ReadonlyArray<string>
  readonly metrics: WriteCoordinator.Metrics
  /** How many writes ran twice. */
  readonly rerun: number
  readonly announced: number
}

const program = (setting: Setting) => (seed: number) => {
  const random = choices(seed)
  const { below, chance, pick } = random
  const submitters = plansOf(random, setting)
  const plans = submitters.flat()
  const byId = new Map(plans.map((plan) => [plan.id, plan]))
  const writeTimeout = 60
  const options: WriteCoordinator.Options = {
    name: "writes",
    capacity: pick([1, 2, 3, 100]),
    batchSize: pick([1, 2, 3, 100]),
    linger: pick([0, 0, 1, 10]),
    drain: chance(0.5),
    drainTimeout: pick([0, 5, 10_000]),
    writeTimeout,
    topic: (name) => name === "silent" ? undefined : `topic of ${name}`
  }
  const closesAfter = setting.closesEarly === true ? below(60) : undefined
  const sequential = submitters.map(() => chance(0.4))

  return Effect.gen(function*() {
    const violations: Array<string> = []
    const violated = (what: string) => {
      violations.push(what)
    }
    const sql = yield* SqlClient.SqlClient
    yield* makeSchema
    const scope = yield* Scope.make()
    const coordinator = yield* Scope.extend(WriteCoordinator.make(options), scope)
    let closing = false
    let closed = false
    /** How many writes have begun since it was to be closed. */
    let begunLate = 0

    // --- what is announced --------------------------------------------------

    const heard: Array<WriteCoordinator.WriteChange> = []
    const listening = yield* Effect.fork(Stream.runForEach(coordinator.changes, (change) =>
      Effect.sync(() => {
        if ("topic" in change) heard.push(change)
        else violated("a change was missed")
      })))
    // Time may move while the listener is still on its way, so it is given turns.
    yield* Effect.repeatN(Effect.yieldNow(), 300)
    yield* Effect.sleep(1)

    // --- conservation -------------------------------------------------------

    const holds = Effect.map(coordinator.metrics, (metrics) => {
      const { cancelled, capacity, depth, failed, held, inFlight, offered, refused, settled, succeeded, waiting } =
        metrics
      if (
        offered !== refused + cancelled + settled + held || settled !== succeeded + failed
        || held !== waiting + depth + inFlight
      ) {
        violated(`the counts do not add up: ${JSON.stringify(metrics)}`)
      }
      if (depth > capacity) violated(`${depth} wait in a queue of ${capacity}`)
      if (capacity !== options.capacity) violated("the size of the queue has changed")
      return metrics
    })
    const sampler = yield* Effect.fork(Effect.gen(function*() {
      for (let burst = 0; burst < 10; burst++) {
        for (let i = 0; i < 8; i++) {
          yield* holds
          yield* Effect.yieldNow()
        }
        yield* Effect.sleep(1 + burst)
      }
    }))

    // --- writes -------------------------------------------------------------

    const known = new Map<number, Known>()
    const strayed: Array<Fiber.Fiber<unknown, unknown>> = []
    const leftBehind: Array<Deferred.Deferred<void>> = []
    const last = Effect.map(
      sql<{ at: number | null }>`SELECT max(at) AS at FROM log`,
      ([row]) => row.at
    )
    const read = ({ counter }: Plan) =>
      Effect.map(sql<{ value: number }>`SELECT value FROM counters WHERE id = ${counter}`, ([{ value }]) => value)

    const statement = (plan: Plan): Statement.Statement<Row> => {
      if (plan.ending === "fails") return sql<Row>`INSERT INTO log (write, step, value) VALUES (${plan.id}, 0, NULL)`
      if (plan.ending === "ends the transaction") return sql<Row>`INSERT OR ROLLBACK INTO taken VALUES (1)`
      if (plan.ending === "breaks the commit") return sql<Row>`INSERT INTO dangling VALUES (1)`
      return sql<Row>`
        INSERT INTO log (write, step, value) SELECT ${plan.id}, 0, value FROM counters WHERE id = ${plan.counter}
        RETURNING value`
    }
    const end = (plan: Plan): Effect.Effect<unknown, unknown> => {
      switch (plan.ending) {
        case "succeeds":
          return Effect.void
        case "fails":
          return Effect.fail("own failure")
        case "dies":
          return Effect.die("a bug")
        case "interrupts itself":
          return Effect.interrupt
        case "hangs":
          return Effect.never
        case "outlives its time":
          return Effect.uninterruptible(Effect.gen(function*() {
            yield* Effect.sleep(writeTimeout + 1 + (plan.id % 3) * 20)
            const exit = yield* Effect.exit(sql`INSERT INTO log (write, step, value) VALUES (${plan.id}, 99, 0)`)
            if (Exit.isSuccess(exit)) violated(`write ${plan.id} wrote after its time was over`)
          }))
        case "ends the transaction":
          return sql`INSERT OR ROLLBACK INTO taken VALUES (1)`
        case "ends the transaction and hides it":
          return Effect.ignore(sql`INSERT OR ROLLBACK INTO taken VALUES (1)`)
        case "breaks the commit":
          return sql`INSERT INTO dangling VALUES (1)`
      }
    }
    const body = (plan: Plan): Effect.Effect<Answer, unknown> =>
      Effect.gen(function*() {
        known.get(plan.id)!.runs += 1
        if (closing && byId.has(plan.id)) begunLate += 1
        yield* holds
        let value = yield* read(plan)
        let at = yield* last
        for (const [step, pause] of plan.pauses.entries()) {
          yield* pausing(pause)
          if ((yield* last) !== at || (yield* read(plan)) !== value) {
            violated(`write ${plan.id} saw a statement of another between its own`)
          }
          value = following(value, plan)
          yield* sql`UPDATE counters SET value = ${value} WHERE id = ${plan.counter}`
          yield* sql`INSERT INTO log (write, step, value) VALUES (${plan.id}, ${step}, ${value})`
          at = yield* last
          if (step === 0 && plan.strays) yield* stray(plan)
        }
        const nested: Array<Answer | undefined> = []
        for (const inner of plan.nested) {
          known.set(inner.id, { runs: 0, exit: undefined, runsWhenTold: 0, late: false })
          const exit = yield* Effect.exit(submit(inner))
          const tag = tagOf(exit)
          const wanted = inner.ending === "succeeds"
            ? "success"
            : inner.ending === "fails"
            ? inner.single ? "SqlError" : "own failure"
            : "WriteDied"
          // The time of the write around it may be over before this one begins.
          const cutOff = setting.slow === true && tag === "TransactionEnded"
          if (tag !== wanted && !cutOff) {
            violated(`the nested write ${inner.id} ${inner.ending}, but its caller got ${tag}`)
          }
          nested.push(Exit.isSuccess(exit) ? exit.value : undefined)
        }
        yield* end(plan)
        yield* holds
        return { value, nested }
      })
    // It tries to write at random times, also after its write has ended.
    const stray = (plan: Plan) =>
      Effect.gen(function*() {
        const ended = yield* Deferred.make<void>()
        leftBehind.push(ended)
        const attempt = sql`
          INSERT INTO strays SELECT ${plan.id}, (SELECT write FROM log ORDER BY at DESC LIMIT 1)`
        const tries = Effect.gen(function*() {
          for (let i = 0; i < 4; i++) {
            const nested = chance(0.3)
            yield* Effect.ignore(nested ? sql.withTransaction(attempt) : attempt)
            yield* pausing(pick([undefined, 0, 1, 3]))
          }
        })
        strayed.push(yield* Effect.forkDaemon(tries))
      })
    const submit = (plan: Plan): Effect.Effect<Answer, unknown> => {
      const written = { name: plan.announced ? "told" : "silent", payload: plan.id, retryable: plan.retryable }
      return plan.single
        ? Effect.map(coordinator.submit(statement(plan), written), ([row]) => ({ value: row.value, nested: [] }))
        : coordinator.submit(body(plan), written)
    }

    // --- callers ------------------------------------------------------------

    const told = (plan: Plan, exit: Exit.Exit<unknown, unknown>) => {
      const of = known.get(plan.id)!
      of.exit = exit
      of.runsWhenTold = of.runs
      if (tagOf(exit) === "CoordinatorClosed" && !closing) {
        violated(`write ${plan.id} was refused by a coordinator that is open`)
      }
    }
    const call = (plan: Plan) =>
      Effect.gen(function*() {
        known.set(plan.id, { runs: 0, exit: undefined, runsWhenTold: 0, late: closed })
        const fiber = yield* Effect.fork(Effect.onExit(submit(plan), (exit) => Effect.sync(() => told(plan, exit))))
        const ended = yield* Effect.fork(Fiber.await(fiber))
        if (plan.interruptedAfter !== undefined) {
          yield* Effect.fork(Effect.zipRight(pausing(plan.interruptedAfter), Fiber.interrupt(fiber)))
        }
        return ended
      })
    const submitter = (mine: ReadonlyArray<Plan>, index: number) =>
      Effect.gen(function*() {
        const ended: Array<Fiber.Fiber<unknown, unknown>> = []
        for (const plan of mine) {
          const answered = yield* call(plan)
          ended.push(answered)
          // By the time that the clock has moved the write is in the queue: the next one comes after it.
          if (sequential[index]) yield* Fiber.await(answered)
          else yield* Effect.sleep(1 + below(3))
          yield* holds
        }
        yield* Effect.forEach(ended, Fiber.await, { discard: true })
      })
    const callers = yield* Effect.fork(Effect.forEach(submitters, submitter, { concurrency: "unbounded" }))
    /** Those that are in the coordinator for sure when it closes, unless they have ended. */
    let inside: ReadonlyArray<number> = []
    if (closesAfter === undefined) yield* Fiber.join(callers)
    else {
      yield* Effect.sleep(closesAfter)
      inside = [...known.keys()]
      yield* Effect.sleep(1)
    }
    const { inFlight } = yield* holds
    closing = true
    yield* Scope.close(scope, Exit.void)
    closed = true
    yield* holds
    yield* Fiber.join(callers)
    yield* Fiber.join(sampler)
    yield* Fiber.join(listening)
    yield* Effect.forEach(strayed, Fiber.await, { discard: true })
    // What outlives its time tries to write until then.
    yield* Effect.sleep(writeTimeout * 5)

    // --- the verdict --------------------------------------------------------

    const metrics = yield* holds
    if (metrics.depth + metrics.inFlight + metrics.waiting > 0) violated("something is left in the coordinator")
    const log = yield* sql<Row & { readonly at: number }>`SELECT at, write, step, value FROM log ORDER BY at`
    const values = yield* sql<{ value: number }>`SELECT value FROM counters ORDER BY id`

    const order = [...new Set(log.map(({ write }) => write))].filter((id) => byId.has(id)).map((id) => byId.get(id)!)
    const world: World = { counters: Array.from({ length: counters }, (_, id) => id), log: [] }
    const answers = new Map(order.map((plan) => [plan.id, serially(world, plan)]))
    const text = (value: unknown) => JSON.stringify(value)
    const logged = log.map(({ step, value, write }) => ({ write, step, value }))
    if (text(logged) !== text(world.log)) {
      violated(`the log is not that of any serial order: ${text(logged)} instead of ${text(world.log)}`)
    }
    if (text(values.map(({ value }) => value)) !== text(world.counters)) {
      violated("the counters are not those of the log")
    }

    const tags: Array<string> = []
    let onceMore = 0
    const groupsFail = plans.some(({ ending }) => ending === "breaks the commit" || ending.startsWith("ends the trans"))
    for (const plan of plans) {
      const of = known.get(plan.id)
      // Its submitter was sequential, and still waits? Then this run would be a deadlock.
      if (of?.exit === undefined) {
        // A fiber that is interrupted before its first step tells nobody.
        if (of !== undefined && of.runs > 0) violated(`write ${plan.id} has run, but nobody was told`)
        continue
      }
      const tag = tagOf(of.exit)
      tags.push(tag)
      const isIn = answers.has(plan.id)
      const wrong = (what: string) => violated(`write ${plan.id} (${text(plan)}) ${what}; its caller got ${tag}`)
      if (isIn && plan.ending !== "succeeds") wrong("is in the database although it failed")
      if (tag === "success" && !isIn) wrong("is not in the database")
      if (tag !== "success" && tag !== "interrupted" && isIn) wrong("is in the database")
      if (Exit.isSuccess(of.exit) && text(of.exit.value) !== text(answers.get(plan.id))) {
        wrong(`answers ${text(of.exit.value)} instead of ${text(answers.get(plan.id))}`)
      }
      if (!plan.single) {
        if (isIn && of.runs === 0) wrong("is in the database but never began")
        if (of.runs > (plan.retryable && groupsFail ? 2 : 1)) wrong(`ran ${of.runs} times`)
        if (of.runs === 2) onceMore += 1
        if (of.runs !== of.runsWhenTold) wrong("ran after its caller was told")
        if (tag === "CoordinatorClosed" && of.runs > (plan.retryable && groupsFail ? 1 : 0)) wrong("ran")
        const undisturbed = closesAfter === undefined && setting.slow !== true && !groupsFail
        if (undisturbed && plan.ending === "succeeds" && of.runs === 1 && !isIn) wrong("began, and is not there")
      }
      if (of.late && !["CoordinatorClosed", "interrupted"].includes(tag)) wrong("was submitted after the closing")
      const drains = setting.slow !== true && options.drain === true && options.drainTimeout === 10_000
      if (drains && inside.includes(plan.id) && tag === "CoordinatorClosed") wrong("was not drained")
      const allowed = expected(plan, setting, closesAfter !== undefined, groupsFail)
      if (!allowed.includes(tag)) wrong(`should end with ${allowed.join(" or ")}`)
    }
    for (const mine of submitters) {
      const ids = mine.filter(({ id }) => answers.has(id)).map(({ id }) => id)
      const ran = order.filter(({ submitter }) => submitter === mine[0].submitter).map(({ id }) => id)
      if (setting.slow !== true && text(ids) !== text(ran)) violated(`one submitter's writes ran as ${text(ran)}`)
    }
    // The group in progress, or one that was taken in the very moment.
    if (options.drain !== true && begunLate > Math.max(inFlight, options.batchSize!)) {
      violated(`${begunLate} writes began after the closing`)
    }
    const count = (tag: string) => tags.filter((one) => one === tag).length
    if (metrics.succeeded !== order.length) violated(`${metrics.succeeded} have succeeded, ${order.length} in the log`)
    if (metrics.cancelled > count("interrupted")) violated("more are cancelled than callers were interrupted")
    if (metrics.offered > plans.length) violated("more are offered than there are")

    // --- what was announced ---------------------------------------------------

    const announcing = order.flatMap((plan): ReadonlyArray<number> => {
      const committed = (inner: Plan): ReadonlyArray<Plan> => [
        ...inner.nested.filter(({ ending }) => ending === "succeeds").flatMap(committed),
        inner
      ]
      return committed(plan).filter(({ announced }) => announced).map(({ id }) => id)
    })
    const payloads = heard.map(({ payload }) => payload)
    if (text(payloads) !== text(announcing)) violated(`${text(payloads)} were announced instead of ${text(announcing)}`)
    if (heard.some(({ sequence }, i) => sequence !== i + 1)) violated("the sequence of the changes has gaps")
    if (heard.some(({ name, topic }) => name !== "told" || topic !== "topic of told")) violated("a topic is wrong")
    if (heard.some(({ atMillis }, i) => i > 0 && atMillis < heard[i - 1].atMillis)) violated("time runs back")

    // --- what was left behind ---------------------------------------------------

    const written = yield* sql<{ write: number; last: number }>`SELECT write, last FROM strays`
    const family = (plan: Plan): ReadonlyArray<number> => [plan.id, ...plan.nested.flatMap(family)]
    for (const { last, write } of written) {
      const root = plans.find((plan) => family(plan).includes(write))!
      if (!answers.has(root.id)) violated(`a fiber that write ${write} left behind wrote, but that was rolled back`)
      if (!family(root).includes(last)) violated(`a fiber that write ${write} left behind wrote into write ${last}`)
    }
    const outcome: Outcome = { violations, tags, metrics, rerun: onceMore, announced: heard.length }
    return outcome
  }).pipe(
    Effect.provide(SqliteStore.layer({ filename: setting.filename?.() ?? ":memory:", durable: false }))
  )
}

/** How a write may end for its caller. */
const expected = (plan: Plan, setting: Setting, closes: boolean, groupsFail: boolean): ReadonlyArray<string> => {
  const own: Record<Ending, ReadonlyArray<string>> = {
    "succeeds": ["success"],
    "fails": [plan.single ? "SqlError" : "own failure"],
    "dies": ["WriteDied"],
    "interrupts itself": ["WriteDied"],
    "hangs": ["WriteTimeout"],
    "outlives its time": ["WriteTimeout"],
    "ends the transaction": ["SqlError"],
    "ends the transaction and hides it": ["TransactionEnded"],
    "breaks the commit": ["TransactionFailed", ...(groupsFail ? ["TransactionEnded"] : [])]
  }
  return [
    ...own[plan.ending],
    // A write that may run again does so alone, and then only fails by itself.
    ...(groupsFail && plan.ending === "succeeds" && !plan.retryable ? ["TransactionEnded", "TransactionFailed"] : []),
    ...(plan.interruptedAfter === undefined ? [] : ["interrupted"]),
    ...(closes ? ["CoordinatorClosed"] : []),
    // Cut off by the end of the drain, or by the clock.
    ...((closes || setting.slow === true) && !plan.single ? ["WriteTimeout"] : [])
  ]
}

// -----------------------------------------------------------------------------
// running
// -----------------------------------------------------------------------------

const check = ({ exit, leftFibers, leftTimers }: SeededRun.Run<Outcome, unknown>) => {
  if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
  if (exit.value.violations.length > 0) throw new Error(exit.value.violations.join("\n"))
  expect(leftFibers).toEqual([])
  expect(leftTimers).toBe(0)
}

/** Runs many seeds, and answers how often each thing has happened: the programs must reach them. */
const outcomesOf = async (setting: Setting, options: Campaign): Promise<ReadonlyMap<string, number>> => {
  const seen = new Map<string, number>()
  const count = (what: string, times: number) => seen.set(what, (seen.get(what) ?? 0) + times)
  const summary = await forSeeds(program(setting), options, (run) => {
    check(run)
    if (Exit.isFailure(run.exit)) return
    const { announced, metrics, rerun, tags } = run.exit.value
    for (const tag of tags) count(tag, 1)
    count("rerun", rerun)
    count("announced", announced)
    count("cancelled", metrics.cancelled)
  })
  count("schedules", summary.schedules)
  return seen
}

/** The programs are only worth something while they reach every outcome. */
const reached = (seen: ReadonlyMap<string, number>, times: Readonly<Record<string, number>>) => {
  const seldom = Object.entries(times).filter(([what, times]) => (seen.get(what) ?? 0) < atLeast(times))
  expect(seldom.map(([what]) => [what, seen.get(what) ?? 0])).toEqual([])
}

/** Those that hurt nobody but themselves. */
const inTime: ReadonlyArray<Ending> = ["succeeds", "fails", "dies", "interrupts itself"]

const isolated: ReadonlyArray<Ending> = [...inTime, "hangs", "outlives its time"]

// A run under a schedule cannot wait for it.
beforeAll(() => Effect.runPromise(loadDriver))

describe("what was committed is what running the same writes one after another gives", () => {
  it.each([
    ["seldom", 0.02],
    ["often", 0.3]
  ])("where fibers give way %s, and each caller is told what became of its write", async (_, yieldProbability) => {
    const seen = await outcomesOf({ endings: isolated }, { runs: 200, yieldProbability })
    reached(seen, {
      success: 400,
      interrupted: 100,
      cancelled: 50,
      WriteDied: 100,
      "own failure": 50,
      SqlError: 10,
      announced: 300,
      schedules: 190
    })
  })

  it("whenever the coordinator is closed: a write that waits is run or refused, and none hangs", async () => {
    const seen = await outcomesOf({ endings: isolated, closesEarly: true }, {
      runs: 300,
      yieldProbability: 0.1,
      seed: 10_001
    })
    reached(seen, { success: 300, CoordinatorClosed: 120, interrupted: 100, schedules: 290 })
  })

  it(
    "where a commit fails: all of its group is told and rolled back, what may run again does, and so do the others",
    async () => {
      const seen = await outcomesOf({ endings: [...isolated, "breaks the commit"] }, {
        runs: 200,
        yieldProbability: 0.1,
        seed: 20_001
      })
      reached(seen, { success: 300, TransactionFailed: 50, rerun: 20, schedules: 190 })
    }
  )

  it("in a file as in memory", async () => {
    const directory = mkdtempSync(join(tmpdir(), "sluice-laws-"))
    let files = 0
    try {
      const setting: Setting = {
        endings: [...isolated, "breaks the commit"],
        closesEarly: true,
        filename: () => join(directory, `${files++}.db`)
      }
      reached(await outcomesOf(setting, { runs: 25, yieldProbability: 0.1, seed: 30_001 }), {
        success: 20,
        schedules: 24
      })
    } finally {
      rmSync(directory, { recursive: true })
    }
  })

  it(
    "where a write outlives its time: it is refused from then on, and those after it have their own time",
    async () => {
      const seen = await outcomesOf({ endings: isolated }, {
        runs: 100,
        yieldProbability: 0.1,
        seed: 40_001
      })
      reached(seen, { success: 150, WriteTimeout: 60, schedules: 95 })
    }
  )

  it.each<[string, Ending]>([
    ["ends the transaction", "ends the transaction"],
    ["ends the transaction and does not say so", "ends the transaction and hides it"]
  ])(
    "where a write %s: its group is told and rolled back, and those that had not begun run next",
    async (_, ending) => {
      const seen = await outcomesOf({ endings: [...isolated, ending] }, {
        runs: 100,
        yieldProbability: 0.1,
        seed: 50_001
      })
      reached(seen, { success: 150, TransactionEnded: 5, schedules: 95 })
    }
  )

  it("and what is announced is in the order in which it was written, also from within a write", async () => {
    const seen = await outcomesOf({ endings: isolated, nestedAnnounced: true }, {
      runs: 100,
      yieldProbability: 0.1,
      seed: 60_001
    })
    reached(seen, { announced: 150, schedules: 95 })
  })

  it("although fibers are left behind that go on writing while their write ends", async () => {
    const seen = await outcomesOf({ endings: isolated, strays: true }, {
      runs: 100,
      yieldProbability: 0.1,
      seed: 70_001
    })
    reached(seen, { success: 150, schedules: 95 })
  })

  it("on a machine that is too slow, where any write may take too long", async () => {
    const savepoints = (seed: number) =>
      withCoordinator({ linger: 1, writeTimeout: 60 }, (sql, coordinator) => {
        const { below } = choices(seed)
        const write = Effect.uninterruptible(Effect.forEach(
          Array.from({ length: 1 + below(3) }, (_, n) => n),
          (n) => sql.withTransaction(sql.withTransaction(sql`INSERT INTO log (write, step, value) VALUES (${n}, 0, 0)`))
        ))
        return Effect.forEach(
          [1, 2, 3],
          () => Effect.map(Effect.exit(coordinator.submit(write, { name: "write" })), tagOf),
          { concurrency: "unbounded" }
        )
      })
    await forSeeds(savepoints, { runs: 300, yieldProbability: 0.1, timerProbability: 0.02 }, (run) => {
      for (const tag of successful(run)) expect(["success", "WriteTimeout"]).toContain(tag)
    })
    const seen = await outcomesOf({ endings: inTime, slow: true }, {
      runs: 150,
      yieldProbability: 0.1,
      timerProbability: 0.03,
      seed: 80_001
    })
    reached(seen, { success: 100, WriteTimeout: 100, schedules: 145 })
  })

  // All of the above.
  it("with everything at once", async () => {
    const all: Setting = {
      endings: [
        ...isolated,
        "ends the transaction",
        "ends the transaction and hides it",
        "breaks the commit"
      ],
      closesEarly: true,
      nestedAnnounced: true,
      strays: true
    }
    reached(await outcomesOf(all, { runs: 150, yieldProbability: 0.2, seed: 90_001 }), { success: 50, schedules: 145 })
  })
})

// -----------------------------------------------------------------------------
// order
// -----------------------------------------------------------------------------

/** A database with the schema, and a coordinator whose scope ends with the program. */
const withCoordinator = <A, E>(
  options: Partial<WriteCoordinator.Options>,
  use: (
    sql: SqlClient.SqlClient,
    coordinator: WriteCoordinator.WriteCoordinator
  ) => Effect.Effect<A, E, SqlTransaction.SqlTransaction | Scope.Scope>,
  store: SqliteStore.Options = { filename: ":memory:" }
) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* makeSchema
    return yield* Effect.scoped(
      Effect.flatMap(WriteCoordinator.make({ name: "writes", ...options }), (coordinator) => use(sql, coordinator))
    )
  }).pipe(Effect.provide(SqliteStore.layer({ durable: false, ...store })))

const successful = <A>({ exit, leftFibers, leftTimers, seed }: SeededRun.Run<A, unknown>): A => {
  if (Exit.isFailure(exit)) throw new Error(`seed ${seed}: ${Cause.pretty(exit.cause)}`)
  expect({ seed, leftFibers, leftTimers }).toEqual({ seed, leftFibers: [], leftTimers: 0 })
  return exit.value
}

describe("the order of writes", () => {
  it("is that of their submission, over all submitters and also for those who waited for room", async () => {
    const ordered = (seed: number) => {
      const { below, chance } = choices(seed)
      return withCoordinator(
        { capacity: 1 + below(4), batchSize: 1 + below(4), linger: below(3) },
        (sql, coordinator) =>
          Effect.gen(function*() {
            const submitted: Array<number> = []
            const begun: Array<number> = []
            yield* Effect.forEach(Array.from({ length: 6 }, (_, submitter) => submitter), (submitter) =>
              Effect.forEach(
                Array.from({ length: 5 }, (_, n) => n),
                (n) =>
                  Effect.gen(function*() {
                    const id = submitter * 100 + n
                    const write = Effect.gen(function*() {
                      begun.push(id)
                      if (chance(0.5)) {
                        yield* Effect.sleep(1 + below(3))
                      }
                      yield* sql`INSERT INTO log (write, step, value) VALUES (${id}, 0, 0)`
                      if (chance(0.2)) yield* Effect.fail("own failure")
                    })
                    if (chance(0.5)) yield* Effect.sleep(below(4))
                    // Without fibers that give way this is one step with the submission.
                    yield* Effect.ignore(Effect.suspend(() => {
                      submitted.push(id)
                      return coordinator.submit(write, { name: "write" })
                    }))
                  })
              ), { concurrency: "unbounded" })
            return {
              submitted,
              begun,
              log: (yield* sql<Row>`SELECT write FROM log ORDER BY at`).map(({ write }) => write)
            }
          })
      )
    }
    await forSeeds(ordered, { runs: 100, yieldProbability: 0 }, (run) => {
      const { begun, log, submitted } = successful(run)
      expect(submitted).toHaveLength(30)
      expect(begun).toEqual(submitted)
      expect(log).toEqual(submitted.filter((id) => log.includes(id)))
    })
  })

  it("is that of the announcements, also of writes in transactions of their callers", async () => {
    const announced = (seed: number) => {
      const { below } = choices(seed)
      return withCoordinator({ batchSize: 2 }, (sql, coordinator) =>
        Effect.gen(function*() {
          const heard: Array<unknown> = []
          yield* Effect.forkScoped(Stream.runForEach(coordinator.changes, (change) =>
            Effect.sync(() => {
              if ("topic" in change) heard.push(change.payload)
            })))
          yield* Effect.sleep(1)
          yield* Effect.forEach(Array.from({ length: 8 }, (_, id) => id), (id) => {
            const write = coordinator.submit(
              sql`INSERT INTO log (write, step, value) VALUES (${id}, 0, 0)`,
              { name: "write", payload: id }
            )
            return Effect.zipRight(Effect.sleep(below(3)), id % 2 === 0 ? write : sql.withTransaction(write))
          }, { concurrency: "unbounded" })
          yield* Effect.sleep(1)
          return { heard, log: (yield* sql<Row>`SELECT write FROM log ORDER BY at`).map(({ write }) => write) }
        }))
    }
    await forSeeds(announced, { runs: 200, yieldProbability: 0.01 }, (run) => {
      const { heard, log } = successful(run)
      expect(heard).toHaveLength(8)
      expect(heard).toEqual(log)
    })
  })
})

// -----------------------------------------------------------------------------
// interruption
// -----------------------------------------------------------------------------

describe("an interruption", () => {
  it("of a write inside a write leaves it announced if it is committed, and not otherwise", async () => {
    const nested = (seed: number) => {
      const { below } = choices(seed)
      return withCoordinator({}, (sql, coordinator) =>
        Effect.gen(function*() {
          const heard: Array<unknown> = []
          yield* Effect.forkScoped(Stream.runForEach(coordinator.changes, (change) =>
            Effect.sync(() => {
              if ("topic" in change) heard.push(change.payload)
            })))
          yield* Effect.sleep(1)
          const insert = (id: number) =>
            coordinator.submit(
              sql`INSERT INTO log (write, step, value) VALUES (${id}, 0, 0)`,
              { name: "write", payload: id }
            )
          const outer = Effect.gen(function*() {
            const inner = yield* Effect.fork(insert(1))
            for (let i = below(60); i > 0; i--) yield* Effect.yieldNow()
            yield* Fiber.interrupt(inner)
          })
          yield* coordinator.submit(outer, { name: "outer", payload: 0 })
          yield* Effect.sleep(1)
          const log = yield* sql<Row>`SELECT write FROM log`
          return { heard: heard.filter((id) => id !== 0), log: log.map(({ write }) => write) }
        }))
    }
    const stored = { no: 0, yes: 0 }
    await forSeeds(nested, { runs: 300, yieldProbability: 0.2 }, (run) => {
      const { heard, log } = successful(run)
      stored[log.length === 0 ? "no" : "yes"] += 1
      expect(heard).toEqual(log)
    })
    expect(Math.min(stored.no, stored.yes)).toBeGreaterThanOrEqual(atLeast(20))
  })

  it("takes a write out that has not begun, although its group has", () => {
    const run = SeededRun.run(
      withCoordinator({ linger: 5 }, (sql, coordinator) =>
        Effect.gen(function*() {
          const write = (id: number) =>
            coordinator.submit(
              Effect.zipRight(sql`INSERT INTO log (write, step, value) VALUES (${id}, 0, 0)`, Effect.sleep(10)),
              { name: "write" }
            )
          const callers = yield* Effect.forEach(
            [0, 1, 2],
            (id) => Effect.zipLeft(Effect.fork(write(id)), Effect.sleep(1))
          )
          yield* Effect.sleep(5)
          const { inFlight } = yield* coordinator.metrics
          yield* Fiber.interrupt(callers[1])
          yield* Fiber.join(callers[2])
          return { inFlight, log: (yield* sql<Row>`SELECT write FROM log ORDER BY at`).map(({ write }) => write) }
        })),
      { seed: 1 }
    )
    expect(successful(run)).toEqual({ inFlight: 3, log: [0, 2] })
  })

  it("of a caller does not reach the write that it submits while it is being wound up", async () => {
    const windingUp = withCoordinator({}, (sql, coordinator) =>
      Effect.gen(function*() {
        const last = sql.withTransaction(sql`INSERT INTO log (write, step, value) VALUES (1, 0, 0)`)
        const fiber = yield* Effect.fork(
          Effect.onInterrupt(Effect.never, () => Effect.orDie(coordinator.submit(last, { name: "last words" })))
        )
        yield* Effect.sleep(1)
        yield* Fiber.interrupt(fiber)
        return yield* sql<Row>`SELECT write FROM log`
      }))
    await forSeeds(() => windingUp, { runs: 50, yieldProbability: 0.2 }, (run) => {
      expect(successful(run)).toEqual([{ write: 1 }])
    })
  })
})

// -----------------------------------------------------------------------------
// a lock of somebody else
// -----------------------------------------------------------------------------

describe("a lock of another process", () => {
  const locked = (
    program: (
      sql: SqlClient.SqlClient,
      coordinator: WriteCoordinator.WriteCoordinator,
      foreign: { readonly begin: () => void; readonly end: () => void }
    ) => Effect.Effect<unknown, unknown, Scope.Scope>
  ) => {
    const directory = mkdtempSync(join(tmpdir(), "sluice-laws-"))
    const filename = join(directory, "a.db")
    try {
      return SeededRun.run(
        withCoordinator(
          {},
          (sql, coordinator) => {
            const other = new Database(filename)
            const foreign = {
              begin: () => void other.exec("BEGIN IMMEDIATE"),
              end: () => void other.exec("ROLLBACK")
            }
            return Effect.ensuring(program(sql, coordinator, foreign), Effect.sync(() => other.close()))
          },
          { filename, busyTimeout: 50 }
        ),
        { seed: 1 }
      )
    } finally {
      rmSync(directory, { recursive: true })
    }
  }
  const insert = (sql: SqlClient.SqlClient, coordinator: WriteCoordinator.WriteCoordinator, id: number) =>
    Effect.exit(
      coordinator.submit(sql`INSERT INTO log (write, step, value) VALUES (${id}, 0, 0)`, { name: "write" })
    )

  it("makes those fail who have waited for it too long, and the group after them works", () => {
    const run = locked((sql, coordinator, foreign) =>
      Effect.gen(function*() {
        foreign.begin()
        const first = yield* Effect.fork(insert(sql, coordinator, 1))
        const exit = yield* Fiber.join(first)
        foreign.end()
        return [tagOf(exit), tagOf(yield* insert(sql, coordinator, 2)), yield* sql`SELECT write FROM log`]
      })
    )
    expect(successful(run)).toEqual(["StoreUnavailable", "success", [{ write: 2 }]])
  })

  it("is waited for anew by those who came later", () => {
    const run = locked((sql, coordinator, foreign) =>
      Effect.gen(function*() {
        foreign.begin()
        const first = yield* Effect.fork(insert(sql, coordinator, 1))
        yield* Effect.sleep(40)
        const second = yield* Effect.fork(insert(sql, coordinator, 2))
        const exit = yield* Fiber.join(first)
        foreign.end()
        return [tagOf(exit), tagOf(yield* Fiber.join(second)), yield* sql`SELECT write FROM log`]
      })
    )
    expect(successful(run)).toEqual(["StoreUnavailable", "success", [{ write: 2 }]])
  })
})

// -----------------------------------------------------------------------------
// nothing is left behind
// -----------------------------------------------------------------------------

describe("nothing is left behind", () => {
  it("by coordinators that were opened and closed, each with a write that runs and one that hangs", () => {
    const coordinators = campaign(1_000)
    const program = Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* makeSchema
      for (let i = 0; i < coordinators; i++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const coordinator = yield* WriteCoordinator.make({ name: "writes", drainTimeout: i % 3, linger: i % 2 })
          yield* Effect.forkScoped(Stream.runDrain(coordinator.changes))
          yield* coordinator.submit(
            sql`INSERT INTO log (write, step, value) VALUES (${i}, 0, 0)`,
            { name: "write" }
          )
          if (i % 5 === 0) {
            yield* Effect.forkDaemon(Effect.exit(coordinator.submit(Effect.never, { name: "hangs" })))
            yield* Effect.sleep(3)
          }
        }))
      }
      return yield* sql<{ stored: number }>`SELECT count(*) AS stored FROM log`
    }).pipe(Effect.provide(SqliteStore.layer({ filename: ":memory:" })))
    const run = SeededRun.run(program, { seed: 1, maxSteps: 10_000_000 })
    expect(successful(run)).toEqual([{ stored: coordinators }])
  })

  it("by files that were opened, written through a coordinator, and closed", () => {
    const directory = mkdtempSync(join(tmpdir(), "sluice-laws-"))
    const handles = () => existsSync("/proc/self/fd") ? readdirSync("/proc/self/fd").length : 0
    const open = (i: number) =>
      SeededRun.run(
        withCoordinator({}, (sql, coordinator) =>
          coordinator.submit(sql`INSERT INTO log (write, step, value) VALUES (${i}, 0, 0)`, { name: "write" }), {
          filename: join(directory, `${i}.db`)
        }),
        { seed: i }
      )
    try {
      successful(open(0))
      const before = { handles: handles(), resources: process.getActiveResourcesInfo().length }
      for (let i = 1; i <= campaign(100); i++) successful(open(i))
      // Three of each were left by one file that was not closed.
      expect(handles()).toBeLessThan(before.handles + 10)
      expect(process.getActiveResourcesInfo().length).toBeLessThanOrEqual(before.resources)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })

  it("by a thousand writes that fail: the counts add up, and the next write is stored", () => {
    const program = withCoordinator(
      { capacity: 20, batchSize: 7, writeTimeout: 10 },
      (sql, coordinator) =>
        Effect.gen(function*() {
          const tables = sql`INSERT INTO log (write, step, value) VALUES (0, 0, 0)`
          const failing: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
            sql`INSERT INTO log (write, step, value) VALUES (0, 0, NULL)`,
            sql`INSERT INTO nowhere VALUES (0)`,
            Effect.zipRight(tables, Effect.fail("own failure")),
            Effect.zipRight(tables, Effect.die("a bug")),
            Effect.zipRight(tables, Effect.interrupt),
            Effect.zipRight(sql.withTransaction(tables), sql.withTransaction(Effect.fail("own failure"))),
            Effect.zipRight(tables, coordinator.submit(Effect.fail("own failure"), { name: "nested" })),
            Effect.zipRight(tables, sql`INSERT INTO dangling VALUES (1)`),
            Effect.zipRight(tables, Effect.never)
          ]
          const exits = yield* Effect.forEach(
            Array.from({ length: 1_000 }, (_, i) => failing[i % failing.length]),
            (write) => Effect.exit(coordinator.submit(write, { name: "fails" })),
            { concurrency: "unbounded" }
          )
          const { batches: groups, ...metrics } = yield* coordinator.metrics
          yield* coordinator.submit(sql.withTransaction(tables), { name: "works" })
          // Refused inside a transaction: none was left open.
          yield* sql.withTransaction(tables)
          return {
            successes: exits.filter(Exit.isSuccess).length,
            metrics,
            groups: groups > 0,
            stored: (yield* sql<{ stored: number }>`SELECT count(*) AS stored FROM log`)[0].stored
          }
        })
    )
    const run = SeededRun.run(program, { seed: 1, maxSteps: 10_000_000 })
    expect(successful(run)).toEqual({
      successes: 0,
      metrics: {
        name: "writes",
        offered: 1_000,
        refused: 0,
        cancelled: 0,
        settled: 1_000,
        succeeded: 0,
        failed: 1_000,
        held: 0,
        depth: 0,
        inFlight: 0,
        waiting: 0,
        capacity: 20
      },
      groups: true,
      stored: 2
    })
  })
})
