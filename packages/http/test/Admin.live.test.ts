/**
 * Events as they happen, over a real connection.
 */
import { describe, expect, it } from "@effect/vitest"
import type { HttpQueue } from "@sluice/http"
import { Duration, Effect, Fiber, Queue, Stream, TestClock } from "effect"
import * as ServerSentEvents from "../src/internal/serverSentEvents.ts"
import { admin, operate, pause, queueOf, secret, until } from "./support/operating.ts"
import { ask, post, type Reading, serve } from "./support/server.ts"
import { connect, type Live } from "./support/sse.ts"

const reading = (celsius: number): Reading => ({ sensor: "roof", celsius })

const each = { readings: { batchSize: 1 } } as const

/** The numbers of the events that have come. */
const idsOf = (live: Live): ReadonlyArray<number> =>
  live.events().flatMap(({ data, event }) => event === "Missed" ? [] : [data.number])

/** What has come, with how much was missed in between. */
const storyOf = (live: Live): ReadonlyArray<number | string> =>
  live.events().map(({ data, event }) => event === "Missed" ? `${data.missed} missed` : data.number)

/** Comes again, as one that has been told an id. */
const again = (server: { readonly url: string }, id: string, path = "/admin/events") =>
  connect(server, path, { "last-event-id": id })

/** What a client has as its last id before any event. */
const begunAt = (live: Live): string => /^retry: 1000\n\nid: (\S+)\n\n/.exec(live.text())![1]

/** The id of another event of the same process and view. */
const idOf = (live: Live, position: number): string => begunAt(live).replace(/\d+$/, String(position))

const upTo = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index)

/** The number of those who watch. */
const watchers = ({ queues }: { readonly queues: { readonly log: unknown } }): number => {
  const { watchers } = queues.log as { readonly watchers: { readonly pubsub: { readonly subscriberCount: number } } }
  return watchers.pubsub.subscriberCount
}

/** A queue that tells what the test has it tell. */
const teller = (name: string) =>
  Effect.map(Queue.unbounded<HttpQueue.Told>(), (told) => ({
    queue: queueOf(name, { events: Stream.fromQueue(told) }),
    tell: (...events: ReadonlyArray<HttpQueue.Told>) => Queue.offerAll(told, events)
  }))

const hello = (n: number): HttpQueue.Told => ({ _tag: "Hello", n })

describe("the stream of events", () => {
  it.scopedLive("says that it is one, that nobody may keep it, and when to come again", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const live = yield* connect(server)
      expect(live.status).toBe(200)
      expect(live.headers["content-type"]).toMatch(/^text\/event-stream(;|$)/)
      expect(live.headers["cache-control"]).toBe("no-cache")
      expect(live.headers["x-accel-buffering"]).toBe("no")
      expect(live.headers["content-length"]).toBe(undefined)
      expect(live.text()).toMatch(/^retry: 1000\n\nid: \S+-0\n\n$/)
    }))

  it.scopedLive("has events as they happen, numbered and in order, of all queues", () =>
    Effect.gen(function*() {
      const server = yield* serve(each)
      yield* post(server, "/queues/readings?wait=settled", reading(0))
      yield* until(admin(server, "/queues/readings/events"), ({ body }) => body.length === 2)
      const live = yield* connect(server)
      yield* post(server, "/queues/readings?wait=settled", reading(1))
      yield* until(Effect.sync(live.events), (events) => events.length === 2)
      yield* post(server, "/queues/emails?wait=stored", { to: "ada" })
      const events = yield* until(Effect.sync(live.events), (events) => events.length >= 6)
      expect(events.map(({ data, event, id }) => [id, event, data.queue])).toEqual([
        [idOf(live, 3), "Flushed", "readings"],
        [idOf(live, 4), "Settled", "readings"],
        [idOf(live, 5), "Stored", "emails"],
        [idOf(live, 6), "Claimed", "emails"],
        [idOf(live, 7), "Flushed", "emails"],
        [idOf(live, 8), "Settled", "emails"]
      ])
      const kept = [
        ...(yield* admin(server, "/queues/readings/events")).body,
        ...(yield* admin(server, "/queues/emails/events")).body
      ]
      expect(events.map(({ data }) => data)).toEqual(kept.filter(({ number }) => number > 2))
    }))

  it.scopedLive("of one queue has nothing of the others", () =>
    Effect.gen(function*() {
      const server = yield* serve(each)
      const live = yield* connect(server, "/admin/events?queue=emails")
      const both = yield* connect(server)
      yield* post(server, "/queues/readings?wait=settled", reading(1))
      yield* until(Effect.sync(both.events), (events) => events.length === 2)
      yield* post(server, "/queues/emails?wait=stored", { to: "ada" })
      const events = yield* until(Effect.sync(live.events), (events) => events.length >= 4)
      expect(events.map(({ data, id }) => [id, data.number, data.queue])).toEqual(
        [1, 2, 3, 4].map((ordinal) => [idOf(live, ordinal), ordinal + 2, "emails"])
      )
      expect(events.map(({ event }) => event)).not.toContain("Missed")
    }))

  it.scopedLive("of a queue that is not there is a 404, and without the token a 401", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const unknown = yield* admin(server, "/events?queue=ghosts")
      expect([unknown.status, unknown.body]).toEqual([404, { _tag: "UnknownQueue", queue: "ghosts" }])
      expect((yield* ask(server, "/admin/events")).status).toBe(401)
      expect((yield* ask(server, "/admin/events?queue=ghosts")).status).toBe(401)
      expect(watchers(server)).toBe(0)
    }))

  it.scopedLive("is told to as many as watch", () =>
    Effect.gen(function*() {
      const { queue, tell } = yield* teller("talker")
      const server = yield* operate([queue])
      const all = yield* Effect.all(Array.from({ length: 5 }, () => connect(server)), { concurrency: 5 })
      expect(watchers(server)).toBe(5)
      yield* tell(hello(1), hello(2))
      for (const live of all) yield* until(Effect.sync(() => idsOf(live)), (ids) => ids.join() === "1,2")
    }))

  it.scoped("has a comment every fifteen seconds while nothing happens, which is no event", () =>
    Effect.gen(function*() {
      const { queue, tell } = yield* teller("talker")
      const server = yield* operate([queue])
      const live = yield* connect(server)
      yield* pause(50)
      yield* TestClock.adjust("14 seconds")
      yield* pause(50)
      const beginning = live.text()
      expect(beginning).not.toContain(":\n\n")
      yield* TestClock.adjust("1 second")
      yield* until(Effect.sync(live.text), (text) => text === `${beginning}:\n\n`)
      yield* tell(hello(1))
      yield* until(Effect.sync(() => idsOf(live)), (ids) => ids.length === 1)
      yield* TestClock.adjust("15 seconds")
      yield* until(Effect.sync(live.text), (text) => text.endsWith("\n\n:\n\n"))
      expect(live.events()).toHaveLength(1)
    }))

  it.scopedLive("carries whatever an event has in it, and goes on where that is no JSON", () =>
    Effect.gen(function*() {
      const { queue, tell } = yield* teller("talker")
      const server = yield* operate([queue])
      const live = yield* connect(server)
      const text = "a line\nanother\r\ndata: not one\n\nid: 99\u2028\u{1f30a}\ud800"
      const round: Record<string, unknown> = {}
      round["self"] = round
      yield* tell({ _tag: "Text", text }, { _tag: "Big", big: 1n }, { _tag: "Round", round }, hello(4))
      const events = yield* until(Effect.sync(live.events), (events) => events.length === 4)
      expect(events.map(({ event, id }) => [id, event])).toEqual([
        [idOf(live, 1), "Text"],
        [idOf(live, 2), "Big"],
        [idOf(live, 3), "Round"],
        [idOf(live, 4), "Hello"]
      ])
      expect(events[0].data.event.text).toBe(text)
      expect(events[3].data.event).toEqual(hello(4))
    }))
})

describe("a client that comes again", () => {
  it.scopedLive("is given what it has missed, and then goes on, without a gap and nothing twice", () =>
    Effect.gen(function*() {
      const server = yield* serve(each)
      const first = yield* connect(server)
      yield* post(server, "/queues/readings?wait=settled", reading(1))
      yield* until(Effect.sync(() => idsOf(first)), (ids) => ids.length === 2)
      first.disconnect()
      yield* post(server, "/queues/emails?wait=stored", { to: "ada" })
      yield* until(server.emails.metrics, ({ settled }) => settled === 1)
      yield* post(server, "/queues/readings?wait=settled", reading(2))
      yield* until(admin(server, "/queues/readings/events"), ({ body }) => body.length === 4)
      const second = yield* again(server, idOf(first, 2))
      yield* until(Effect.sync(() => idsOf(second)), (ids) => ids.length === 6)
      yield* post(server, "/queues/readings?wait=settled", reading(3))
      yield* until(Effect.sync(() => idsOf(second)), (ids) => ids.length >= 8)
      expect(idsOf(second)).toEqual(upTo(3, 10))
      const path = "/admin/events?queue=emails"
      const third = yield* connect(server, path)
      const fourth = yield* again(server, idOf(third, 1), path)
      yield* until(Effect.sync(() => idsOf(fourth)), (ids) => ids.length >= 3)
      expect(storyOf(fourth)).toEqual([4, 5, 6])
    }))

  it.scopedLive("again and again, while much happens, has every event once", () =>
    Effect.gen(function*() {
      const a = yield* teller("a")
      const b = yield* teller("b")
      const server = yield* operate([a.queue, b.queue], { queues: { recentEvents: 100_000 } })
      const telling = yield* Effect.fork(Effect.forever(
        Effect.zipRight(a.tell(hello(1), hello(2)), Effect.zipRight(b.tell(hello(3)), pause(1)))
      ))
      const ids: Array<number> = []
      yield* until(admin(server, "/queues/b/events"), ({ body }) => body.length > 5)
      const begun = yield* connect(server)
      for (let n = 0; n < 8; n++) {
        const live = yield* again(server, idOf(begun, ids.at(-1) ?? 0))
        yield* until(Effect.sync(() => idsOf(live)), (seen) => seen.length > 30)
        live.disconnect()
        ids.push(...idsOf(live))
      }
      yield* Fiber.interrupt(telling)
      expect(ids).toEqual(upTo(1, ids.length))
    }))

  /** A queue of which the log keeps three events, and what tells so many. */
  const forgetful = (...names: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const tellers = yield* Effect.forEach(names, teller)
      const server = yield* operate(tellers.map(({ queue }) => queue), { queues: { recentEvents: 3 } })
      let told = 0
      const tell = (queue: number, count: number) =>
        Effect.gen(function*() {
          yield* tellers[queue].tell(...upTo(1, count).map(hello))
          told += count
          yield* until(
            Effect.sync(() => server.queues.log.recent(names[queue], 1)[0]?.number),
            (number) => number === told
          )
        })
      return { ...server, tell }
    })

  const told = (live: Live, number: number) => until(Effect.sync(() => idsOf(live).at(-1)), (last) => last === number)

  it.scopedLive("is given those that are still kept, and told how many are not", () =>
    Effect.gen(function*() {
      const server = yield* forgetful("talker")
      const first = yield* connect(server)
      yield* server.tell(0, 10)
      const live = yield* again(server, idOf(first, 2))
      yield* told(live, 10)
      yield* server.tell(0, 1)
      yield* told(live, 11)
      expect(storyOf(live)).toEqual(["5 missed", 8, 9, 10, 11])
    }))

  it.scopedLive("of several queues is told where in between others are missing", () =>
    Effect.gen(function*() {
      const server = yield* forgetful("loud", "quiet")
      const first = yield* connect(server)
      yield* server.tell(0, 4)
      yield* server.tell(1, 1)
      yield* server.tell(0, 5)
      const live = yield* again(server, begunAt(first))
      yield* told(live, 10)
      expect(storyOf(live)).toEqual(["4 missed", 5, "2 missed", 8, 9, 10])
    }))

  it.scopedLive("of one queue is told of what is missing of that one, and of nothing else", () =>
    Effect.gen(function*() {
      const server = yield* forgetful("loud", "quiet")
      const [loud, quiet] = ["loud", "quiet"].map((queue) => `/admin/events?queue=${queue}`)
      const ofLoud = yield* connect(server, loud)
      const ofQuiet = yield* connect(server, quiet)
      yield* server.tell(1, 1)
      yield* server.tell(0, 10)
      yield* server.tell(1, 2)
      const [one, other] = yield* Effect.all([
        again(server, idOf(ofLoud, 4), loud),
        again(server, begunAt(ofQuiet), quiet)
      ])
      yield* told(one, 11)
      yield* told(other, 13)
      expect([storyOf(one), storyOf(other)]).toEqual([["3 missed", 9, 10, 11], [1, 12, 13]])
    }))

  it.scopedLive("and was cut off before the first event has what has happened meanwhile", () =>
    Effect.gen(function*() {
      const server = yield* forgetful("talker")
      yield* server.tell(0, 2)
      const first = yield* connect(server)
      first.disconnect()
      yield* server.tell(0, 2)
      const live = yield* again(server, begunAt(first))
      yield* told(live, 4)
      expect(storyOf(live)).toEqual([3, 4])
    }))

  it.scopedLive("to a process that was started anew is given all that it keeps", () =>
    Effect.gen(function*() {
      const before = yield* forgetful("talker")
      const first = yield* connect(before)
      yield* before.tell(0, 4)
      yield* told(first, 4)
      yield* before.stop
      const server = yield* forgetful("talker")
      yield* server.tell(0, 2)
      // It has seen a 1 and a 2, but not these.
      const live = yield* again(server, idOf(first, 4))
      yield* told(live, 2)
      yield* server.tell(0, 2)
      yield* told(live, 4)
      const later = yield* again(server, idOf(first, 4))
      yield* told(later, 4)
      expect([storyOf(live), storyOf(later)]).toEqual([[1, 2, 3, 4], ["1 missed", 2, 3, 4]])
      const upToDate = yield* again(server, idOf(later, 4))
      yield* server.tell(0, 1)
      yield* told(upToDate, 5)
      expect(storyOf(upToDate)).toEqual([5])
    }))

  it.scopedLive("with an id that is none of what it watches is given all that is kept, and without one nothing old", () =>
    Effect.gen(function*() {
      const server = yield* forgetful("talker")
      const first = yield* connect(server)
      const ofQueue = yield* connect(server, "/admin/events?queue=talker")
      yield* server.tell(0, 2)
      const prefix = begunAt(first).slice(0, -1)
      const senseless = [
        "x",
        "1",
        "-1",
        "2",
        prefix,
        ...["-1", "1e0", "0x1", "1.0", "NaN", "9".repeat(400), "3", "1-1"].map((end) => `${prefix}${end}`),
        idOf(ofQueue, 2),
        "\u00e9".repeat(100)
      ]
      const all = yield* Effect.forEach(senseless, (id) => again(server, id))
      const none = yield* Effect.forEach(["", " "], (id) => again(server, id))
      yield* server.tell(0, 1)
      for (const live of [...all, ...none]) yield* told(live, 3)
      expect(all.map(storyOf)).toEqual(senseless.map(() => [1, 2, 3]))
      expect(none.map(storyOf)).toEqual([[3], [3]])
    }))
})

describe("a client that goes away", () => {
  it.scopedLive("leaves nobody behind who is told", () =>
    Effect.gen(function*() {
      const { queue, tell } = yield* teller("talker")
      const server = yield* operate([queue], { graceful: { grace: "10 minutes" } })
      const all = yield* Effect.all(Array.from({ length: 10 }, () => connect(server)), { concurrency: 10 })
      expect(watchers(server)).toBe(10)
      yield* tell(hello(1))
      for (const [index, live] of all.entries()) if (index % 2 === 0) live.disconnect()
      yield* until(Effect.sync(() => watchers(server)), (count) => count === 5)
      yield* tell(hello(2))
      yield* until(Effect.sync(() => idsOf(all[1])), (ids) => ids.length === 2)
      for (const live of all) live.disconnect()
      yield* until(Effect.sync(() => watchers(server)), (count) => count === 0)
    }))

  it.scopedLive("before it has read anything is forgotten as well", () =>
    Effect.gen(function*() {
      const { queue } = yield* teller("talker")
      const server = yield* operate([queue])
      for (let n = 0; n < 20; n++) {
        const abort = new AbortController()
        const asking = fetch(`${server.url}/admin/events`, {
          headers: { authorization: `Bearer ${secret}` },
          signal: abort.signal
        }).catch(() => {})
        yield* pause(n % 4)
        abort.abort()
        yield* Effect.promise(() => asking)
      }
      yield* until(
        Effect.zipLeft(Effect.sync(() => watchers(server)), pause(50)),
        (count) => count === 0
      )
    }))
})

describe("a client that does not read", () => {
  /** Of about 4 kB, and counted where it is written as JSON. */
  const heavy = () => {
    const written = { events: 0 }
    const text = "x".repeat(4096)
    const event = (n: number): HttpQueue.Told => ({
      _tag: "Heavy",
      n,
      toJSON: () => {
        written.events += 1
        return { _tag: "Heavy", n, text }
      }
    })
    return { written, event }
  }

  it.scopedLive("holds nobody up, has little kept for it, and is told how much it has missed", () =>
    Effect.gen(function*() {
      const total = 30_000
      const { event, written } = heavy()
      const { queue, tell } = yield* teller("talker")
      const server = yield* operate([queue])
      const live = yield* connect(server)
      live.stopReading()
      for (let n = 0; n < total; n += 1000) {
        yield* tell(...upTo(n + 1, n + 1000).map(event))
        yield* pause()
      }
      // The log goes on: what it keeps is the newest.
      yield* until(Effect.sync(() => server.queues.log.recent("talker", 1)[0]?.number), (last) => last === total)
      // What has left the process waits in the buffers of the system; the rest is what a watcher may be behind.
      yield* pause(200)
      expect(written.events).toBeLessThan(total / 2)
      const other = yield* connect(server)
      yield* tell(hello(0))
      yield* until(Effect.sync(() => idsOf(other)), (ids) => ids.length === 1)
      live.readOn()
      const events = yield* until(Effect.sync(live.events), (events) => events.at(-1)?.event === "Hello")
      const missed = events.filter(({ event }) => event === "Missed")
      expect(missed.length).toBeGreaterThan(0)
      expect(events.length - missed.length + missed.reduce((sum, { data }) => sum + data.missed, 0)).toBe(total + 1)
      const ids = idsOf(live)
      expect(ids).toEqual([...ids].sort((a, b) => a - b))
      expect(new Set(ids).size).toBe(ids.length)
    }))

  it.scopedLive("does not slow a queue down", () =>
    Effect.gen(function*() {
      const server = yield* serve({ readings: { batchSize: 1, capacity: 100_000, flushInterval: 0 } })
      const live = yield* connect(server)
      live.stopReading()
      for (let n = 0; n < 100; n++) {
        const { status } = yield* post(server, "/queues/readings?wait=settled", upTo(1, 100).map(reading))
        expect(status).toBe(202)
      }
      expect(yield* server.readings.metrics).toMatchObject({ offered: 10_000, settled: 10_000, held: 0 })
      live.disconnect()
      yield* until(Effect.sync(() => watchers(server)), (count) => count === 0)
    }))
})

describe("a server that closes", () => {
  it.scopedLive("ends the streams at once and in order, long before the grace of other requests is over", () =>
    Effect.gen(function*() {
      const server = yield* serve({ ...each, graceful: { grace: "30 seconds" } })
      const all = yield* Effect.all([connect(server), connect(server, "/admin/events?queue=emails")])
      yield* post(server, "/queues/readings?wait=settled", reading(1))
      yield* until(Effect.sync(() => idsOf(all[0])), (ids) => ids.length === 2)
      const [lasted] = yield* Effect.timed(server.stop)
      expect(Duration.toSeconds(lasted)).toBeLessThan(20)
      for (const live of all) expect(yield* until(Effect.sync(live.end), (end) => end !== undefined)).toBe("ended")
      expect(idsOf(all[0])).toEqual([1, 2])
    }))
})

describe("an event as text", () => {
  const encoded = (events: ReadonlyArray<ServerSentEvents.ServerSentEvent>) =>
    Stream.runFold(
      ServerSentEvents.encode(Stream.fromIterable(events)),
      "",
      (text, bytes) => text + new TextDecoder().decode(bytes)
    )

  it.effect("has when to come again, its id, its type and its data, those that it has", () =>
    Effect.gen(function*() {
      const events = [
        { id: "a-6", retryMillis: 1000 },
        { id: "a-7", type: "Settled", data: { size: 2 } },
        { type: "Missed", data: { missed: 1 } }
      ]
      expect(yield* encoded(events)).toBe(
        "retry: 1000\n\nid: a-6\n\nid: a-7\nevent: Settled\ndata: {\"size\":2}\n\nevent: Missed\ndata: {\"missed\":1}\n\n"
      )
    }))

  it.effect("has no line breaks of its data, and an empty object for what is no JSON", () =>
    Effect.gen(function*() {
      const text = yield* encoded([{ type: "A", data: { text: "1\n2\r3\n\n" } }, { type: "B", data: { big: 1n } }])
      expect(text).toBe("event: A\ndata: {\"text\":\"1\\n2\\r3\\n\\n\"}\n\nevent: B\ndata: {}\n\n")
    }))
})
