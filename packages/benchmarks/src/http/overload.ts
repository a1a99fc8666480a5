/**
 * More than a queue can take, for as long as one likes: everybody is answered, nothing that was accepted is lost, and the
 * memory of the server does not grow.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Findings, Trial } from "../Benchmark.ts"
import { quantile, slope } from "../statistics.ts"
import { bodies } from "./item.ts"
import type { Generator, Load, Outcome } from "./load.ts"
import type { Answers, Books, Server } from "./server.ts"

/** Of the time that is measured, as much goes before: until then the heap has the size that the load asks for. */
const warmUpPart = 0.1

/** What one look at the server found. */
type Look = Answers["memory"]

/** Looks at the memory of the server each second, while something goes on. */
const looking = (server: Server, load: Effect.Effect<Outcome>) =>
  Effect.gen(function*() {
    const looks: Array<Look> = []
    let mostHeld = 0
    const look = Effect.gen(function*() {
      looks.push(yield* server.ask("memory"))
      mostHeld = Math.max(mostHeld, (yield* server.ask("books")).held)
    })
    const fiber = yield* Effect.fork(Effect.forever(Effect.zipRight(look, Effect.sleep("1 second"))))
    const outcome = yield* load
    yield* Fiber.interrupt(fiber)
    return { outcome, looks, mostHeld }
  })

/** A quarter of the values, from the first or from the last. */
const quarter = (values: ReadonlyArray<number>, which: "first" | "last"): number => {
  const count = Math.max(1, Math.floor(values.length / 4))
  return quantile(which === "first" ? values.slice(0, count) : values.slice(-count), 0.5)
}

/** What the sink takes in a second, and how much of that it has to be given: a queue that is full must not rest. */
const sinkRate = 1_000
const leastBusy = 0.8

const megabytes = (bytes: number) => bytes / 1024 / 1024

/** So much more is no growth: the heap may be cut otherwise each time it is looked at. */
const muchGrowthPart = 0.1
const muchGrowthBytes = 2 * 1024 * 1024

const memoryOf = (name: string, values: ReadonlyArray<number>) => {
  const first = quarter(values, "first")
  const last = quarter(values, "last")
  return {
    figures: [
      { figure: `${name}, median of the first quarter`, value: megabytes(first), unit: "MB" },
      { figure: `${name}, median of the last quarter`, value: megabytes(last), unit: "MB" },
      { figure: `${name}, slope`, value: slope(values) / 1024, unit: "KB a second" }
    ],
    check: { check: `${name} has not grown by a tenth`, met: last <= first * (1 + muchGrowthPart) }
  }
}

const difference = (after: Books, before: Books): Books => {
  const grown = (field: keyof Books) => after[field] - before[field]
  return {
    accepted: grown("accepted"),
    refused: grown("refused"),
    dropped: grown("dropped"),
    settled: grown("settled"),
    held: grown("held"),
    handled: grown("handled"),
    broken: grown("broken")
  }
}

/** Whether a server has kept what it has promised. */
const checksOf = (
  { answers, errors }: Outcome,
  atEnd: Books,
  settled: Books,
  mostHeld: number,
  mostAllowed: number
): Findings["checks"] => {
  const { 202: accepted = 0, 429: refused = 0, ...others } = answers
  return [
    { check: "every request was answered, with 202 or 429", met: errors === 0 && Object.keys(others).length === 0 },
    {
      check: "as many were accepted, and refused, as were told so",
      met: atEnd.accepted === accepted && atEnd.refused === refused
    },
    {
      check: "accepted = settled + held at the end, and nothing was dropped",
      met: atEnd.accepted === atEnd.settled + atEnd.held && settled.dropped === 0
    },
    {
      check: "in the end all were handled, as they were sent",
      met: settled.handled === accepted && settled.settled === accepted && settled.broken === 0
    },
    { check: `never more than ${mostAllowed.toLocaleString("en-US")} were held`, met: mostHeld <= mostAllowed }
  ]
}

/** A trial of a server that is started when it begins, with as much load as there can be. */
export const overload = (
  server: Effect.Effect<Server>,
  generator: Effect.Effect<Generator>,
  connections: number,
  /** What the queue, and a batch of its sink, have room for. */
  mostHeldAllowed: number
): Trial => ({
  name: `overload: ${connections} connections, and a sink that takes 1,000 items in a second`,
  run: (seconds) =>
    Effect.gen(function*() {
      const to = yield* server
      const { ask } = yield* generator
      const load: Omit<Load, "until"> = {
        url: yield* to.ask("url"),
        contentType: "application/json",
        body: bodies.one,
        connections
      }
      yield* ask({ ...load, until: { seconds: seconds * warmUpPart } })
      const before = yield* to.ask("settled")
      const liveBefore = yield* to.ask("live")
      const { looks, mostHeld, outcome } = yield* looking(to, ask({ ...load, until: { seconds } }))
      const atEnd = difference(yield* to.ask("books"), before)
      const settled = difference(yield* to.ask("settled"), before)
      const live = yield* to.ask("live")
      const heap = memoryOf("heapUsed", looks.map(({ heapUsed }) => heapUsed))
      const sinkPerSecond = atEnd.settled / seconds
      const rss = memoryOf("rss", looks.map(({ rss }) => rss))
      return {
        figures: [
          { figure: "answered with 202", value: outcome.answers[202] ?? 0, unit: "requests" },
          { figure: "answered with 429", value: outcome.answers[429] ?? 0, unit: "requests" },
          { figure: "answered", value: outcome.counted * 1e9 / outcome.nanos, unit: "requests a second" },
          { figure: "settled", value: sinkPerSecond, unit: "items a second" },
          { figure: "p50", value: outcome.p50 / 1e6, unit: "ms" },
          { figure: "p99", value: outcome.p99 / 1e6, unit: "ms" },
          { figure: "most held", value: mostHeld, unit: "items" },
          ...rss.figures,
          ...heap.figures,
          { figure: "heap once collected, before", value: megabytes(liveBefore), unit: "MB" },
          { figure: "heap once collected, after", value: megabytes(live), unit: "MB" }
        ],
        checks: [
          ...checksOf(outcome, atEnd, settled, mostHeld, mostHeldAllowed),
          {
            check: `the sink was given ${leastBusy * 100}% of what it can take`,
            met: sinkPerSecond >= sinkRate * leastBusy
          },
          rss.check,
          { check: "the collected heap has not grown by 2 MB", met: live - liveBefore <= muchGrowthBytes }
        ]
      }
    })
})
