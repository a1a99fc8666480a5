/**
 * What it costs to take items in over HTTP, against servers that read a body and have no queue for it; and what comes of
 * more load than a queue can take.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { type Benchmark, type Case, type Plan, type Sample, timesAsFast } from "./Benchmark.ts"
import { temporaryDirectory } from "./files.ts"
import { bodies, limitAnswer } from "./http/item.ts"
import { type Load, type Outcome, startLoad } from "./http/load.ts"
import { overload } from "./http/overload.ts"
import { type Books, type Kind, type Server, startServer } from "./http/server.ts"

/** How much is done in a sample. */
export interface Sizes {
  readonly connections: number
  /** Requests with one item. */
  readonly requests: number
  readonly arrays: { readonly items: number; readonly requests: number }
  /** Of so many lines, by fewer connections: each is a connection that stays busy for long. */
  readonly uploads: { readonly items: number; readonly requests: number; readonly connections: number }
}

/** Half a second for most. */
const sizes: Sizes = {
  connections: 64,
  requests: 4_000,
  arrays: { items: 100, requests: 800 },
  uploads: { items: 1_000, requests: 96, connections: 8 }
}

/** What has to fit in the queue that is overloaded, and in the hands of its sink. */
const overloadedMost = 1_000 + 100

/**
 * V8 leaves garbage lie for minutes where it may have gigabytes: the memory of any server grows then, also of one that
 * keeps nothing. With twice what is alive, it has to collect.
 */
const overloadedHeap = ["--max-old-space-size=64"]

const jsonType = "application/json"

/** What is sent to a server, and what it has to answer to each request. */
interface Sending extends Pick<Load, "body" | "connections" | "contentType"> {
  readonly requests: number
  /** In each request. */
  readonly items: number
  readonly query: string
  readonly answer: unknown
}

/** What ours answers. */
const takenOf = (items: number, what: "accepted" | "stored" = "accepted") => ({
  items,
  accepted: 0,
  coalesced: 0,
  dropped: 0,
  duplicates: 0,
  stored: 0,
  settled: 0,
  [what]: items
})

/** Fails unless each request was answered as it should be. */
const expectAnswers = (name: string, { answers, bodies, errors }: Outcome, { answer, requests }: Sending) => {
  const told = JSON.stringify(answers)
  if (errors > 0 || answers[202] !== requests || Object.keys(answers).length > 1) {
    throw new Error(`${name}: ${requests} requests, answers ${told}, ${errors} errors: ${JSON.stringify(bodies)}`)
  }
  if (bodies[202] !== JSON.stringify(answer)) throw new Error(`${name}: answered ${bodies[202]}`)
}

/** Fails unless each item was accepted, came out, and as it was sent. */
const expectItems = (name: string, before: Books, after: Books, items: number) => {
  const wrong = (["accepted", "settled", "handled"] as const).find((field) => after[field] - before[field] !== items)
  if (wrong !== undefined) throw new Error(`${name}: ${after[wrong] - before[wrong]} ${wrong} instead of ${items}`)
  const { broken, dropped, held, refused } = after
  if (broken + dropped + held + refused > 0) throw new Error(`${name}: ${JSON.stringify(after)}`)
}

const sampleOf = (
  name: string,
  server: Server,
  ask: (load: Load) => Effect.Effect<Outcome>,
  sending: Sending
): Effect.Effect<Sample> =>
  Effect.gen(function*() {
    const { body, connections, contentType, items, query, requests } = sending
    const url = `${yield* server.ask("url")}${query}`
    const before = yield* server.ask("settled")
    const cpuBefore = yield* server.ask("cpu")
    const outcome = yield* ask({ url, body, contentType, connections, until: { requests } })
    const cpu = (yield* server.ask("cpu")) - cpuBefore
    expectAnswers(name, outcome, sending)
    expectItems(name, before, yield* server.ask("settled"), requests * items)
    return {
      cost: outcome.nanos / (outcome.counted * items),
      latency: { p50: outcome.p50, p99: outcome.p99 },
      cpu: cpu / (requests * items)
    }
  })

export const makePlan = (sizes: Sizes): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { arrays, connections, requests, uploads } = sizes
    const scope = yield* Effect.scope
    const directory = yield* temporaryDirectory
    // When the first sample is taken, and so are the servers: whoever asks for other measures does not wait.
    const generator = yield* Effect.cached(Scope.extend(startLoad, scope))
    const serverOf = (kind: Kind, execArgv: ReadonlyArray<string> = []) =>
      Effect.cached(Scope.extend(startServer(kind, directory, execArgv), scope))

    const cases: Array<Case> = []
    const add = (name: string, kind: Kind, more: Partial<Sending> & Pick<Sending, "answer">) =>
      Effect.map(serverOf(kind), (server) => {
        const sending = { body: bodies.one, contentType: jsonType, connections, requests, items: 1, query: "", ...more }
        cases.push({
          name,
          unit: "ns/op",
          counts: sending.items === 1 ? "requests" : "items",
          sample: Effect.flatMap(
            Effect.all([server, generator]),
            ([server, { ask }]) => sampleOf(name, server, ask, sending)
          )
        })
        return name
      })

    const limit = yield* add("Effect server", "limit", { answer: limitAnswer })
    const json = yield* add("Effect server with request.json", "json", { answer: limitAnswer })
    const decoding = yield* add("Effect server that decodes", "decoding", { answer: limitAnswer })
    const endpoint = yield* add("HttpApi that decodes", "endpoint", { answer: limitAnswer })
    const node = yield* add("node:http", "node", { answer: limitAnswer })
    const plain = yield* add("ingest by plain route", "plain", { answer: takenOf(1) })
    const api = yield* add("ingest by HttpApi", "api", { answer: takenOf(1) })
    const stored = yield* add("ingest by plain route, stored, FULL", "stored", {
      query: "?wait=stored",
      answer: takenOf(1, "stored")
    })
    const array = yield* add(`ingest of arrays of ${arrays.items}`, "plain", {
      ...arrays,
      body: bodies.array(arrays.items),
      answer: takenOf(arrays.items)
    })
    const upload = yield* add(`ingest of NDJSON, ${uploads.items.toLocaleString("en-US")} lines`, "plain", {
      ...uploads,
      body: bodies.lines(uploads.items),
      contentType: "application/x-ndjson",
      answer: takenOf(uploads.items)
    })

    const against = (ours: string, theirs: string, atLeast?: number) =>
      timesAsFast(`${ours}, against ${theirs}`, ours, theirs, atLeast === undefined ? {} : { atLeast })
    return {
      cases,
      ratios: [
        against(plain, limit, 0.9),
        against(api, limit, 0.65),
        against(stored, limit, 0.5),
        against(plain, json),
        against(api, json),
        against(plain, decoding),
        against(api, endpoint),
        against(decoding, limit),
        against(endpoint, limit),
        against(json, limit),
        against(node, limit),
        timesAsFast(`${array}, per item, against one item a request`, array, plain),
        timesAsFast(`${upload}, per item, against one item a request`, upload, plain)
      ],
      trials: [overload(yield* serverOf("overloaded", overloadedHeap), generator, connections, overloadedMost)]
    }
  })

export const http: Benchmark = {
  name: "http",
  title: "items taken in over HTTP, against servers that only parse them, and overload",
  packages: [
    "@sluice/core",
    "@sluice/http",
    "@sluice/sql",
    "effect",
    "@effect/platform",
    "@effect/platform-node",
    "autocannon"
  ],
  plan: makePlan(sizes)
}
