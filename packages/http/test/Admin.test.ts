/**
 * What an operator sees: the list of queues, the state of one, and its events of late.
 */
import { describe, expect, it } from "@effect/vitest"
import { Backpressure, BatchStore, Decision } from "@sluice/core"
import { FaultyStore } from "@sluice/core/testing"
import { SluiceApi } from "@sluice/http"
import { Context, Effect, Layer, Schedule, Schema } from "effect"
import { admin, command, until } from "./support/operating.ts"
import { post, type Reading, serve } from "./support/server.ts"

const reading = (celsius: number): Reading => ({ sensor: "roof", celsius })

const decodeState = Schema.decodeUnknownSync(SluiceApi.QueueState, { onExcessProperty: "error" })
const decodeEvents = Schema.decodeUnknownSync(Schema.Array(SluiceApi.QueueEvent), { onExcessProperty: "error" })

const numbersOf = (counts: object) =>
  Object.fromEntries(Object.entries(counts).filter(([, count]) => typeof count === "number"))

describe("the list", () => {
  it.scopedLive("has every queue, in the order in which they are mounted, as its own page shows it", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const { body, status } = yield* admin(server, "/queues")
      expect(status).toBe(200)
      expect(body).toEqual([
        (yield* admin(server, "/queues/readings")).body,
        (yield* admin(server, "/queues/emails")).body
      ])
      expect(body.map(({ name, system }: any) => [name, system])).toEqual([
        ["readings", "WriteBehind"],
        ["emails", "BatchQueue"]
      ])
    }))
})

describe("the state", () => {
  it.scopedLive("of a WriteBehind has its counts, and no store", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        readings: {
          batchSize: 1,
          retry: Schedule.recurs(0),
          flush: ({ items: [{ celsius }] }) => celsius < 0 ? Effect.fail("cold") : Effect.void
        }
      })
      yield* post(server, "/queues/readings?wait=settled", [reading(1), reading(2), reading(-3)])
      const { body, status } = yield* admin(server, "/queues/readings")
      expect(status).toBe(200)
      const state = decodeState(body)
      const counts = numbersOf(yield* server.readings.metrics)
      expect(state).toEqual({
        name: "readings",
        system: "WriteBehind",
        held: 0,
        paused: false,
        draining: false,
        drainedPerSecond: expect.any(Number),
        stalledForMillis: null,
        operations: ["resume", "drain"],
        counts,
        droppedByReason: { "retries-exhausted": 1 },
        store: null
      })
      expect(state.counts).toMatchObject({ offered: 3, settled: 2, dropped: 1, batches: 3, held: 0 })
    }))

  it.scopedLive("of a BatchQueue has its counts, and what is in its store, with the age of the oldest", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        emails: {
          maxDeliveries: 1,
          retry: Schedule.recurs(0),
          onProcessError: () => Effect.void,
          process: ({ items: [{ to }] }) => to === "nobody" ? Effect.fail("no such address") : Effect.void
        }
      })
      yield* post(server, "/queues/emails?wait=stored", { to: "ada" })
      yield* post(server, "/queues/emails?wait=stored", { to: "nobody" })
      yield* until(server.emails.metrics, ({ deadLettered, settled }) => settled === 1 && deadLettered === 1)
      yield* server.emails.pause
      const before = Date.now()
      yield* post(server, "/queues/emails?wait=stored", [{ to: "bob" }, { to: "eve" }])
      const state = decodeState((yield* admin(server, "/queues/emails")).body)
      const counts = numbersOf(yield* server.emails.metrics)
      expect(state).toMatchObject({
        name: "emails",
        system: "BatchQueue",
        held: 0,
        paused: true,
        draining: false,
        stalledForMillis: null,
        operations: ["pause", "resume", "drain", "deadLetters"],
        droppedByReason: {},
        store: { dead: { batches: 1, items: 1 } }
      })
      expect(state.counts).toMatchObject({ offered: 4, stored: 4, settled: 1, deadLettered: 1 })
      expect(state.counts).toEqual(counts)
      expect(state.store!.pending.items).toBe(2)
      expect(state.store!.oldestAgeMillis).toBeGreaterThanOrEqual(0)
      expect(state.store!.oldestAgeMillis).toBeLessThanOrEqual(Date.now() - before + 1)
      yield* server.emails.resume
      yield* until(server.emails.metrics, ({ settled }) => settled === 3)
      const { store } = decodeState((yield* admin(server, "/queues/emails")).body)
      expect(store).toEqual({
        pending: { batches: 0, items: 0 },
        dead: { batches: 1, items: 1 },
        newer: { batches: 0, items: 0 },
        oldestAgeMillis: null,
        heldUntilMillis: null
      })
    }))

  it.scopedLive("of a BatchQueue has what only a newer version can read, and until when it is held", () =>
    Effect.gen(function*() {
      const stores = Context.get(yield* Layer.build(BatchStore.layerMemory), BatchStore.BatchStore)
      const store = yield* stores.queue("emails")
      yield* store.append({ batches: [{ payload: new Uint8Array(1), items: 3, oldestAtMillis: 1 }] })
      const { batches } = yield* store.claim({ limit: 1, leaseMillis: 60_000 })
      yield* store.release(batches, { version: 99, delayMillis: 3_600_000 })
      const before = Date.now()
      yield* store.hold(3_600_000)
      const server = yield* serve({ store: Layer.succeed(BatchStore.BatchStore, stores) })
      const state = decodeState((yield* admin(server, "/queues/emails")).body)
      expect(state.store).toEqual({
        pending: { batches: 1, items: 3 },
        dead: { batches: 0, items: 0 },
        newer: { batches: 1, items: 3 },
        oldestAgeMillis: null,
        heldUntilMillis: expect.any(Number)
      })
      expect(state.store!.heldUntilMillis).toBeGreaterThanOrEqual(before + 3_600_000)
      expect(state.store!.heldUntilMillis).toBeLessThanOrEqual(Date.now() + 3_600_000)
    }))

  it.scopedLive("shows what is held while a sink hangs", () =>
    Effect.gen(function*() {
      const gate = yield* Effect.makeLatch()
      const server = yield* serve({ readings: { batchSize: 1, flush: () => gate.await } })
      yield* post(server, "/queues/readings", [reading(1), reading(2), reading(3)])
      yield* until(server.readings.metrics, ({ inFlight }) => inFlight === 1)
      const state = decodeState((yield* admin(server, "/queues/readings")).body)
      expect(state).toMatchObject({ held: 3, counts: { offered: 3, settled: 0, held: 3, inFlight: 1, depth: 2 } })
      yield* gate.open
    }))

  it.scopedLive("has the rate at which it drains, once that was measured", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      const rates = yield* until(
        Effect.zipRight(
          post(server, "/queues/readings?wait=settled", reading(1)),
          Effect.map(admin(server, "/queues"), ({ body }) => body.map((each: any) => each.drainedPerSecond))
        ),
        ([rate]) => rate > 0
      )
      expect(rates).toEqual([expect.any(Number), 0])
    }))

  it.scopedLive("of a queue that is not there is a 404, with its name", () =>
    Effect.gen(function*() {
      const server = yield* serve()
      for (const path of ["/queues/ghosts", "/queues/ghosts/events", "/queues/ghosts/dead-letters"]) {
        const { body, status } = yield* admin(server, path)
        expect([path, status, body]).toEqual([path, 404, { _tag: "UnknownQueue", queue: "ghosts" }])
      }
      for (const name of ["__proto__", "constructor", "%2e%2e", "a%2Fb", "%F0%9F%8C%8A", "x".repeat(2000)]) {
        expect([name, (yield* admin(server, `/queues/${name}`)).status]).toEqual([name, 404])
      }
    }))

  it.scopedLive("is told also while the store cannot be used, with a store of null", () =>
    Effect.gen(function*() {
      let isDown = false
      const server = yield* serve({
        store: Layer.provide(
          FaultyStore.layer(() => isDown ? { _tag: "Fails" } : undefined),
          BatchStore.layerMemory
        ),
        emails: { onInternalError: () => Effect.void }
      })
      yield* post(server, "/queues/emails?wait=stored", { to: "ada" })
      yield* until(server.emails.metrics, ({ settled }) => settled === 1)
      isDown = true
      const state = yield* admin(server, "/queues/emails")
      expect([state.status, state.body.store, state.body.counts.settled]).toEqual([200, null, 1])
      const list = yield* admin(server, "/queues")
      expect([list.status, list.body.length, list.body[1].store]).toEqual([200, 2, null])
      for (const path of ["/queues/emails/dead-letters", "/queues/emails/dead-letters/1"]) {
        const { body, status } = yield* admin(server, path)
        expect([path, status, body]).toMatchObject([path, 503, { _tag: "QueueUnavailable", reason: "store" }])
      }
      for (const path of ["redrive", "discard"]) {
        const { body, status } = yield* command(server, `/queues/emails/dead-letters/${path}`, { ids: "all" })
        expect([path, status, body]).toMatchObject([path, 503, { queue: "emails", reason: "store" }])
      }
      isDown = false
      expect((yield* admin(server, "/queues/emails")).body.store).toMatchObject({ dead: { batches: 0 } })
      expect((yield* admin(server, "/queues/emails/dead-letters")).body).toEqual([])
    }))
})

describe("the events", () => {
  it.scopedLive("are those of late, oldest first, and numbered as they came over all queues", () =>
    Effect.gen(function*() {
      const server = yield* serve({ readings: { batchSize: 1 } })
      yield* post(server, "/queues/readings?wait=settled", reading(1))
      yield* post(server, "/queues/emails?wait=stored", { to: "ada" })
      yield* until(server.emails.metrics, ({ settled }) => settled === 1)
      yield* post(server, "/queues/readings?wait=settled", reading(2))
      const tagsOf = (queue: string, wanted: number) =>
        Effect.map(
          until(admin(server, `/queues/${queue}/events`), ({ body }) => body.length >= wanted),
          ({ body }) => decodeEvents(body)
        )
      const readings = yield* tagsOf("readings", 4)
      const emails = yield* tagsOf("emails", 4)
      expect(readings.map(({ event }) => event._tag)).toEqual(["Flushed", "Settled", "Flushed", "Settled"])
      expect(emails.map(({ event }) => event._tag)).toEqual(["Stored", "Claimed", "Flushed", "Settled"])
      expect(readings[0].event).toEqual({ _tag: "Flushed", shard: 0, size: 1, trigger: "size", attempt: 1 })
      expect(new Set(readings.map(({ queue }) => queue))).toEqual(new Set(["readings"]))
      const numbers = [...readings.slice(0, 2), ...emails, ...readings.slice(2)].map(({ number }) => number)
      expect(numbers).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
      for (const { atMillis } of readings) expect(Math.abs(Date.now() - atMillis)).toBeLessThan(60_000)
    }))

  it.scopedLive("are as many as are asked for, and no more than are kept", () =>
    Effect.gen(function*() {
      const server = yield* serve({ readings: { batchSize: 1 }, queues: { recentEvents: 5 } })
      for (let n = 0; n < 4; n++) yield* post(server, "/queues/readings?wait=settled", reading(n))
      const numbers = (limit: string) =>
        Effect.map(admin(server, `/queues/readings/events${limit}`), ({ body }) => body.map((each: any) => each.number))
      yield* until(numbers(""), (seen) => seen.at(-1) === 8)
      expect(yield* numbers("")).toEqual([4, 5, 6, 7, 8])
      expect(yield* numbers("?limit=2")).toEqual([7, 8])
      expect(yield* numbers("?limit=10000")).toEqual([4, 5, 6, 7, 8])
      expect(yield* numbers("?limit=0")).toEqual([])
      for (const limit of ["-1", "1.5", "10001", "NaN", "all", ""]) {
        expect([limit, (yield* admin(server, `/queues/readings/events?limit=${limit}`)).status]).toEqual([limit, 400])
      }
    }))

  it.scopedLive("are not made where none are kept", () =>
    Effect.gen(function*() {
      const server = yield* serve({ queues: { recentEvents: 0 } })
      yield* post(server, "/queues/readings?wait=settled", reading(1))
      const { body, status } = yield* admin(server, "/queues/readings/events")
      expect([status, body]).toEqual([200, []])
    }))

  it.scopedLive("have nothing of the items in them", () =>
    Effect.gen(function*() {
      const gate = yield* Effect.makeLatch()
      const server = yield* serve({
        readings: {
          capacity: 1,
          batchSize: 1,
          retry: Schedule.recurs(1),
          policy: Backpressure.coalesceByKey((item) => item.sensor, { whenFull: Backpressure.dropOldest }),
          flush: ({ items: [{ sensor }] }) =>
            sensor === "gate" ? gate.await : sensor === "bad" ? Effect.fail("down") : Effect.void
        },
        emails: {
          maxDeliveries: 1,
          retry: Schedule.recurs(0),
          policy: Backpressure.dropNewest,
          capacity: 1,
          onProcessError: () => Effect.void,
          process: () => Effect.fail("down")
        }
      })
      const tagged = (sensor: string): Reading => ({ sensor, celsius: 1, tags: ["swordfish"] })
      yield* server.readings.offer(tagged("gate"))
      yield* until(server.readings.metrics, ({ inFlight }) => inFlight === 1)
      for (const sensor of ["a", "a", "b", "bad"]) yield* server.readings.offer(tagged(sensor))
      yield* gate.open
      yield* until(server.readings.metrics, ({ held }) => held === 0)
      for (let n = 0; n < 20; n++) server.emails.unsafeOffer({ to: "swordfish", body: "swordfish" })
      yield* until(server.emails.metrics, ({ dropped, offered, deadLettered }) => dropped + deadLettered === offered)
      const seen = yield* until(
        Effect.zipWith(
          admin(server, "/queues/readings/events"),
          admin(server, "/queues/emails/events"),
          (readings, emails) => [...readings.body, ...emails.body]
        ),
        (events) => events.some(({ event }) => event._tag === "DeadLettered")
      )
      const tags = new Set(seen.map(({ event }) => event._tag))
      for (const tag of ["Coalesced", "Dropped", "Flushed", "Retried", "Stored", "DeadLettered"]) {
        expect(tags).toContain(tag)
      }
      expect(JSON.stringify(seen)).not.toContain("swordfish")
      expect(seen.find(({ event }) => event._tag === "Dropped").event).toEqual({
        _tag: "Dropped",
        reason: "drop-oldest"
      })
      expect(seen.find(({ event }) => event._tag === "Retried").event).toMatchObject({ size: 1, error: "Error: down" })
    }))

  it.scopedLive("of leases have the place and the token of each", () =>
    Effect.gen(function*() {
      const stores = Context.get(yield* Layer.build(BatchStore.layerMemory), BatchStore.BatchStore)
      const store = yield* stores.queue("emails")
      const gate = yield* Effect.makeLatch()
      let attempts = 0
      const server = yield* serve({
        store: Layer.succeed(BatchStore.BatchStore, stores),
        emails: {
          retry: Schedule.spaced("1 hour"),
          onProcessError: () => Effect.void,
          onInternalError: () => Effect.void,
          process: () => attempts++ === 0 ? Effect.fail("later") : gate.await
        }
      })
      const eventOf = (tag: string) =>
        Effect.map(
          until(
            admin(server, "/queues/emails/events"),
            ({ body }) => body.some(({ event }: any) => event._tag === tag)
          ),
          ({ body }) => body.map(({ event }: any) => event).filter(({ _tag }: any) => _tag === tag).at(-1)
        )
      yield* post(server, "/queues/emails?wait=stored", { to: "ada" })
      const released = yield* eventOf("Released")
      expect(released).toEqual({
        _tag: "Released",
        shard: 0,
        claims: [{ sequence: 1, token: 1 }],
        delayMillis: 3_600_000
      })
      expect(yield* eventOf("Claimed")).toEqual({
        _tag: "Claimed",
        shard: 0,
        claims: [{ sequence: 1, token: 1 }],
        size: 1
      })
      yield* post(server, "/queues/emails?wait=stored", { to: "bob" })
      yield* until(Effect.sync(() => attempts), (attempts) => attempts === 2)
      // Somebody else settles what this process holds.
      yield* store.settle([{ sequence: 2, token: 1 }])
      yield* gate.open
      const lost = yield* eventOf("LeaseWasLost")
      expect(lost).toEqual({ _tag: "LeaseWasLost", shard: 0, claims: [{ sequence: 2, token: 1 }] })
    }))

  it.scopedLive("say of what decide has discarded that it was dropped, and why", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        emails: {
          onProcessError: () => Effect.void,
          process: () => Effect.fail("no such address"),
          decide: () => Decision.discard
        }
      })
      yield* post(server, "/queues/emails?wait=stored", { to: "swordfish" })
      yield* until(server.emails.metrics, ({ dropped }) => dropped === 1)
      const { body } = yield* until(
        admin(server, "/queues/emails/events"),
        ({ body }) => body.some(({ event }: any) => event._tag === "Dropped")
      )
      expect(body.find(({ event }: any) => event._tag === "Dropped").event).toEqual({
        _tag: "Dropped",
        reason: "discarded",
        error: "Error: no such address"
      })
      const state = decodeState((yield* admin(server, "/queues/emails")).body)
      expect(state.droppedByReason).toEqual({ discarded: 1 })
    }))

  it.scopedLive("say of an offer that was interrupted how many items were not taken", () =>
    Effect.gen(function*() {
      const server = yield* serve({
        readings: {
          capacity: 1,
          batchSize: 1,
          policy: Backpressure.suspend(),
          flush: () => Effect.never,
          drainTimeout: 0
        }
      })
      yield* server.readings.offer(reading(1))
      yield* until(server.readings.metrics, ({ inFlight }) => inFlight === 1)
      const offers = yield* Effect.fork(server.readings.offerAll([2, 3, 4].map(reading)))
      yield* until(server.readings.metrics, ({ depth }) => depth === 1)
      yield* Effect.yieldNow()
      yield* offers.interruptAsFork(offers.id())
      const { body } = yield* until(
        admin(server, "/queues/readings/events"),
        ({ body }) => body.some(({ event }: any) => event._tag === "OfferInterrupted")
      )
      expect(body.find(({ event }: any) => event._tag === "OfferInterrupted").event).toEqual({
        _tag: "OfferInterrupted",
        taken: 1,
        notTaken: 2
      })
    }))
})
