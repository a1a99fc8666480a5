import { SqlClient } from "@effect/sql"
import type * as SeededRun from "@sluice/core/testing/SeededRun"
import * as SeededScheduler from "@sluice/core/testing/SeededScheduler"
import { Cause, Deferred, Effect, Exit, Fiber } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { beforeAll, describe, expect, it } from "vitest"
import * as SqliteStore from "../src/SqliteStore.ts"
import * as SqlTransaction from "../src/SqlTransaction.ts"
import { atLeast, type Campaign, forSeeds } from "../../core/test/support/campaigns.ts"
import { loadDriver } from "./database.ts"

// Random transactions with savepoints, failures and interruptions, under many schedules. The table `log` has what is
// committed, in the order in which it was written. Each row says which value a counter got, and that follows from the
// value before: a lost update, a statement in between, or a row that should not be there breaks the chain.

interface Plan {
  readonly id: number
  readonly counter: number
  /** What it does before each of its steps: nothing, give way (0), or sleep so many milliseconds. */
  readonly pauses: ReadonlyArray<number | undefined>
  readonly ending: "succeeds" | "fails" | "dies" | "interrupts itself"
  /** Savepoints, after the steps. */
  readonly inside: ReadonlyArray<Plan>
  /** Whether those are forked, and all of them run at once. */
  readonly atOnce: boolean
  /** After how many milliseconds it is interrupted. */
  readonly interruptedAfter: number | undefined
  /** Through the function, or through the client. */
  readonly ofClient: boolean
}

interface Row {
  readonly write: number
  readonly step: number
  readonly value: number
}

interface Setting {
  /** Whether transactions leave fibers behind that go on writing while they end. */
  readonly strays?: boolean
  readonly filename?: () => string
}

/** Neither commutes nor associates: two transactions in another order, or interleaved, come out differently. */
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

const plansOf = ({ below, chance, pick }: ReturnType<typeof choices>): ReadonlyArray<ReadonlyArray<Plan>> => {
  let id = 1
  const plan = (depth: number): Plan => ({
    id: id++,
    counter: below(counters),
    pauses: Array.from({ length: 1 + below(3) }, () => pick([undefined, undefined, 0, 0, 1 + below(4)])),
    ending: chance(0.7) ? "succeeds" : pick(["fails", "dies", "interrupts itself"]),
    inside: depth < 3 && chance(0.45) ? Array.from({ length: 1 + below(3) }, () => plan(depth + 1)) : [],
    atOnce: chance(0.5),
    interruptedAfter: chance(0.2) ? below(12) : undefined,
    ofClient: chance(0.5)
  })
  return Array.from({ length: 1 + below(5) }, () => Array.from({ length: 1 + below(3) }, () => plan(0)))
}

const schema = [
  "CREATE TABLE counters (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
  "CREATE TABLE log (at INTEGER PRIMARY KEY, write INTEGER NOT NULL, step INTEGER NOT NULL, value INTEGER NOT NULL)",
  "CREATE TABLE strays (write INTEGER NOT NULL, last INTEGER)",
  ...Array.from({ length: counters }, (_, id) => `INSERT INTO counters VALUES (${id}, ${id})`)
]

const makeSchema = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => Effect.forEach(schema, (statement) => sql.unsafe(statement), { discard: true })
)

const pausing = (pause: number | undefined) =>
  pause === undefined ? Effect.void : pause === 0 ? Effect.yieldNow() : Effect.sleep(pause)

const failureOf = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isSuccess(exit)
    ? "success"
    : Cause.isInterruptedOnly(exit.cause)
    ? "interrupted"
    : Cause.isDie(exit.cause)
    ? "died"
    : "failed"

interface Outcome {
  readonly violations: ReadonlyArray<string>
  readonly ends: ReadonlyArray<string>
  /** How many savepoints were kept, and how many were rolled back in a transaction that was committed. */
  readonly kept: number
  readonly undone: number
}

const program = (setting: Setting) => (seed: number) => {
  const random = choices(seed)
  const { chance, pick } = random
  const fibers = plansOf(random)
  const family = (plan: Plan): ReadonlyArray<Plan> => [plan, ...plan.inside.flatMap(family)]
  const roots = fibers.flat()
  const rootOf = new Map(roots.flatMap((root) => family(root).map(({ id }) => [id, root] as const)))
  const planOf = new Map(roots.flatMap(family).map((plan) => [plan.id, plan]))

  return Effect.gen(function*() {
    const violations: Array<string> = []
    const violated = (what: string) => {
      violations.push(what)
    }
    const sql = yield* SqlClient.SqlClient
    const transaction = yield* SqlTransaction.SqlTransaction
    yield* makeSchema
    const exits = new Map<number, Exit.Exit<unknown, unknown>>()
    const strayed: Array<Fiber.Fiber<unknown, unknown>> = []
    const read = ({ counter }: Pick<Plan, "counter">) =>
      Effect.map(sql<{ value: number }>`SELECT value FROM counters WHERE id = ${counter}`, ([{ value }]) => value)
    const write = (counter: number, value: number) => sql`UPDATE counters SET value = ${value} WHERE id = ${counter}`
    const note = (id: number, step: number, value: number) =>
      sql`INSERT INTO log (write, step, value) VALUES (${id}, ${step}, ${value})`
    const last = Effect.map(sql<{ at: number | null }>`SELECT max(at) AS at FROM log`, ([{ at }]) => at)

    const body = (plan: Plan): Effect.Effect<void, unknown, SqlTransaction.SqlTransaction> =>
      Effect.gen(function*() {
        if (!(yield* transaction.isInside)) violated(`${plan.id} is not inside of its transaction`)
        let value = yield* read(plan)
        let at = yield* last
        for (const [step, pause] of plan.pauses.entries()) {
          yield* pausing(pause)
          if ((yield* read(plan)) !== value || (yield* last) !== at) {
            violated(`${plan.id} saw a statement of another between its own`)
          }
          value = following(value, plan)
          yield* write(plan.counter, value)
          yield* note(plan.id, step, value)
          at = yield* last
          if (step === 0 && setting.strays === true && chance(0.5)) strayed.push(yield* Effect.forkDaemon(stray(plan)))
        }
        yield* plan.atOnce
          ? runAll(plan.inside)
          : Effect.forEach(plan.inside, (inner) => Effect.exit(run(inner)), { discard: true })
        yield* plan.ending === "succeeds"
          ? Effect.void
          : plan.ending === "fails"
          ? Effect.fail("own failure")
          : plan.ending === "dies"
          ? Effect.die("a bug")
          : Effect.interrupt
      })
    const stray = (plan: Plan) =>
      Effect.gen(function*() {
        const attempt = sql`
          INSERT INTO strays SELECT ${plan.id}, (SELECT write FROM log ORDER BY at DESC LIMIT 1)`
        for (let i = 0; i < 4; i++) {
          yield* Effect.ignore(chance(0.3) ? sql.withTransaction(attempt) : attempt)
          yield* pausing(pick([undefined, 0, 1, 3]))
        }
      })
    const run = (plan: Plan): Effect.Effect<void, unknown, SqlTransaction.SqlTransaction> => {
      const whole = plan.ofClient ? sql.withTransaction(body(plan)) : SqlTransaction.withTransaction(body(plan))
      return Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const told = Effect.onExit(restore(whole), (exit) => Effect.sync(() => exits.set(plan.id, exit)))
          const fiber = yield* Effect.fork(told)
          if (plan.interruptedAfter !== undefined) {
            yield* Effect.fork(restore(Effect.zipRight(pausing(plan.interruptedAfter), Fiber.interrupt(fiber))))
          }
          // Whoever is interrupted waits for what it has forked, or that would outlive its transaction.
          yield* Effect.onInterrupt(restore(Fiber.join(fiber)), () => Fiber.interrupt(fiber))
        })
      )
    }
    const runAll = (plans: ReadonlyArray<Plan>) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const running = yield* Effect.forEach(plans, (plan) => Effect.fork(restore(Effect.exit(run(plan)))))
          yield* Effect.onInterrupt(
            restore(Effect.forEach(running, Fiber.await, { discard: true })),
            () => Fiber.interruptAll(running)
          )
        })
      )
    yield* Effect.forEach(fibers, (mine) =>
      Effect.forEach(mine, (plan) =>
        Effect.gen(function*() {
          yield* Effect.exit(run(plan))
          if (yield* transaction.isInside) violated("a fiber is inside of a transaction that has ended")
          // One statement by itself waits for its turn as well.
          if (chance(0.3)) yield* sql`UPDATE counters SET value = value`
          yield* Effect.sleep(random.below(3))
        }), { discard: true }), { concurrency: "unbounded" })
    yield* Effect.forEach(strayed, Fiber.await, { discard: true })
    // The next one does not find anything open.
    yield* sql.withTransaction(sql`UPDATE counters SET value = value`)

    // --- the verdict --------------------------------------------------------

    const log = yield* sql<Row>`SELECT write, step, value FROM log ORDER BY at`
    const values = yield* sql<{ value: number }>`SELECT value FROM counters ORDER BY id`
    const now = Array.from({ length: counters }, (_, id) => id)
    for (const { value, write } of log) {
      const plan = planOf.get(write)!
      now[plan.counter] = following(now[plan.counter], plan)
      if (value !== now[plan.counter]) violated(`${write} wrote ${value} where ${now[plan.counter]} follows`)
    }
    if (JSON.stringify(values.map(({ value }) => value)) !== JSON.stringify(now)) {
      violated("the counters are not what the log says")
    }
    /** A transaction or savepoint has its rows in one piece, its savepoints included. */
    const inOnePiece = (plan: Plan): void => {
      const ids = family(plan).map(({ id }) => id)
      const positions = log.flatMap(({ write }, i) => ids.includes(write) ? [i] : [])
      if (positions.some((position, i) => position !== positions[0] + i)) violated(`${plan.id} is not in one piece`)
      plan.inside.forEach(inOnePiece)
    }
    let kept = 0
    let undone = 0
    /** All of its steps are there or none, and that is what its caller was told. */
    const whole = (plan: Plan, within: boolean): void => {
      const steps = log.filter(({ write }) => write === plan.id).map(({ step }) => step)
      const exit = exits.get(plan.id)
      const is = steps.length > 0
      if (is && steps.join() !== plan.pauses.map((_, step) => step).join()) violated(`${plan.id} is there in part`)
      if (is && !within) violated(`${plan.id} is there although what it was in is not`)
      if (is && plan.ending !== "succeeds") violated(`${plan.id} ${plan.ending}, and is there`)
      if (exit === undefined ? is : within) {
        const end = exit === undefined ? "never began" : failureOf(exit)
        if (is && end !== "success" && end !== "interrupted") violated(`${plan.id} ${end}, and is there`)
        if (!is && end === "success") violated(`${plan.id} succeeded, and is not there`)
        if (plan !== rootOf.get(plan.id)) {
          if (is) kept += 1
          else undone += 1
        }
      }
      for (const inner of plan.inside) whole(inner, is)
    }
    for (const root of roots) {
      inOnePiece(root)
      whole(root, true)
      const exit = exits.get(root.id)
      const end = exit === undefined ? "never began" : failureOf(exit)
      const own = { "succeeds": "success", "fails": "failed", "dies": "died", "interrupts itself": "interrupted" }
      if (end !== own[root.ending] && root.interruptedAfter === undefined) {
        violated(`${root.id} ${root.ending}, but ${end}`)
      }
    }
    for (const { last, write } of yield* sql<{ write: number; last: number | null }>`SELECT write, last FROM strays`) {
      const root = rootOf.get(write)!
      if (!log.some(({ write }) => write === root.id)) {
        violated(`a fiber that ${write} left behind wrote after a rollback`)
      }
      if (!family(root).some(({ id }) => id === last)) violated(`a fiber that ${write} left behind wrote into ${last}`)
    }
    const outcome: Outcome = {
      violations,
      ends: roots.map(({ id }) => exits.get(id)).flatMap((exit) => exit === undefined ? [] : [failureOf(exit)]),
      kept,
      undone
    }
    return outcome
  }).pipe(
    Effect.provide(SqliteStore.layer({ filename: setting.filename?.() ?? ":memory:", durable: false }))
  )
}

const successful = <A>({ exit, leftFibers, leftTimers, seed }: SeededRun.Run<A, unknown>): A => {
  if (Exit.isFailure(exit)) throw new Error(`seed ${seed}: ${Cause.pretty(exit.cause)}`)
  expect({ seed, leftFibers, leftTimers }).toEqual({ seed, leftFibers: [], leftTimers: 0 })
  return exit.value
}

/** Runs many seeds, and answers how often each thing has happened. */
const outcomesOf = async (setting: Setting, options: Campaign): Promise<ReadonlyMap<string, number>> => {
  const seen = new Map<string, number>()
  const count = (what: string, times: number) => seen.set(what, (seen.get(what) ?? 0) + times)
  const { schedules } = await forSeeds(program(setting), options, (run) => {
    const { ends, kept, undone, violations } = successful(run)
    if (violations.length > 0) throw new Error(violations.join("\n"))
    for (const end of ends) count(end, 1)
    count("kept", kept)
    count("undone", undone)
  })
  return seen.set("schedules", schedules)
}

/** The programs are only worth something while they reach every outcome. */
const reached = (seen: ReadonlyMap<string, number>, times: Readonly<Record<string, number>>) => {
  const seldom = Object.entries(times).filter(([what, times]) => (seen.get(what) ?? 0) < atLeast(times))
  expect(seldom.map(([what]) => [what, seen.get(what) ?? 0])).toEqual([])
}

// A run under a schedule cannot wait for it.
beforeAll(() => Effect.runPromise(loadDriver))

describe("what was committed is what running the same transactions one after another gives", () => {
  it.each([
    ["seldom", 0.02],
    ["often", 0.3]
  ])("where fibers give way %s, with savepoints, failures and interruptions", async (_, yieldProbability) => {
    const seen = await outcomesOf({}, { runs: 300, yieldProbability })
    reached(seen, { success: 500, failed: 80, died: 80, interrupted: 150, kept: 300, undone: 200, schedules: 290 })
  })

  it("on a machine where timers run out in the middle of work", async () => {
    const seen = await outcomesOf({}, { runs: 200, yieldProbability: 0.1, timerProbability: 0.05, seed: 10_001 })
    reached(seen, { success: 200, interrupted: 100, kept: 100, undone: 100, schedules: 190 })
  })

  it("in a file as in memory", async () => {
    const directory = mkdtempSync(join(tmpdir(), "sluice-laws-"))
    let files = 0
    try {
      const filename = () => join(directory, `${files++}.db`)
      reached(await outcomesOf({ filename }, { runs: 25, yieldProbability: 0.1, seed: 20_001 }), {
        success: 25,
        schedules: 25
      })
    } finally {
      rmSync(directory, { recursive: true })
    }
  })

  it("although fibers are left behind that go on writing while their transaction ends", async () => {
    const seen = await outcomesOf({ strays: true }, { runs: 200, yieldProbability: 0.1, seed: 30_001 })
    reached(seen, { success: 200, schedules: 190 })
  })
})

describe("a statement", () => {
  // The statement cache of the stock client keeps an entry that nobody fills, and whoever has the same text waits for it
  // for ever, with the lock in hand.
  it("that is interrupted at its first use works at its second", async () => {
    const interrupted = (seed: number) => {
      const { below, pick } = choices(seed)
      return Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* makeSchema
        const statement = sql`INSERT INTO log (write, step, value) VALUES (1, 0, 0)`
        const first = yield* Effect.fork(pick([statement, sql.withTransaction(statement)]))
        for (let i = below(30); i > 0; i--) yield* Effect.yieldNow()
        yield* Fiber.interrupt(first)
        yield* sql.withTransaction(statement)
        yield* statement
        return yield* sql`SELECT write FROM log`
      }).pipe(Effect.provide(SqliteStore.layer({ filename: ":memory:" })))
    }
    await forSeeds(interrupted, { runs: 500, yieldProbability: 0.2 }, (run) => {
      expect([2, 3]).toContain(successful(run).length)
    })
  })
})

// -----------------------------------------------------------------------------
// fibers that outlive their transaction
// -----------------------------------------------------------------------------

describe("a fiber that was forked inside and has outlived its transaction", () => {
  it("writes nothing, neither by itself nor into the transactions of others", async () => {
    const outliving = (seed: number) => {
      const { below, chance, pick } = choices(seed)
      return Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* makeSchema
        const insert = (write: number) => sql`INSERT INTO log (write, step, value) VALUES (${write}, 0, 0)`
        const refused: Array<boolean> = []
        const strays: Array<Fiber.Fiber<unknown, unknown>> = []
        const leaving = (depth: number, over: Deferred.Deferred<void>): Effect.Effect<unknown, unknown> =>
          Effect.gen(function*() {
            yield* insert(1)
            const stray = Effect.gen(function*() {
              yield* Deferred.await(over)
              for (let i = 0; i < 3; i++) {
                const attempt = pick([insert(2), sql.withTransaction(insert(2)), Effect.scoped(sql`SELECT 1`)])
                refused.push(Exit.isFailure(yield* Effect.exit(attempt)))
                yield* Effect.sleep(below(3))
              }
            })
            strays.push(yield* Effect.forkDaemon(stray))
            if (depth > 0) yield* Effect.ignore(sql.withTransaction(leaving(depth - 1, over)))
            if (chance(0.4)) yield* Effect.fail("own failure")
          })
        const busy = Effect.forEach(
          Array.from({ length: 4 }, (_, n) => n),
          () => sql.withTransaction(Effect.zipRight(insert(1), Effect.sleep(1 + below(3)))),
          { discard: true }
        )
        const others = yield* Effect.fork(busy)
        for (let i = 0; i < 3; i++) {
          const over = yield* Deferred.make<void>()
          yield* Effect.exit(sql.withTransaction(leaving(below(3), over)))
          yield* Deferred.succeed(over, undefined)
        }
        yield* Fiber.join(others)
        yield* Effect.forEach(strays, Fiber.await, { discard: true })
        return { refused, log: yield* sql<Row>`SELECT write FROM log WHERE write = 2` }
      }).pipe(Effect.provide(SqliteStore.layer({ filename: ":memory:" })))
    }
    await forSeeds(outliving, { runs: 150, yieldProbability: 0.2 }, (run) => {
      const { log, refused } = successful(run)
      expect(refused.length).toBeGreaterThanOrEqual(9)
      expect(refused).not.toContain(false)
      expect(log).toEqual([])
    })
  })
})

// -----------------------------------------------------------------------------
// fairness
// -----------------------------------------------------------------------------

describe("transactions are served first come, first served", () => {
  interface Served {
    readonly asked: ReadonlyArray<number>
    /** What is in the log: in the order in which they had their turn. */
    readonly served: ReadonlyArray<number>
    readonly gone: ReadonlySet<number>
  }

  /** Asks of all kinds, of which some give up. `when` says how each of them is to follow those before it. */
  const fair =
    (when: (id: number, asking: Effect.Effect<void, unknown>) => Effect.Effect<void, unknown>) => (seed: number) => {
      const { below, chance, pick } = choices(seed)
      return Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* makeSchema
        const asked: Array<number> = []
        const gone = new Set<number>()
        const statement = (id: number) => sql`INSERT INTO log (write, step, value) VALUES (${id}, 0, 0)`
        const transaction = (id: number) => {
          const pause = chance(0.7) ? Effect.sleep(1 + below(6)) : Effect.void
          return sql.withTransaction(Effect.zipRight(statement(id), pause))
        }
        const reserved = (id: number) =>
          Effect.scoped(Effect.flatMap(sql.reserve, (connection) =>
            Effect.zipRight(
              connection.executeRaw("INSERT INTO log (write, step, value) VALUES (?, 0, 0)", [id]),
              Effect.sleep(below(4))
            )))
        yield* Effect.forEach(Array.from({ length: 14 }, (_, id) => id), (id) => {
          const kind = pick<(id: number) => Effect.Effect<unknown, unknown>>([
            transaction,
            transaction,
            statement,
            reserved
          ])
          const givesUpAfter = chance(0.3) ? below(10) : undefined
          const asking = Effect.suspend(() => {
            asked.push(id)
            return Effect.onInterrupt(kind(id), () => Effect.sync(() => gone.add(id)))
          })
          return when(
            id,
            Effect.asVoid(givesUpAfter === undefined ? asking : Effect.timeoutOption(asking, givesUpAfter))
          )
        }, { concurrency: "unbounded" })
        const log = yield* sql<Row>`SELECT write FROM log ORDER BY at`
        const served: Served = { asked, served: log.map(({ write }) => write), gone }
        return served
      }).pipe(Effect.provide(SqliteStore.layer({ filename: ":memory:" })))
    }

  const check = (run: SeededRun.Run<Served, unknown>) => {
    const { asked, gone, served } = successful(run)
    expect(asked).toHaveLength(14)
    expect(served).toEqual(asked.filter((id) => !gone.has(id) || served.includes(id)))
    return gone.size
  }

  it("where each asks a moment after the one before it, however fibers give way", async () => {
    let gone = 0
    await forSeeds(
      // Time only moves when nothing is ready: the one before waits for its turn by then.
      fair((id, asking) => Effect.zipRight(Effect.sleep(1 + id), asking)),
      { runs: 200, yieldProbability: 0.3 },
      (run) => {
        gone += check(run)
      }
    )
    expect(gone).toBeGreaterThanOrEqual(atLeast(200))
  })

  it("where they ask in the same moment, in any order", async () => {
    let gone = 0
    await forSeeds(
      // Without fibers that give way, saying so and asking are one step.
      fair((_, asking) => asking),
      { runs: 200, yieldProbability: 0 },
      (run) => {
        gone += check(run)
      }
    )
    expect(gone).toBeGreaterThanOrEqual(atLeast(200))
  })
})
