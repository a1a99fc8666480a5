/**
 * Dead letters by what they are like: which are listed, put back and thrown away, how many, and how fast.
 */
import { describe, expect, it } from "@effect/vitest"
import { Decision, QueueError } from "@sluice/core"
import type { HttpQueue } from "@sluice/http"
import { Effect, Option } from "effect"
import { path, withDead } from "./support/deadLetters.ts"
import { admin, command, operate, pause, queueOf, secret, until } from "./support/operating.ts"

/** Dead letters of two reasons and three errors, by ids from 1. */
const ofAllKinds = withDead(["down", "Down", "no route", "refused", "refused"], {
  emails: {
    process: ({ items: [{ to }] }) => Effect.fail(to),
    decide: (error) => error === "refused" ? Decision.deadLetter : Decision.retry
  }
})

describe("the list of dead letters", () => {
  it.scopedLive("has those for which everything holds that is asked for", () =>
    Effect.gen(function*() {
      const { list } = yield* ofAllKinds
      const ids = (query: string) => Effect.map(list(query), (letters) => letters.map(({ id }) => id))
      const queries: ReadonlyArray<readonly [query: string, ids: ReadonlyArray<number>]> = [
        ["", [1, 2, 3, 4, 5]],
        ["?reason=rejected", [4, 5]],
        ["?reason=retries-exhausted", [1, 2, 3]],
        ["?reason=corrupt", []],
        ["?reason=nothing%20dies%20of%20it", []],
        ["?error=own", [1, 2]],
        ["?error=Down", [2]],
        ["?error=no%20route", [3]],
        ["?error=no+route", [3]],
        ["?error=%25", []],
        ["?error=e&reason=rejected", [4, 5]],
        ["?error=e&reason=retries-exhausted", [3]],
        ["?error=down&reason=rejected", []],
        ["?olderThanMillis=0", [1, 2, 3, 4, 5]],
        ["?olderThanMillis=3600000", []],
        ["?reason=retries-exhausted&limit=2", [1, 2]],
        ["?reason=retries-exhausted&limit=2&after=2", [3]]
      ]
      for (const [query, expected] of queries) expect([query, yield* ids(query)]).toEqual([query, expected])
    }))

  it.scopedLive("is not given for a query that makes no sense: 400", () =>
    Effect.gen(function*() {
      const { server } = yield* withDead([])
      const wrong = ["-1", "0.5", "x", "", "1e400", "1%20day"].map((
        age
      ) => ["olderThanMillis", `olderThanMillis=${age}`])
      for (
        const [field, query] of [...wrong, ["reason", "reason="], ["error", "error="], ["error", "error=a&error=b"]]
      ) {
        const { body, status } = yield* admin(server, `${path}?${query}`)
        expect([query, status, body._tag]).toEqual([query, 400, "HttpApiDecodeError"])
        expect(body.issues[0].path).toContain(field)
      }
    }))
})

describe("a command for what dead letters are like", () => {
  it.scopedLive("redrives those, and no others", () =>
    Effect.gen(function*() {
      const { list, sent, server, failing } = yield* withDead(["a", "b"])
      failing.isOn = false
      const none = yield* command(server, `${path}/redrive`, { where: { reason: "rejected" } })
      expect([none.status, none.body]).toEqual([200, { batches: 0, items: 0 }])
      const young = yield* command(server, `${path}/redrive`, { where: { olderThanMillis: 3_600_000 } })
      expect([young.status, young.body]).toEqual([200, { batches: 0, items: 0 }])
      expect(yield* list()).toHaveLength(2)
      const all = yield* command(server, `${path}/redrive`, { where: { error: "route", olderThanMillis: 0 } })
      expect([all.status, all.body]).toEqual([200, { batches: 2, items: 2 }])
      yield* until(server.emails.metrics, ({ settled }) => settled === 2)
      expect([yield* list(), sent]).toEqual([[], ["a", "b"]])
    }))

  it.scopedLive("discards those, and no others", () =>
    Effect.gen(function*() {
      const { list, server } = yield* ofAllKinds
      const { body, status } = yield* command(server, `${path}/discard`, {
        where: { reason: "retries-exhausted", error: "own" }
      })
      expect([status, body]).toEqual([200, { batches: 2, items: 2 }])
      expect((yield* list()).map(({ id }) => id)).toEqual([3, 4, 5])
      expect((yield* server.emails.metrics).discarded).toBe(2)
    }))
})

describe("a command with options", () => {
  it.scopedLive("takes at most as many as its limit, those with the lowest ids", () =>
    Effect.gen(function*() {
      const { list, server } = yield* ofAllKinds
      const none = yield* command(server, `${path}/discard`, { ids: "all", limit: 0 })
      expect([none.status, none.body]).toEqual([200, { batches: 0, items: 0 }])
      const ofIds = yield* command(server, `${path}/discard`, { ids: [5, 3, 4], limit: 1 })
      expect([ofIds.status, ofIds.body]).toEqual([200, { batches: 1, items: 1 }])
      const ofQuery = yield* command(server, `${path}/discard`, { where: { error: "o" }, limit: 1 })
      expect([ofQuery.status, ofQuery.body]).toEqual([200, { batches: 1, items: 1 }])
      expect((yield* list()).map(({ id }) => id)).toEqual([2, 4, 5])
    }))

  it.scopedLive("that is a dry run counts, and changes nothing", () =>
    Effect.gen(function*() {
      const { failing, list, server } = yield* withDead(["a", "b", "c"])
      failing.isOn = false
      for (const operation of ["redrive", "discard"]) {
        // At its rate it would take for ever.
        const asked = { where: { error: "route" }, rate: 0.001, limit: 2, dryRun: true }
        const { body, status } = yield* command(server, `${path}/${operation}`, asked)
        expect([operation, status, body]).toEqual([operation, 200, { batches: 2, items: 2 }])
      }
      expect(yield* list()).toHaveLength(3)
      expect(yield* server.emails.metrics).toMatchObject({ redriven: 0, discarded: 0 })
      const { body } = yield* command(server, `${path}/redrive`, { ids: "all", dryRun: false })
      expect(body).toEqual({ batches: 3, items: 3 })
    }))

  it.scopedLive("goes at its rate, and is over once its client goes away: the rest stays dead", () =>
    Effect.gen(function*() {
      const { list, server } = yield* withDead(["a", "b", "c"])
      const client = new AbortController()
      const asked = yield* Effect.fork(Effect.exit(Effect.tryPromise(() =>
        fetch(`${server.url}/admin${path}/discard`, {
          method: "POST",
          headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
          body: JSON.stringify({ ids: "all", rate: 0.001 }),
          signal: client.signal
        })
      )))
      yield* until(server.emails.metrics, ({ discarded }) => discarded === 1)
      yield* pause(50)
      expect(asked.unsafePoll()).toBe(null)
      client.abort()
      expect((yield* asked.await)._tag).toBe("Success")
      expect((yield* list()).map(({ id }) => id)).toEqual([2, 3])
    }))
})

// --- a queue of somebody's own -----------------------------------------------------------------------------------------

type Letters = HttpQueue.DeadLetters

/** A queue whose dead letters are not there, and that tells what it was asked for. */
const asking = (parts: Partial<Letters> = {}) => {
  const asked: Array<ReadonlyArray<unknown>> = []
  const deadLetters: Letters = {
    list: (options) => Effect.sync(() => (asked.push(["list", options]), [])),
    inspect: () => Effect.succeed(Option.none()),
    redrive: (...args) => Effect.sync(() => (asked.push(["redrive", ...args]), { batches: 1, items: 2 })),
    discard: (...args) => Effect.sync(() => (asked.push(["discard", ...args]), { batches: 3, items: 4 })),
    ...parts
  }
  return { asked, queue: queueOf("emails", { deadLetters }) }
}

describe("a queue of one's own", () => {
  it.scopedLive("is asked for what the request says, and for nothing else", () =>
    Effect.gen(function*() {
      const { asked, queue } = asking()
      const server = yield* operate([queue])
      yield* admin(server, `${path}?reason=of%20mine&error=a%00%C3%A4&olderThanMillis=60000&limit=7&after=3`)
      yield* admin(server, path)
      const where = { reason: "of mine", error: "a\0ä", olderThanMillis: 60_000 }
      const one = yield* command(server, `${path}/redrive`, { where, limit: 5, rate: 0.5, dryRun: true })
      const two = yield* command(server, `${path}/discard`, { ids: [3, 1] })
      const three = yield* command(server, `${path}/discard`, { ids: "all", rate: 1e6, dryRun: false })
      expect([one, two, three].map(({ body, status }) => [status, body])).toEqual([
        [200, { batches: 1, items: 2 }],
        [200, { batches: 3, items: 4 }],
        [200, { batches: 3, items: 4 }]
      ])
      expect(asked).toEqual([
        ["list", { ...where, limit: 7, after: 3 }],
        ["list", { limit: 100 }],
        ["redrive", where, { limit: 5, rate: 0.5, dryRun: true }],
        ["discard", [3, 1], {}],
        ["discard", "all", { rate: 1e6, dryRun: false }]
      ])
    }))

  it.scopedLive("that takes no such option is answered for with 400, and its field", () =>
    Effect.gen(function*() {
      const fails = (_: unknown, options: HttpQueue.LetterOptions = {}) =>
        Effect.fail(
          new QueueError.InvalidOption({
            queue: "emails",
            field: "rate",
            value: options.rate,
            limit: "at most 10 a second"
          })
        )
      const server = yield* operate([asking({ discard: fails, redrive: fails }).queue])
      for (const operation of ["redrive", "discard"]) {
        const { body, status } = yield* command(server, `${path}/${operation}`, { ids: "all", rate: 11 })
        expect([operation, status, body]).toEqual([operation, 400, {
          _tag: "InvalidRequest",
          field: "rate",
          message: "it must be at most 10 a second"
        }])
      }
    }))

  it.scopedLive("that cannot use its store is answered for with 503", () =>
    Effect.gen(function*() {
      const fails = () => Effect.fail(new QueueError.StoreUnavailable({ store: "s", reason: "io", cause: "gone" }))
      const server = yield* operate([asking({ list: fails, discard: fails, redrive: fails }).queue])
      const answers = [
        yield* admin(server, `${path}?reason=corrupt`),
        yield* command(server, `${path}/redrive`, { where: { reason: "corrupt" } }),
        yield* command(server, `${path}/discard`, { where: { reason: "corrupt" } })
      ]
      for (const { body, status } of answers) {
        expect([status, body]).toMatchObject([503, { _tag: "QueueUnavailable", reason: "store" }])
      }
    }))

  it.scopedLive("is interrupted once the client that asked has gone", () =>
    Effect.gen(function*() {
      const begun = yield* Effect.makeLatch()
      const interrupted = yield* Effect.makeLatch()
      const hangs = () => Effect.zipRight(begun.open, Effect.onInterrupt(Effect.never, () => interrupted.open))
      const server = yield* operate([asking({ redrive: hangs }).queue])
      const client = new AbortController()
      const asked = yield* Effect.fork(Effect.exit(Effect.tryPromise(() =>
        fetch(`${server.url}/admin${path}/redrive`, {
          method: "POST",
          headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
          body: JSON.stringify({ ids: "all", rate: 1 }),
          signal: client.signal
        })
      )))
      yield* begun.await
      client.abort()
      yield* interrupted.await
      yield* asked.await
    }))
})
