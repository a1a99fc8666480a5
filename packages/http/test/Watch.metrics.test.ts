/**
 * What Prometheus scrapes from a process with queues of every kind.
 */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchQueue, BatchStore, KeyedBatch, QueueError, ShardPool, WriteBehind } from "@sluice/core"
import { Effect, Exit, Fiber, Logger, Metric, MetricBoundaries, Schedule, Schema, Scope } from "effect"
import { readFileSync } from "node:fs"
import parseText from "parse-prometheus-text-format"
import { operate, until } from "./support/operating.ts"
import { parse, promtool, type Sample } from "./support/prometheus.ts"
import { ask, post, serve } from "./support/server.ts"

type Server = { readonly url: string }

const scrape = (server: Server) => Effect.map(ask(server, "/metrics"), ({ body }) => parse(body))

/** The value of a series; undefined where there is none. */
const valueOf = (
  families: ReturnType<typeof parse>,
  name: string,
  labels: Readonly<Record<string, string>>
): number | undefined => {
  const isOf = (sample: Sample) =>
    sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value)
  const found = families.flatMap(({ samples }) => samples.filter(isOf))
  expect(found.length).toBeLessThanOrEqual(1)
  return found[0]?.value
}

/** Scrapes until all the series of a queue are what its own counts say. A counter that was never told is not there. */
const untilEqual = <Counts>(
  server: Server,
  labels: Readonly<Record<string, string>>,
  metrics: Effect.Effect<Counts>,
  seriesOf: (counts: Counts) => ReadonlyArray<readonly [name: string, value: number, labels?: Record<string, string>]>
) =>
  until(
    Effect.zipWith(metrics, scrape(server), (counts, families) =>
      seriesOf(counts).map(([name, value, more]) => ({
        name,
        more,
        own: value,
        scraped: valueOf(families, name, { ...labels, ...more }) ?? 0
      }))),
    (all) => all.every(({ own, scraped }) => own === scraped)
  )

const byReason = (name: string, label: string, counts: Readonly<Record<string, number>>) =>
  Object.entries(counts).map(([reason, count]) => [name, count, { [label]: reason }] as const)

/** The names in the table of the metrics. */
const documented: ReadonlySet<string> = new Set(
  Array.from(
    readFileSync(new URL("../../core/src/QueueMetrics.ts", import.meta.url), "utf8").matchAll(/^ \* \| `(\S+)` \|/gm),
    ([, name]) => name
  )
)

/** A gate that opens at the latest when the test ends, before what was made earlier is closed. */
const openAtTheEnd = (gate: Effect.Latch) => Effect.addFinalizer(() => gate.open)

/** A WriteBehind that has had all happen to it that can. */
const writeBehind = Effect.gen(function*() {
  const gate = yield* Effect.makeLatch()
  let failures = 1
  const queue = yield* WriteBehind.make<string, string, never>({
    name: "metrics \"wb\"",
    capacity: 2,
    batchSize: 1,
    policy: Backpressure.coalesceByKey((item) => item, { whenFull: Backpressure.reject }),
    retry: Schedule.recurs(1),
    drainTimeout: 0,
    flush: ({ items: [item] }) =>
      item === "hangs"
        ? gate.await
        : item === "bad" || item === "once" && failures-- > 0
        ? Effect.fail("down")
        : Effect.void
  })
  yield* openAtTheEnd(gate)
  for (const item of ["good", "once", "bad"]) yield* queue.offerSettled([item])
  yield* queue.offer("hangs")
  yield* until(queue.metrics, ({ inFlight }) => inFlight === 1)
  for (const item of ["a", "b", "a", "c"]) queue.unsafeOffer(item)
  expect(yield* queue.metrics).toMatchObject({
    offered: 8,
    settled: 2,
    dropped: 1,
    coalesced: 1,
    refused: 1,
    depth: 2,
    inFlight: 1,
    retries: 2
  })
  return { queue, gate }
})

/** A BatchQueue of which something is done, dead, dropped, and stored. */
const batchQueue = Effect.gen(function*() {
  const queue = yield* BatchQueue.make({
    name: "metrics-bq",
    schema: Schema.String,
    capacity: 2,
    policy: Backpressure.dropNewest,
    maxDeliveries: 1,
    retry: Schedule.recurs(0),
    onProcessError: () => Effect.void,
    metrics: { tags: { tenant: "t1" } },
    process: ({ items: [item] }) => item === "bad" ? Effect.fail("down") : Effect.void
  })
  for (const item of ["good", "bad", "good"]) yield* queue.offerStored(item)
  yield* until(queue.metrics, ({ deadLettered, settled }) => settled === 2 && deadLettered === 1)
  yield* queue.pause
  yield* queue.offerStored("waits")
  for (let n = 0; n < 20; n++) queue.unsafeOffer("waits")
  yield* queue.flush
  return queue
})

/** A ShardPool with commands that have ended in every way. */
const shardPool = Effect.gen(function*() {
  const gate = yield* Effect.makeLatch()
  type Command = readonly [key: string, run: (version: number) => Effect.Effect<void, unknown>]
  const scope = yield* Scope.Scope
  const pool: ShardPool.ShardPool<Command, void, unknown> = yield* ShardPool.make({
    name: "metrics-pool",
    shards: 1,
    workersPerShard: 1,
    capacity: 2,
    policy: Backpressure.reject,
    key: ([key]: Command) => key,
    currentVersion: () => Effect.succeed(0),
    isRejection: (error: unknown) => error === "no",
    drainTimeout: 0,
    execute: ([, run], { version }) => run(version)
  })
  yield* openAtTheEnd(gate)
  let conflicts = 1
  const done = () => Effect.void
  yield* pool.submit(["a", done])
  yield* Effect.exit(pool.submit(["a", () => Effect.fail("no")]))
  yield* Effect.exit(pool.submit(["a", () => Effect.die("bug")]))
  yield* pool.submit([
    "b",
    (version) => conflicts-- > 0 ? Effect.fail(new QueueError.VersionConflict({ key: "b", version })) : Effect.void
  ])
  yield* pool.offer(["c", () => gate.await])
  yield* until(pool.metrics, ({ inFlight }) => inFlight === 1)
  const waiting = yield* Effect.forkIn(pool.submit(["d", done]), scope)
  yield* until(pool.metrics, ({ depth }) => depth === 1)
  yield* Fiber.interrupt(waiting)
  yield* pool.offer(["e", done])
  yield* pool.offer(["f", done])
  yield* Effect.exit(pool.offer(["g", done]))
  return { pool, gate }
})

/** A KeyedBatch with operations that have ended in every way. */
const keyedBatch = Effect.gen(function*() {
  const gate = yield* Effect.makeLatch()
  const scope = yield* Scope.make()
  const processor = yield* Scope.extend(
    KeyedBatch.make<string, number, never, never, string>({
      name: "metrics-keyed",
      load: () => Effect.succeed(0),
      minDuration: 0,
      save: (key) => key === "bad" ? Effect.fail("full") : key === "slow" ? gate.await : Effect.void
    }),
    scope
  )
  yield* openAtTheEnd(gate)
  const add = (n: number) => [n, n + 1] as const
  yield* processor.modify("a", add)
  yield* Effect.exit(processor.modify("bad", add))
  const slow = yield* Effect.fork(processor.modify("slow", add))
  yield* until(processor.metrics, ({ loads }) => loads === 3)
  const waiting = yield* Effect.fork(processor.modify("slow", add))
  yield* until(processor.metrics, ({ held }) => held === 2)
  yield* Fiber.interrupt(waiting)
  return { processor, gate, slow, close: Scope.close(scope, Exit.void) }
})

describe("/metrics", () => {
  it.scopedLive("has every metric of every queue, as they count themselves, with their labels", () =>
    Effect.gen(function*() {
      const server: Server = yield* operate([])
      const wb = yield* writeBehind
      const bq = yield* batchQueue
      const dropping = yield* ShardPool.make({
        name: "metrics-dropping",
        shards: 1,
        capacity: 1,
        policy: Backpressure.dropNewest,
        drainTimeout: 0,
        key: (command: string) => command,
        execute: () => Effect.void
      })
      yield* Effect.all([0, 1, 2, 3].map((n) => dropping.offer(`${n}`)))
      const { gate, pool } = yield* shardPool
      const keyed = yield* keyedBatch

      yield* untilEqual(server, { system: "write_behind", queue: wb.queue.queueName }, wb.queue.metrics, (own) => [
        ["sluice_items_offered_total", own.offered],
        ["sluice_items_refused_total", own.refused],
        ["sluice_items_coalesced_total", own.coalesced],
        ["sluice_items_settled_total", own.settled, { outcome: "succeeded" }],
        ["sluice_batch_retries_total", own.retries],
        ["sluice_batch_duration_seconds_count", own.settled],
        ["sluice_held_items", own.held],
        ["sluice_depth_items", own.depth],
        ["sluice_in_flight_items", own.inFlight],
        ...byReason("sluice_items_dropped_total", "reason", own.droppedByReason),
        ...byReason("sluice_batches_total", "trigger", own.batchesByTrigger)
      ])
      yield* untilEqual(
        server,
        { system: "batch_queue", queue: "metrics-bq", tenant: "t1" },
        Effect.zip(bq.metrics, Effect.orDie(bq.stats)),
        ([own, stats]) => [
          ["sluice_items_offered_total", own.offered],
          ["sluice_items_refused_total", own.refused],
          ["sluice_items_coalesced_total", own.coalesced],
          ["sluice_items_duplicates_total", own.duplicates],
          ...byReason("sluice_items_dropped_total", "reason", own.droppedByReason),
          ...byReason("sluice_items_stored_total", "trigger", own.storedByTrigger),
          ["sluice_items_settled_total", own.settled, { outcome: "succeeded" }],
          ["sluice_batches_failed_total", 1],
          ["sluice_batch_retries_total", own.retries],
          ["sluice_batch_duration_seconds_count", 3],
          ["sluice_held_items", own.held],
          ["sluice_depth_items", own.depth],
          ["sluice_in_flight_items", own.inFlight],
          ["sluice_pending_batches", stats.pending.batches],
          ["sluice_pending_items", stats.pending.items],
          ["sluice_dead_batches", stats.dead.batches],
          ["sluice_dead_items", stats.dead.items],
          ["sluice_newer_batches", stats.newer.batches],
          ["sluice_hold_seconds", 0]
        ]
      )
      type Series = ReadonlyArray<readonly [string, number, Record<string, string>?]>
      const ofPool = (own: ShardPool.Metrics): Series => [
        ["sluice_items_offered_total", own.offered],
        ["sluice_items_refused_total", own.refused],
        ["sluice_items_cancelled_total", own.cancelled],
        ...byReason("sluice_items_dropped_total", "reason", own.droppedByReason),
        ["sluice_items_settled_total", own.succeeded, { outcome: "succeeded" }],
        ["sluice_items_settled_total", own.rejected, { outcome: "rejected" }],
        ["sluice_items_settled_total", own.failed, { outcome: "failed" }],
        ["sluice_version_conflicts_total", own.conflicts],
        ["sluice_held_items", own.held],
        ["sluice_depth_items", own.depth],
        ["sluice_in_flight_items", own.inFlight]
      ]
      yield* untilEqual(server, { system: "shard_pool", queue: "metrics-pool" }, pool.metrics, ofPool)
      yield* untilEqual(server, { system: "shard_pool", queue: "metrics-dropping" }, dropping.metrics, ofPool)
      expect(yield* pool.metrics).toMatchObject({
        offered: 9,
        refused: 1,
        cancelled: 1,
        succeeded: 2,
        rejected: 1,
        failed: 1,
        conflicts: 1,
        depth: 2,
        inFlight: 1
      })
      const ofKeyed = (own: KeyedBatch.Metrics): Series => [
        ["sluice_items_offered_total", own.offered],
        ["sluice_items_refused_total", own.refused],
        ["sluice_items_cancelled_total", own.cancelled],
        ["sluice_items_settled_total", own.succeeded, { outcome: "succeeded" }],
        ["sluice_items_settled_total", own.failed, { outcome: "failed" }],
        ["sluice_held_items", own.held],
        ["sluice_depth_items", own.depth],
        ["sluice_in_flight_items", own.inFlight],
        ["sluice_batches_total", own.batches],
        ["sluice_batches_failed_total", own.batchesFailed],
        ["sluice_loads_total", own.loads],
        ["sluice_saves_total", own.saves]
      ]
      const labels = { system: "keyed_batch", queue: "metrics-keyed" }
      yield* untilEqual(server, labels, keyed.processor.metrics, ofKeyed)
      const closing = yield* Effect.fork(keyed.close)
      yield* until(
        Effect.zipRight(
          Effect.exit(Effect.timeout(keyed.processor.modify("b", (n) => [n, n]), 10)),
          keyed.processor.metrics
        ),
        ({ refused }) => refused > 0
      )
      yield* untilEqual(server, labels, keyed.processor.metrics, ofKeyed)
      yield* keyed.gate.open
      yield* Fiber.join(keyed.slow)
      yield* Fiber.join(closing)

      const families = yield* scrape(server)
      const names = families.map(({ name }) => name).filter((name) => name.startsWith("sluice_"))
      expect(names).toEqual([...documented].sort())
      expect(documented.size).toBeGreaterThan(20)
      for (const { help, name, type } of families.filter(({ name }) => documented.has(name))) {
        expect([name, help !== undefined && help.length > 5]).toEqual([name, true])
        expect([name, type]).toEqual([
          name,
          name.endsWith("_total") ? "counter" : name.endsWith("_duration_seconds") ? "histogram" : "gauge"
        ])
      }
      expect(valueOf(families, "sluice_oldest_age_seconds", { queue: wb.queue.queueName })).toBeGreaterThan(0)
      expect(valueOf(families, "sluice_oldest_age_seconds", { queue: "metrics-bq" })).toBeGreaterThan(0)
      yield* gate.open
      yield* wb.gate.open
    }).pipe(Effect.provide([BatchStore.layerMemory, Logger.remove(Logger.defaultLogger)])))

  it.scopedLive("is of the type and in the format that Prometheus asks for, also for readers of others", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      yield* post(server, "/queues/readings?wait=settled", { sensor: "roof", celsius: 1 })
      const { body, headers, status } = yield* until(
        ask(server, "/metrics"),
        ({ body }) => body.includes("sluice_items_settled_total{outcome=\"succeeded\",queue=\"readings\"")
      )
      expect([status, headers.get("content-type")]).toEqual([200, "text/plain; version=0.0.4; charset=utf-8"])
      promtool(body)
      const read = parseText(body).find(({ name }) => name === "sluice_items_settled_total")!
      expect(read).toMatchObject({ type: "COUNTER", help: "Items settled" })
      expect(read.metrics.find(({ labels }) => labels!["queue"] === "readings")).toEqual({
        value: "1",
        labels: { outcome: "succeeded", queue: "readings", system: "write_behind" }
      })
    }))

  it.scopedLive("has histograms whose buckets grow up to the count", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        emails: { metrics: { boundaries: [1, "1 second", "1 minute"] } },
        readings: { batchSize: 1 }
      })
      const many = Array.from({ length: 20 }, (_, n) => ({ sensor: "roof", celsius: n }))
      yield* post(server, "/queues/readings?wait=settled", many)
      yield* post(server, "/queues/emails?wait=stored", { to: "ada" })
      const families = yield* until(
        scrape(server),
        (families) => valueOf(families, "sluice_items_settled_total", { queue: "emails" }) === 1
      )
      const family = "sluice_batch_duration_seconds"
      const bucketsOf = (queue: string) =>
        families.find(({ name }) => name === family)!.samples
          .filter(({ labels, name }) => name === `${family}_bucket` && labels["queue"] === queue)
      for (const queue of ["readings", "emails"]) {
        const buckets = bucketsOf(queue)
        const boundaries = buckets.map(({ labels }) => labels["le"] === "+Inf" ? Infinity : Number(labels["le"]))
        expect(boundaries).toEqual([...boundaries].sort((a, b) => a - b))
        expect(boundaries.at(-1)).toBe(Infinity)
        const counts = buckets.map(({ value }) => value)
        expect(counts).toEqual([...counts].sort((a, b) => a - b))
        expect(counts.at(-1)).toBe(valueOf(families, `${family}_count`, { queue }))
        expect(valueOf(families, `${family}_sum`, { queue })).toBeGreaterThanOrEqual(0)
      }
      expect(bucketsOf("emails").map(({ labels }) => labels["le"]))
        .toEqual(["0.001", "1", "60", "+Inf"])
      expect(bucketsOf("readings").at(-1)!.value).toBeGreaterThanOrEqual(20)
    }))

  it.scopedLive("has the metrics of others in the process as well", () =>
    Effect.gen(function*() {
      const server = yield* operate([])
      yield* Metric.update(Metric.counter("mine.orders", { incremental: true, description: "Mine" }), 3)
      yield* Metric.update(Metric.frequency("mine.answers"), "yes \"and\" no")
      yield* Metric.update(Metric.histogram("mine.sizes", MetricBoundaries.fromIterable([1, 2])), 5)
      const { body } = yield* ask(server, "/metrics")
      expect(body).toContain("# HELP mine_orders Mine\n# TYPE mine_orders counter\nmine_orders 3\n")
      expect(body).toContain("mine_answers{key=\"yes \\\"and\\\" no\"} 1\n")
      expect(body).toContain("mine_sizes_bucket{le=\"2\"} 0\nmine_sizes_bucket{le=\"+Inf\"} 1\n")
    }))
})
