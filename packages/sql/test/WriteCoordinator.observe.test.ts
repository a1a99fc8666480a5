/**
 * What is seen of a coordinator: metrics and spans.
 */
import { SqlClient } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { SqliteStore, SqlTransaction, WriteCoordinator } from "@sluice/sql"
import { Deferred, Effect, Exit, Fiber, Layer, Metric, Scope, TestClock, type Tracer } from "effect"
import { recording } from "../../core/test/support/tracing.ts"
import { createTable, insert, tagOf, withStore } from "./database.ts"

const withTable = <A, E, R>(effect: Effect.Effect<A, E, R>) => withStore(Effect.zipRight(createTable, effect))

/** The value of a metric of the coordinator of a name, or of a further one. */
const read = (name: string, queue: string, replica?: string, outcome?: string) =>
  Effect.map(Metric.snapshot, (pairs) => {
    const tags = { system: "write_coordinator", queue, ...replica && { replica }, ...outcome && { outcome } }
    const found = pairs.find(({ metricKey }) =>
      metricKey.name === name
      && metricKey.tags.some(({ key }) => key === "replica") === (replica !== undefined)
      && Object.entries(tags).every(([key, value]) =>
        metricKey.tags.some((tag) => tag.key === key && tag.value === value)
      )
    )
    const state = found?.metricState as { readonly count?: number; readonly value?: number } | undefined
    return state?.value ?? state?.count
  })

const readAll = (queue: string, replica?: string) =>
  Effect.all({
    offered: read("sluice_items_offered_total", queue, replica),
    refused: read("sluice_items_refused_total", queue, replica),
    succeeded: read("sluice_items_settled_total", queue, replica, "succeeded"),
    failed: read("sluice_items_settled_total", queue, replica, "failed"),
    cancelled: read("sluice_items_cancelled_total", queue, replica),
    groups: read("sluice_batches_total", queue, replica),
    durations: read("sluice_batch_duration_seconds", queue, replica),
    depth: read("sluice_depth_items", queue, replica),
    held: read("sluice_held_items", queue, replica),
    inFlight: read("sluice_in_flight_items", queue, replica)
  })

/** A write that says when it runs, and runs until it is told to go on. */
const held = Effect.map(
  Effect.all([Deferred.make<void>(), Deferred.make<void>()]),
  ([begun, goOn]) => ({
    begun: Deferred.await(begun),
    goOn: Deferred.succeed(goOn, undefined),
    write: Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(goOn))
  })
)

describe("metrics", () => {
  it.effect("are published within a second of a change, and at the end", () =>
    withTable(Effect.gen(function*() {
      const name = "published"
      const scope = yield* Scope.make()
      const writes = yield* Scope.extend(WriteCoordinator.make({ name, capacity: 2, drain: true }), scope)
      // They are there from the start.
      expect(yield* readAll(name)).toMatchObject({ offered: 0, succeeded: 0, groups: 0, inFlight: undefined })
      const first = yield* held
      const submit = (write: Effect.Effect<unknown, unknown, SqlClient.SqlClient>) =>
        Effect.fork(writes.submit(write, { name: "write" }))
      yield* submit(first.write)
      yield* first.begun
      const cancelled = yield* submit(insert("cancelled"))
      yield* submit(insert("a"))
      yield* submit(insert("b"))
      yield* submit(Effect.fail("no"))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(cancelled)
      yield* TestClock.adjust("1 second")
      expect(yield* readAll(name)).toEqual({
        offered: 5,
        refused: 0,
        succeeded: 0,
        failed: 0,
        cancelled: 1,
        groups: 0,
        durations: undefined,
        depth: 2,
        held: 4,
        inFlight: 1
      })
      yield* first.goOn
      yield* Scope.close(scope, Exit.void)
      const metrics = yield* writes.metrics
      expect(yield* readAll(name)).toEqual({
        offered: 5,
        refused: 0,
        succeeded: 3,
        failed: 1,
        cancelled: 1,
        groups: metrics.batches,
        durations: metrics.batches,
        depth: 0,
        held: 0,
        inFlight: 0
      })
    })))

  it.effect("tell within a second of a write that it runs, also where it has waited long for its turn", () =>
    withTable(Effect.gen(function*() {
      const name = "turn"
      const writes = yield* WriteCoordinator.make({ name })
      const other = yield* held
      const transaction = yield* Effect.fork(SqlTransaction.withTransaction(other.write))
      yield* other.begun
      const first = yield* held
      const writing = yield* Effect.fork(writes.submit(first.write, { name: "write" }))
      yield* TestClock.adjust("2 seconds")
      expect(yield* readAll(name)).toMatchObject({ depth: 1, inFlight: 0 })
      yield* other.goOn
      yield* first.begun
      yield* TestClock.adjust("2 seconds")
      expect(yield* readAll(name)).toMatchObject({ depth: 0, inFlight: 1 })
      yield* first.goOn
      yield* Fiber.join(Fiber.zip(transaction, writing))
    })))

  it.effect("account for every write at every moment, whatever becomes of it", () =>
    withTable(Effect.gen(function*() {
      const scope = yield* Scope.make()
      const writes = yield* Scope.extend(WriteCoordinator.make({ name: "accounted", capacity: 1 }), scope)
      const submit = (write: Effect.Effect<unknown, unknown, SqlClient.SqlClient>) =>
        Effect.zipLeft(Effect.fork(Effect.exit(writes.submit(write, { name: "write" }))), Effect.yieldNow())
      const metrics = Effect.tap(writes.metrics, (counts) =>
        Effect.sync(() => {
          expect(counts.offered).toBe(counts.refused + counts.cancelled + counts.settled + counts.held)
          expect(counts.settled).toBe(counts.succeeded + counts.failed)
          expect(counts.held).toBe(counts.waiting + counts.depth + counts.inFlight)
        }))
      yield* submit(insert("a"))
      yield* submit(Effect.fail("no"))
      yield* Effect.yieldNow()
      const first = yield* held
      yield* submit(first.write)
      yield* first.begun
      expect(yield* metrics).toMatchObject({ offered: 3, succeeded: 1, failed: 1, held: 1, inFlight: 1 })
      const inQueue = yield* submit(insert("b"))
      const outside = yield* submit(insert("c"))
      expect(yield* metrics).toMatchObject({ offered: 5, held: 3, depth: 1, waiting: 1 })
      yield* Fiber.interrupt(outside)
      expect(yield* metrics).toMatchObject({ refused: 1, cancelled: 0, waiting: 0 })
      yield* Fiber.interrupt(inQueue)
      expect(yield* metrics).toMatchObject({ refused: 1, cancelled: 1, depth: 0 })
      yield* submit(insert("d"))
      yield* submit(insert("e"))
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* Effect.yieldNow()
      expect(yield* metrics).toMatchObject({ offered: 7, refused: 3, held: 1 })
      yield* submit(insert("f"))
      yield* first.goOn
      yield* Fiber.join(closing)
      expect(yield* metrics).toMatchObject({ offered: 8, refused: 4, cancelled: 1, succeeded: 2, failed: 1, held: 0 })
    })))

  it.effect("of coordinators of one name are told apart, while both are open", () =>
    withTable(withStore(
      Effect.gen(function*() {
        const name = "twice"
        const other = WriteCoordinator.make({ name })
        const scope = yield* Scope.make()
        const one = yield* Scope.extend(other, scope)
        const two = yield* elsewhere(other)
        const [first, second] = [yield* held, yield* held]
        yield* Effect.addFinalizer(() => Effect.zipRight(first.goOn, second.goOn))
        yield* Effect.fork(one.submit(first.write, { name: "first" }))
        const last = yield* Effect.fork(two.submit(second.write, { name: "second" }))
        yield* Effect.zipRight(first.begun, second.begun)
        yield* TestClock.adjust("1 second")
        expect(yield* readAll(name)).toMatchObject({ offered: 1, succeeded: 0, inFlight: 1 })
        expect(yield* readAll(name, "2")).toMatchObject({ offered: 1, succeeded: 0, inFlight: 1 })
        yield* first.goOn
        yield* Scope.close(scope, Exit.void)
        expect(yield* readAll(name)).toMatchObject({ succeeded: 1, groups: 1, inFlight: 0 })
        expect(yield* readAll(name, "2")).toMatchObject({ succeeded: 0, inFlight: 1 })
        yield* second.goOn
        yield* Fiber.join(last)
        yield* TestClock.adjust("1 second")
        expect(yield* readAll(name, "2")).toMatchObject({ succeeded: 1, groups: 1, inFlight: 0 })
      }).pipe(Effect.scoped)
    )))
})

/** On a database of its own. */
const elsewhere = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    Layer.build(SqliteStore.layer({ filename: ":memory:" })),
    (context) => Effect.provide(effect, context)
  )

/** A tracer, and the spans of groups that it has made. */
const recordingGroups = Effect.map(recording, ({ spans, tracer }) => ({
  groups: () => spans.filter(({ name }) => name === "WriteCoordinator.group"),
  tracer
}))

describe("spans", () => {
  const submitted = Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const writes = yield* WriteCoordinator.make({ name: "spans" })
    const inSpan = (span: string) => Effect.withSpan(span)
    const run = Effect.all([
      writes.submit(insert("a"), { name: "a" }).pipe(inSpan("first")),
      writes.submit(sql`INSERT INTO t VALUES ('b')`, { name: "b" }).pipe(inSpan("second")),
      Effect.all([
        writes.submit(insert("c"), { name: "c" }),
        writes.submit(Effect.fail("no"), { name: "d" }).pipe(Effect.ignore)
      ], { concurrency: "unbounded" }).pipe(inSpan("third")),
      writes.submit(insert("e"), { name: "e" })
    ], { concurrency: "unbounded" })
    yield* run
    return writes
  })

  it.effect("there is one for each group, linked to those that its writes were submitted in", () =>
    Effect.gen(function*() {
      const { groups, tracer } = yield* recordingGroups
      yield* withTable(Effect.scoped(submitted)).pipe(Effect.withTracer(tracer))
      const linked = groups().flatMap(({ links }) => links.map(({ span }) => (span as Tracer.Span).name))
      expect(linked.sort()).toEqual(["first", "second", "third"])
      const sizes = groups().map(({ attributes }) => attributes.get("sluice.group.writes") as number)
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(5)
      for (const { attributes, parent, status } of groups()) {
        expect(attributes.get("sluice.queue")).toBe("spans")
        expect(parent._tag).toBe("None")
        expect(status).toMatchObject({ _tag: "Ended", exit: Exit.void })
      }
    }))

  it.effect("says where the group was rolled back", () =>
    Effect.gen(function*() {
      const { groups, tracer } = yield* recordingGroups
      yield* withTable(Effect.scoped(Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE child (v TEXT REFERENCES t (v) DEFERRABLE INITIALLY DEFERRED)`
        const writes = yield* WriteCoordinator.make({ name: "spans" })
        const orphan = writes.submit(sql`INSERT INTO child VALUES ('nobody')`, { name: "orphan" })
        expect(tagOf(yield* Effect.exit(orphan))).toBe("TransactionFailed")
      }))).pipe(Effect.withTracer(tracer))
      expect(groups().map(({ status }) => status)).toMatchObject([
        { _tag: "Ended", exit: { _tag: "Failure", cause: { error: { _tag: "TransactionFailed", step: "commit" } } } }
      ])
    }))

  it.effect("there are none where tracing is off", () =>
    Effect.gen(function*() {
      const { groups, tracer } = yield* recordingGroups
      yield* withTable(Effect.scoped(submitted)).pipe(Effect.withTracerEnabled(false), Effect.withTracer(tracer))
      expect(groups()).toEqual([])
    }))
})
