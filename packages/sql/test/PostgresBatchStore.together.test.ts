/**
 * Several processes on one database: stores that know nothing of each other, each with connections of its own.
 */
import type { PgClient } from "@effect/sql-pg"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "@effect/vitest"
import type { BatchStore } from "@sluice/core"
import { Deferred, Effect, Either, Exit, Fiber, Scope, TestClock } from "effect"
import { dialect } from "../src/PostgresBatchStore.ts"
import { add, batch, failure, take, takeNumbers } from "./batchStores.ts"
import { connect, hasServer, temporaryDatabase } from "./postgres.ts"
import { alone, inTransaction, makeStore, migrate } from "./postgresStore.ts"

const amount = (n: number) => ({ batches: n, items: n })

describe.skipIf(!(await hasServer()))("processes on one PostgreSQL", () => {
  const scope = Effect.runSync(Scope.make())
  let client: PgClient.PgClient
  let queues: ReadonlyArray<BatchStore.QueueStore>
  let name: string
  let count = 0

  beforeAll(async () => {
    const opened = Effect.tap(
      Effect.flatMap(temporaryDatabase, (name) => connect(name, 8)),
      (client) => migrate(client)
    )
    client = await Effect.runPromise(Scope.extend(opened, scope))
  })
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  beforeEach(async () => {
    name = `queue ${count++}`
    queues = await Effect.runPromise(Effect.forEach([1, 2, 3, 4], () => makeStore(client).queue(name)))
  })

  const together = <A, E>(each: (queue: BatchStore.QueueStore, index: number) => Effect.Effect<A, E>) =>
    Effect.forEach(queues, each, { concurrency: "unbounded" })

  /** Runs the operations of a further process in a transaction that stays open until it is told how to end. */
  const open = (
    run: (operations: ReturnType<typeof dialect.operations>, ...args: ReadonlyArray<any>) => Effect.Effect<any, any>
  ) =>
    Effect.gen(function*() {
      const ready = yield* Deferred.make<void>()
      const end = yield* Deferred.make<void, string>()
      const operations = dialect.operations("sluice")
      const id = yield* alone(client, (connection) => operations.queueId(connection, name))
      const fiber = yield* Effect.fork(Effect.exit(inTransaction(client, (connection) =>
        run(operations, connection, id).pipe(
          Effect.zipRight(Deferred.succeed(ready, undefined)),
          Effect.zipRight(Deferred.await(end))
        ))))
      yield* Deferred.await(ready)
      return {
        stats: alone(client, (connection) =>
          operations.stats(connection, id, Date.now())),
        commit: Effect.zipRight(Deferred.succeed(end, undefined), Fiber.join(fiber)),
        rollback: Effect.zipRight(Deferred.fail(end, "no"), Fiber.join(fiber))
      }
    })

  /** How many wait for somebody else. */
  const waiting = Effect.suspend(() =>
    Effect.map(
      client.unsafe("SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"),
      ({ length }) => length
    )
  )

  it.live("each batch is claimed once, and what is put back is claimed again", () =>
    Effect.gen(function*() {
      const numbers = Array.from({ length: 200 }, (_, n) => n)
      yield* add(queues[0], ...numbers)
      const claims = yield* together((queue, index) =>
        Effect.gen(function*() {
          const all: Array<BatchStore.ClaimedBatch> = []
          for (let round = 0; round < 40; round++) {
            const taken = yield* take(queue, 1 + (round + index) % 7)
            const [first, ...rest] = taken
            if (round % 5 === 0 && first !== undefined) yield* queue.release([first], {})
            else if (first !== undefined) all.push(first)
            all.push(...rest)
          }
          return all
        })
      )
      const rest = yield* take(queues[0], 200)
      const all = [...claims.flat(), ...rest]
      expect(all.map(({ payload }) => payload[0]).sort((a, b) => a - b)).toEqual(numbers)
      yield* together((queue, index) => queue.settle(claims[index]))
      yield* queues[1].settle(rest)
      expect((yield* queues[2].stats).pending).toEqual(amount(0))
    }))

  it.live("no more is appended than there is room for", () =>
    Effect.gen(function*() {
      const answers = yield* together((queue) =>
        Effect.forEach(Array.from({ length: 10 }), () =>
          queue.append({ batches: [batch(1), batch(2)], maxPendingItems: 25 }))
      )
      expect(
        answers.flat().reduce((sum, { appended }) =>
          sum + appended, 0)
      ).toBe(25)
      const all = yield* together((queue) => queue.stats)
      expect(all.map(({ pending }) => pending)).toEqual(all.map(() => amount(25)))
    }))

  it.live("of those that append the same ids at once, one does", () =>
    Effect.gen(function*() {
      for (let round = 0; round < 20; round++) {
        const ids = [`${round}.a`, `${round}.b`, `${round}.c`]
        const answers = yield* together((queue, index) =>
          // In orders that would let them wait for each other.
          queue.append({
            batches: [batch(1, { ids: index % 2 === 0 ? ids : [...ids].reverse() })],
            idWindowMillis: 60_000
          })
        )
        expect(answers.filter(({ appended }) => appended === 1)).toHaveLength(1)
        for (const { appended, duplicates } of answers) {
          expect([...duplicates].sort()).toEqual(appended === 1 ? [] : ids)
        }
      }
      expect((yield* queues[0].stats).pending).toEqual(amount(20))
    }))

  it.live("who waits for an id that another one remembers leaves nothing behind, or appends if that is rolled back", () =>
    Effect.gen(function*() {
      const append = (ids: ReadonlyArray<string>) => ({ batches: [batch(1, { ids })] as const, idWindowMillis: 60_000 })
      for (const end of ["commit", "rollback"] as const) {
        const other = yield* open((operations, connection, id) =>
          operations.appendWithIds(connection, id, append([`${end} b`]), Date.now())
        )
        const appending = yield* Effect.fork(queues[0].append(append([`${end} a`, `${end} b`])))
        while ((yield* waiting) === 0) yield* Effect.sleep("5 millis")
        yield* other[end]
        const answer = yield* Fiber.join(appending)
        expect(answer.duplicates).toEqual(end === "commit" ? ["commit b"] : [])
      }
      expect((yield* queues[1].append(append(["commit a"]))).appended).toBe(1)
      expect((yield* queues[1].append(append(["rollback a"]))).duplicates).toEqual(["rollback a"])
    }))

  it.live("a transaction that appends and stays open holds up nobody, and counts once it commits", () =>
    Effect.gen(function*() {
      yield* add(queues[0], 1)
      const other = yield* open((operations, connection, id) =>
        operations.append(connection, id, { batches: [batch(2)] })
      )
      yield* add(queues[0], 3)
      const taken = yield* take(queues[1])
      expect(taken.map(({ payload }) => payload[0])).toEqual([1, 3])
      yield* queues[1].settle(taken.slice(0, 1))
      yield* queues[1].deadLetter(taken.slice(1), { reason: "some", failure })
      const before = yield* together((queue) => queue.stats)
      expect(before.map(({ dead, pending }) => [pending, dead])).toEqual(before.map(() => [amount(0), amount(1)]))
      yield* other.commit
      const after = yield* together((queue) => queue.stats)
      expect(after.map(({ dead, pending }) => [pending, dead])).toEqual(after.map(() => [amount(1), amount(1)]))
      // Its place is below one that these processes have claimed.
      let found: ReadonlyArray<number> = []
      while (found.length === 0) {
        yield* Effect.sleep("50 millis")
        found = yield* takeNumbers(queues[1])
      }
      expect(found).toEqual([2])
    }))

  it.live("what is appended late is claimed, also while there is always something behind it", () =>
    Effect.gen(function*() {
      const [mine, , , theirs] = queues
      yield* add(mine, 1)
      const other = yield* open((operations, connection, id) =>
        operations.append(connection, id, { batches: [batch(2)] })
      )
      /** Takes one, while another process always appends more. */
      const next = Effect.gen(function*() {
        yield* add(theirs, 3, 3)
        const [taken] = yield* take(mine, 1)
        yield* mine.settle([taken])
        yield* Effect.sleep("20 millis")
        return taken.payload[0]
      })
      // Long enough for what was found to count.
      for (let i = 0; i < 20; i++) expect(yield* next).toBe(i === 0 ? 1 : 3)
      yield* other.commit
      while ((yield* next) !== 2);
    }))

  it.live("who waits for a claim that is being extended finds it held, and what it is then", () =>
    Effect.gen(function*() {
      for (const end of ["commit", "rollback"] as const) {
        yield* add(queues[0], 1, 2)
        const taken = yield* take(queues[0])
        const other = yield* open((operations, connection, id) =>
          operations.extend(connection, id, [taken[0], taken[1]], { leaseMillis: 90_000, failure }, Date.now())
        )
        const settling = yield* Effect.fork(queues[1].settle(taken.slice(0, 1)))
        const releasing = yield* Effect.fork(queues[2].release(taken.slice(1), { delayMillis: 1 }))
        while ((yield* waiting) < 2) yield* Effect.sleep("5 millis")
        yield* other[end]
        yield* Fiber.join(settling)
        yield* Fiber.join(releasing)
        yield* Effect.sleep("5 millis")
        const again = yield* take(queues[0])
        expect(again.map(({ attempts }) => attempts)).toEqual([end === "commit" ? failure.attempts : 0])
        yield* queues[0].settle(again)
      }
      expect((yield* queues[0].stats).pending).toEqual(amount(0))
    }))

  it.live("what somebody else is about to claim is passed over, and looked for again soon", () =>
    Effect.gen(function*() {
      const claiming = { limit: 5, leaseMillis: 1, turn: "returned" as const }
      yield* add(queues[0], 1)
      yield* queues[0].claim(claiming)
      yield* Effect.sleep("5 millis")
      const other = yield* open((operations, connection, id) =>
        operations.claim(connection, id, { ...claiming, version: 1 }, Date.now())
      )
      const before = Date.now()
      const { batches, nextAtMillis } = yield* queues[1].claim(claiming)
      expect(batches).toEqual([])
      expect(nextAtMillis).toBeGreaterThan(before)
      expect(nextAtMillis).toBeLessThanOrEqual(Date.now() + 100)
      yield* other.rollback
      expect((yield* queues[1].claim(claiming)).batches).toHaveLength(1)
    }))

  it.live("what was counted in a transaction that was open when others were summed up is not forgotten", () =>
    Effect.gen(function*() {
      const other = yield* open((operations, connection, id) =>
        operations.append(connection, id, { batches: [batch(2)] })
      )
      yield* Effect.forEach(Array.from({ length: 250 }), () => add(queues[0], 1), { discard: true })
      const pending = Effect.map(together((queue) => queue.stats), (all) => all.map(({ pending }) => pending))
      expect(yield* pending).toEqual(queues.map(() => amount(250)))
      expect(yield* pending).toEqual(queues.map(() => amount(250)))
      yield* other.commit
      expect(yield* pending).toEqual(queues.map(() => amount(251)))
    }))

  it.live("counters are exact whoever sums them up, and whatever is rolled back", () =>
    Effect.gen(function*() {
      const few = Array.from({ length: 150 })
      yield* together((queue) => Effect.forEach(few, () => add(queue, 1), { discard: true }))
      const check = (n: number) =>
        Effect.map(together((queue) => queue.stats), (all) =>
          expect(all.map(({ pending }) => pending)).toEqual(all.map(() => amount(n))))
      yield* check(600)
      // It replaces the rows by their sum, reads that, and is rolled back.
      const other = yield* open((operations, connection, id) =>
        Effect.forEach(Array.from({ length: 210 }), () =>
          operations.append(connection, id, { batches: [batch(1)] }))
          .pipe(Effect.zipRight(operations.stats(connection, id, Date.now())))
      )
      yield* other.rollback
      expect((yield* other.stats).pending).toEqual(amount(600))
      yield* together((queue) => Effect.forEach(few, () => add(queue, 1), { discard: true }))
      yield* check(1200)
      const taken = yield* take(queues[0], 2000)
      yield* Effect.forEach(taken, (one) => queues[0].settle([one]), { discard: true })
      yield* check(0)
      const { length } = yield* client.unsafe(
        "SELECT 1 FROM sluice_counts JOIN sluice_queues ON id = queue_id WHERE name = $1",
        [name]
      )
      expect(length).toBeLessThan(800)
    }))

  it.live("nothing is done after a statement that may have been committed by itself", () =>
    Effect.gen(function*() {
      const operations = dialect.operations("sluice")
      const texts: Array<string> = []
      yield* alone(client, (connection) =>
        Effect.gen(function*() {
          const id = yield* operations.queueId(connection, name)
          const watched = Object.create(connection, {
            execute: {
              value: (sql: string, params: ReadonlyArray<unknown>) =>
                Effect.suspend(() => {
                  texts.push(sql)
                  return connection.execute(sql, params, undefined)
                })
            }
          })
          for (let n = 0; n < 450; n++) {
            yield* operations.append(watched, id, { batches: [batch(1)] })
            expect(texts.at(-1)).toMatch(/^WITH added/)
          }
        }))
      // The sum that is sometimes made comes before it.
      expect(texts.length).toBeGreaterThan(450)
    }))

  it.live("those who do different things with the same batches at once do not stop each other", () =>
    Effect.gen(function*() {
      let dead = 0
      for (let round = 0; round < 10; round++) {
        yield* add(queues[0], ...Array.from({ length: 100 }, () => 1))
        const taken = yield* take(queues[0], 100)
        const reversed = [...taken].reverse()
        const lost = yield* together((queue, index) =>
          Effect.match(
            [
              queue.settle(taken),
              queue.extend(reversed, { leaseMillis: 60_000 }),
              queue.release(reversed, { delayMillis: 60_000 }),
              queue.deadLetter(taken, { reason: "some", failure })
            ][index],
            { onFailure: (error) => error._tag === "LeaseLost" ? error.claims.length : error, onSuccess: () => 0 }
          )
        )
        // One of the three that end a claim has all of them.
        expect([lost[0], lost[2], lost[3]].sort()).toEqual([0, 100, 100])
        expect([0, 100]).toContain(lost[1])
        dead += lost[3] === 0 ? 100 : 0
      }
      expect((yield* queues[3].stats).dead.batches).toBe(dead)
    }))

  it.live("those who name the same batches in other orders do not wait for each other", () =>
    Effect.gen(function*() {
      yield* add(queues[0], 1, 2, 3)
      const taken = yield* take(queues[0])
      const other = yield* open((operations, connection, id) =>
        operations.extend(connection, id, [taken[1]], { leaseMillis: 60_000, failure: undefined }, Date.now())
      )
      const settle = (index: number, claims: ReadonlyArray<BatchStore.Claim>) =>
        Effect.fork(Effect.either(queues[index].settle(claims)))
      const one = yield* settle(0, [...taken].reverse())
      while ((yield* waiting) < 1) yield* Effect.sleep("5 millis")
      const two = yield* settle(1, taken)
      while ((yield* waiting) < 2) yield* Effect.sleep("5 millis")
      yield* other.commit
      const answers = [yield* Fiber.join(one), yield* Fiber.join(two)]
      expect(answers.map(Either.match({ onLeft: ({ _tag }) => _tag, onRight: () => "settled" })).sort())
        .toEqual(["LeaseLost", "settled"])
    }))

  it.effect("a lease is noticed when it is over, also if those before it were longer", () =>
    Effect.gen(function*() {
      const [queue] = queues
      const claim = (turn: BatchStore.Turn, leaseMillis: number) =>
        Effect.map(queue.claim({ limit: 1, leaseMillis, turn }), ({ batches }) => batches)
      yield* add(queue, 1, 2, 3, 4, 5)
      // Until what was found counts.
      for (let i = 0; i < 4; i++) {
        yield* claim("returned", 60_000)
        yield* TestClock.adjust("100 millis")
      }
      const last = yield* claim("fresh", 100)
      yield* TestClock.adjust("100 millis")
      const again = yield* claim("returned", 100)
      expect(again.map(({ sequence }) => sequence)).toEqual(last.map(({ sequence }) => sequence))
      yield* TestClock.adjust("100 millis")
      expect(yield* claim("returned", 100)).toHaveLength(1)
      yield* TestClock.adjust("100 millis")
      const [once] = yield* claim("returned", 60_000)
      yield* queue.extend([once], { leaseMillis: 100 })
      yield* TestClock.adjust("100 millis")
      expect(yield* claim("returned", 100)).toHaveLength(1)
    }))

  it.effect("nobody passes what was settled while a transaction of somebody else is open", () =>
    Effect.gen(function*() {
      const release = yield* Deferred.make<void>()
      const ready = yield* Deferred.make<void>()
      const old = yield* Effect.fork(Effect.scoped(Effect.gen(function*() {
        const connection = yield* client.reserve
        yield* connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ", [], undefined)
        yield* connection.execute("SELECT count(*) FROM sluice_batches", [], undefined)
        yield* Deferred.succeed(ready, undefined)
        yield* Deferred.await(release)
        yield* connection.execute("COMMIT", [], undefined)
      })))
      yield* Deferred.await(ready)
      const [queue, idle] = queues
      const cycle = (n: number) =>
        Effect.gen(function*() {
          for (let i = 0; i < n; i++) {
            yield* queue.append({ batches: [batch(1), ...Array.from({ length: 99 }, () => batch(1))] })
            const { batches } = yield* queue.claim({ limit: 200, leaseMillis: 60_000 })
            yield* queue.settle(batches)
          }
        })
      yield* cycle(20)
      // What is found counts after a while, twice.
      for (let i = 0; i < 3; i++) {
        yield* TestClock.adjust("150 millis")
        yield* cycle(1)
      }
      const read = Effect.map(
        client.unsafe<{ readonly read: string }>(
          `SELECT sum(idx_tup_read) AS read FROM pg_stat_user_indexes
            WHERE relname = 'sluice_batches'`
        ),
        ([{ read }]) => Number(read)
      )
      // The counters of each connection are flushed when it is asked for.
      const flush = Effect.forEach(
        Array.from({ length: 8 }),
        () => client.unsafe("SELECT pg_stat_force_next_flush()"),
        {
          concurrency: "unbounded"
        }
      )
      yield* flush
      const before = yield* read
      yield* cycle(1)
      yield* flush
      expect((yield* read) - before).toBeLessThan(1500)
      // Nor does a process that comes later and finds nothing, once it has looked twice.
      for (let i = 0; i < 3; i++) {
        yield* idle.claim({ limit: 200, leaseMillis: 60_000 })
        yield* TestClock.adjust("150 millis")
      }
      yield* flush
      const late = yield* read
      yield* idle.claim({ limit: 200, leaseMillis: 60_000 })
      yield* flush
      expect((yield* read) - late).toBeLessThan(50)
      yield* Deferred.succeed(release, undefined)
      yield* Fiber.join(old)
    }))
})
