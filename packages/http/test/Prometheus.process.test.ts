/**
 * Prometheus itself reads `/metrics` of a server that runs: a process of its own, which scrapes as in earnest.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Metric, MetricBoundaries, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import { createServer } from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { isHere } from "./support/prometheus.ts"
import { until } from "./support/raw.ts"
import { post, serve } from "./support/server.ts"

const isPrometheusHere = isHere("prometheus")

const temporaryDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "sluice-prometheus-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

/** One that is free now. */
const freePort = Effect.async<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as { readonly port: number }
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** Starts it, and answers how to ask it. It has ended when the scope is closed. */
const scraping = (target: number) =>
  Effect.gen(function*() {
    const directory = yield* temporaryDirectory
    const port = yield* freePort
    const config = path.join(directory, "prometheus.yml")
    fs.writeFileSync(
      config,
      `scrape_configs: [{ job_name: sluice, scrape_interval: 200ms, scrape_timeout: 200ms,
        static_configs: [{ targets: ["127.0.0.1:${target}"] }] }]\n`
    )
    let said = ""
    let hasEnded = false
    const end = (child: ChildProcess) =>
      Effect.zipRight(Effect.sync(() => child.kill("SIGKILL")), until(() => hasEnded))
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        const child = spawn("prometheus", [
          `--config.file=${config}`,
          `--storage.tsdb.path=${path.join(directory, "data")}`,
          `--web.listen-address=127.0.0.1:${port}`
        ], { cwd: directory, stdio: ["ignore", "ignore", "pipe"] })
        child.stderr.setEncoding("utf8").on("data", (text: string) => said += text)
        child.on("error", (error) => said += error.message)
        child.on("close", () => hasEnded = true)
        return child
      }),
      end
    )
    const get = (path: string) =>
      Effect.promise(async () => {
        if (hasEnded) throw new Error(`prometheus has ended: ${said}`)
        const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`).catch(() => undefined)
        return response?.status === 200 ? (await response.json() as { readonly data: any }).data : undefined
      })
    return {
      target: Effect.map(get("targets"), (data) => data?.activeTargets[0]),
      /** What it has of a series. */
      query: (query: string): Effect.Effect<ReadonlyArray<{ readonly metric: any; readonly value: any }>> =>
        Effect.map(get(`query?query=${encodeURIComponent(query)}`), (data) => data?.result ?? []),
      said: () => said
    }
  })

describe("Prometheus", () => {
  it.scopedLive.skipIf(!isPrometheusHere)(
    "reads what the queues count, and everything whatever its names are (needs prometheus: scripts/install-prometheus.sh)",
    () =>
      Effect.gen(function*() {
        const hostile = Metric.gauge("prometheus.test/hostile").pipe(
          Metric.tagged("__name__", "another"),
          Metric.tagged("a.b", "1"),
          Metric.tagged("a_b", "2")
        )
        yield* Metric.set(hostile, 7)
        yield* Metric.set(Metric.gauge("prometheus test/hostile"), 8)
        yield* Metric.set(Metric.gauge("prometheus_test_twice", { description: "one" }), 9)
        yield* Metric.set(Metric.gauge("prometheus_test_twice", { description: "another" }), 10)
        const histogram = Metric.histogram("prometheus_test", MetricBoundaries.fromIterable([1])).pipe(
          Metric.tagged("le", "mine")
        )
        yield* Metric.update(histogram, 0.5)
        yield* Metric.increment(Metric.counter("prometheus_test_count", { incremental: true }))

        const server = yield* serve()
        yield* post(server, "/queues/readings?wait=settled", { sensor: "roof", celsius: 1 })
        const prometheus = yield* scraping(server.port)
        const settled = "sluice_items_settled_total{queue=\"readings\",system=\"write_behind\"}"
        yield* until(() =>
          Effect.map(
            Effect.all([prometheus.target, prometheus.query(settled)]),
            ([target, found]) => target?.health === "down" || found.length > 0
          )
        )
        expect((yield* prometheus.target).lastError).toBe("")
        const ofScrape = ["__name__", "instance", "job"]
        const labelsOf = (metric: object) =>
          Object.fromEntries(Object.entries(metric).filter(([name]) => !ofScrape.includes(name)))
        const read = (query: string) =>
          Effect.map(
            prometheus.query(query),
            (found) => found.map(({ metric, value }) => [labelsOf(metric), Number(value[1])])
          )
        expect((yield* read(settled)).length).toBe(1)
        expect(yield* read("prometheus_test_hostile")).toEqual([
          [{ exported___name__: "another", a_b: "2", a_b_2: "1" }, 7]
        ])
        expect(yield* read("prometheus_test_hostile_gauge")).toEqual([[{}, 8]])
        const byValue = (yield* read("prometheus_test_twice")).sort(([, a], [, b]) => (a as number) - (b as number))
        expect(byValue).toEqual([[{}, 9], [{ duplicate: "2" }, 10]])
        expect(yield* read("prometheus_test_bucket{le=\"1\"}")).toEqual([[{ exported_le: "mine", le: "1" }, 1]])
        expect(yield* read("prometheus_test_count{exported_le=\"mine\"}")).toEqual([[{ exported_le: "mine" }, 1]])
        expect(yield* read("prometheus_test_count_counter")).toEqual([[{}, 1]])
        expect((yield* read("sum(sluice_prometheus_renamed)"))[0][1]).toBe(6)
        // It says where it leaves a sample out.
        expect(prometheus.said()).not.toMatch(/duplicate|out of order|append failed/i)
      })
  )
})
