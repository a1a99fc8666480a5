import { Backpressure, Batch, BatchQueue, type BatchStore, Buffer, Codec, Decision } from "@sluice/core"
import * as FaultyStore from "@sluice/core/testing/FaultyStore"
import * as SeededScheduler from "@sluice/core/testing/SeededScheduler"
import { Cause, Clock, Effect, Exit, Fiber, Option, Schedule, Schema, Scope } from "effect"
import { BatchStore as BatchStoreTag } from "../../src/BatchStore.ts"
import { makeMemoryStore } from "../../src/internal/store/memoryStore.ts"

// Random programs on one store: a first process that is closed at some moment, and a second one that handles the rest.
// What became of each item is known from what callers, handlers and `onDrop` were told, and from what is in the store.

/** What it was made of by merging is in `ids`. */
export interface Item {
  readonly key: number
  readonly ids: ReadonlyArray<number>
}

export const Item = Schema.Struct({ key: Schema.Number, ids: Schema.Array(Schema.Number) })

const keyOf = ({ key }: Item) => key
const merge = (held: Item, next: Item): Item => ({ key: held.key, ids: [...held.ids, ...next.ids] })

/** The choices of one run. */
export const choices = (seed: number) => {
  const next = SeededScheduler.mulberry32(seed ^ 0x5eed)
  const below = (limit: number) => next() % limit
  const chance = (probability: number) => next() < probability * 2 ** 32
  const pick = <A>(from: ReadonlyArray<A>): A => from[below(from.length)]
  return { below, chance, pick }
}

export interface Setting {
  /** What goes wrong in the store, for a seed. */
  readonly plan: (seed: number) => FaultyStore.Plan
  /** Whether an operation may be done although it seems to have failed. */
  readonly losesAnswers: boolean
  /** Whether nothing but a handler can take long, so that leases are renewed in time. */
  readonly isInTime: boolean
}

/** What a caller was told of an item. */
type Answer = "in" | "out" | "dropped" | "stored" | "duplicate" | "unknown"

const policies: ReadonlyArray<BatchQueue.IntakePolicy<Item>> = [
  Backpressure.suspend(),
  Backpressure.suspend({ timeout: 5 }),
  Backpressure.reject,
  Backpressure.dropNewest,
  Backpressure.dropOldest,
  Backpressure.coalesceByKey(keyOf, { merge }),
  Backpressure.coalesceByKey(keyOf, { merge, whenFull: Backpressure.suspend() }),
  Backpressure.coalesceByKey(keyOf, { merge, whenFull: Backpressure.reject })
]

const decisions: ReadonlyArray<Decision.Decision> = [
  ...Array.from({ length: 12 }, () => Decision.retry),
  Decision.retryAfter(3),
  Decision.retryAfter(15, { pause: true }),
  Decision.snooze(4),
  Decision.snooze(8, { pause: true }),
  Decision.deadLetter,
  Decision.discard
]

const codec = Codec.make(Item)

export const leaseMillis = 30

/** How long closing may take: handlers, their last words, and storing what is left. */
export const longestClose = (drainMillis: number) => drainMillis + 5000 + Math.max(drainMillis, 5000)

export const program = (setting: Setting) => (seed: number) =>
  Effect.gen(function*() {
    const { below, chance, pick } = choices(seed)
    const violations: Array<string> = []
    const violated = (what: string) => {
      if (!violations.includes(what)) violations.push(what)
    }
    const raw = makeMemoryStore()
    const store = yield* raw.queue("laws")
    const clock = yield* Effect.clock

    // --- the ledger ---------------------------------------------------------------------------------------------------

    const answers = new Map<number, Answer>()
    const handled = new Map<number, number>()
    const dropped = new Map<number, string>()
    const discarded = new Set<number>()
    const named = new Map<string, Array<number>>()
    const drops = { count: 0 }
    const holding = new Set<number>()
    /** What a handler had was stored. */
    const given = new Set<number>()
    const seen = { offeredBack: 0 }
    const make = (): Item => {
      const id = answers.size
      answers.set(id, "unknown")
      return { key: below(3), ids: [id] }
    }
    const answer = (items: ReadonlyArray<Item>, what: Answer) => {
      for (const { ids: [id] } of items) answers.set(id, what)
    }
    const onDrop = (item: Item, reason: string) => {
      drops.count += 1
      for (const id of item.ids) {
        if (dropped.has(id)) violated(`item ${id} was dropped twice: ${dropped.get(id)}, ${reason}`)
        dropped.set(id, reason)
      }
    }

    // --- the handlers -------------------------------------------------------------------------------------------------

    const done = (items: ReadonlyArray<Item>) => {
      for (const { ids } of items) for (const id of ids) handled.set(id, (handled.get(id) ?? 0) + 1)
    }
    const misbehaving = (batch: Batch.Batch<Item>, queue: BatchQueue.Handle<Item>): Effect.Effect<void, unknown> =>
      Effect.gen(function*() {
        if (chance(0.4)) yield* Effect.sleep(below(20))
        switch (below(14)) {
          case 0:
            return yield* Effect.fail("down")
          case 1:
            return yield* Effect.die(new Error("bug"))
          case 2:
            return yield* Effect.interrupt
          case 3:
            yield* Effect.sleep(leaseMillis * 3)
            break
          case 4: {
            const indexes = batch.items.map((_, index) => index).filter(() => chance(0.5))
            done(batch.items.filter((_, index) => !indexes.includes(index)))
            return yield* Batch.failSome(indexes, "some")
          }
          case 5:
          case 6: {
            if (seen.offeredBack > 10) break
            const items = Array.from({ length: 1 + below(2) }, make)
            seen.offeredBack += items.length
            const exit = yield* Effect.exit(queue.offer(items))
            answer(items, Exit.isSuccess(exit) ? "in" : "out")
            if (chance(0.3)) return yield* Effect.fail("after offering back")
            break
          }
          case 7:
            return yield* Effect.uninterruptible(Effect.zipRight(Effect.sleep(below(60)), Effect.fail("stubborn")))
        }
        done(batch.items)
      })
    const process = (batch: Batch.Batch<Item>, queue: BatchQueue.Handle<Item>): Effect.Effect<void, unknown> =>
      Effect.suspend(() => {
        const ids = batch.items.flatMap((item) => item.ids)
        if (setting.isInTime) {
          for (const id of ids) if (holding.has(id)) violated(`two handlers have item ${id} at once`)
        }
        for (const id of ids) {
          holding.add(id)
          given.add(id)
        }
        return Effect.ensuring(
          misbehaving(batch, queue),
          Effect.sync(() => {
            for (const id of ids) holding.delete(id)
          })
        )
      })

    // --- the first process --------------------------------------------------------------------------------------------

    const drainTimeout = pick([0, 10, 200, 30_000])
    const merges = chance(0.3)
    const most = pick([undefined, undefined, { items: 1 + below(6), whenFull: pick(["suspend", "reject"] as const) }])
    const options = {
      name: "laws",
      schema: Item,
      buffer: merges ? Buffer.merging(keyOf, merge) : pick([undefined, Buffer.appending<Item>()]),
      capacity: pick([1, 2, 3, 10]),
      flush: { size: pick([0, 1, 2, 5]), linger: pick([0, 1, 10]), pushes: pick([0, 0, 3]) },
      workers: 1 + below(3),
      batches: 1 + below(3),
      leaseDuration: leaseMillis,
      pollInterval: pick([5, 1000]),
      inlineDelay: pick([0, 5, 1000]),
      cooldown: pick([undefined, 0, 20]),
      isolate: pick([undefined, "bisect", "each"] as const),
      decide: () => pick(decisions),
      maxDeliveries: pick([undefined, 1, 1, 2, 4]),
      retry: pick([
        Schedule.spaced("7 millis"),
        Schedule.intersect(Schedule.exponential("2 millis"), Schedule.recurs(3)),
        Schedule.recurs(1),
        Schedule.forever
      ]),
      maxPending: most,
      drainTimeout,
      onDrop,
      onProcessError: () => Effect.void,
      onInternalError: () => Effect.void,
      metrics: pick([false, undefined] as const)
    }
    const scope = yield* Scope.make()
    const faulty = FaultyStore.make(raw, setting.plan(seed))
    const queue = yield* BatchQueue.make<Item, Schema.Schema.Encoded<typeof Item>, unknown, never>({
      ...options,
      policy: pick(policies),
      process
    }).pipe(Effect.provideService(BatchStoreTag, faulty), Scope.extend(scope))

    /** In one step, so that nothing can happen in between. */
    const snapshot = () => {
      const metrics = Effect.runSync(queue.metrics)
      const { pending } = Effect.runSync(Effect.withClock(store.stats, clock))
      return { metrics, pending: pending.items }
    }
    const accounted = ({ metrics, pending }: ReturnType<typeof snapshot>) =>
      metrics.refused + metrics.coalesced + metrics.duplicates + metrics.dropped + metrics.settled
      + (metrics.deadLettered - metrics.redriven - metrics.discarded) + metrics.discarded
      + metrics.held + pending
    /** Holds in the middle of everything: what is held on the way in is counted in the step in which it moves. */
    const checkWayIn = () => {
      const { metrics } = snapshot()
      // What is decided to be discarded was stored before.
      const { discarded = 0 } = metrics.droppedByReason
      const sum = metrics.refused + metrics.coalesced + metrics.duplicates + metrics.dropped - discarded
        + metrics.stored + metrics.held
      // What was stored may be merged later, by who claims it, and then is counted twice here.
      if (merges ? sum < metrics.offered : sum !== metrics.offered) {
        violated(`on the way in ${metrics.offered} were offered, but ${sum} are known: ${JSON.stringify(metrics)}`)
      }
      if (metrics.depth < 0 || metrics.buffered < 0 || metrics.held < metrics.depth + metrics.buffered) {
        violated(`less than nothing is held: ${JSON.stringify(metrics)}`)
      }
      if (drops.count !== metrics.dropped) violated(`${metrics.dropped} were dropped, ${drops.count} reported`)
    }
    /** Holds where nothing runs: in the middle of an operation the store has it already, or the queue still. */
    const checkAll = (when: string) => {
      const taken = snapshot()
      if (!setting.losesAnswers && accounted(taken) !== taken.metrics.offered) {
        violated(
          `${when} ${taken.metrics.offered} were offered, but ${accounted(taken)} are known: ${JSON.stringify(taken)}`
        )
      }
    }

    const told = (items: ReadonlyArray<Item>, exit: Exit.Exit<unknown, BatchQueue.BatchOfferError<Item>>) => {
      if (Exit.isSuccess(exit)) return answer(items, exit.value === "dropped" ? "dropped" : "in")
      const failure = Cause.failureOption(exit.cause)
      if (Option.isNone(failure)) return
      const { taken, notTaken } = failure.value
      if (taken + notTaken.length !== items.length) violated(`${failure.value._tag} does not add up`)
      answer(items.slice(0, taken), "in")
      answer(items.slice(taken), "out")
    }
    const offerStored = (id: string | undefined) =>
      Effect.suspend(() => {
        const item = make()
        if (id !== undefined) named.set(id, [...(named.get(id) ?? []), item.ids[0]])
        return Effect.onExit(queue.offerStored(item, { id }), (exit) =>
          Effect.sync(() => {
            if (Exit.isSuccess(exit)) {
              if (exit.value === "stored") checkStored(item.ids, "who offered it")
              return answer([item], exit.value)
            }
            const failure = Cause.failureOption(exit.cause)
            if (Option.isNone(failure)) return
            answer([item], failure.value._tag === "ItemDropped" ? "dropped" : "out")
            if (failure.value._tag === "ItemDropped" && id !== undefined) answers.set(item.ids[0], "unknown")
          }))
      })
    const offerAll = (count: number) =>
      Effect.suspend(() => {
        const items = Array.from({ length: count }, make)
        // One of several that is dropped is not told apart.
        return Effect.onExit(queue.offerAll(items), (exit) => Effect.sync(() => told(items, exit)))
      })
    const offerOne = Effect.suspend(() => {
      const item = make()
      return Effect.onExit(queue.offer(item), (exit) => Effect.sync(() => told([item], exit)))
    })
    /** What is not there any more was given to a handler, dropped or discarded. */
    const checkStored = (ids: ReadonlyArray<number>, who: string) => {
      const there = new Set(payloadsIn(store).flatMap(idsOf))
      for (const id of ids) {
        if (!there.has(id) && !given.has(id) && !dropped.has(id) && !discarded.has(id)) {
          violated(`${who} was told that item ${id} is stored, but it is not`)
        }
      }
    }
    const flush = Effect.suspend(() => {
      const before = [...answers].filter(([, what]) => what === "in" || what === "stored").map(([id]) => id)
      return Effect.map(queue.flush, () => checkStored(before, "who flushed"))
    })
    const impatient = (effect: Effect.Effect<unknown, unknown>) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.fork(effect)
        yield* Effect.sleep(below(6))
        yield* Fiber.interrupt(fiber)
      })
    const step = (): Effect.Effect<unknown, unknown> => {
      switch (below(13)) {
        case 0:
        case 1:
          return offerOne
        case 2:
          return offerAll(1 + below(4))
        case 3:
          return offerStored(undefined)
        case 4:
        case 5:
          return offerStored(`id-${below(6)}`)
        case 6:
          return impatient(chance(0.5) ? offerAll(1 + below(4)) : offerStored(pick([undefined, `id-${below(6)}`])))
        case 7:
          return impatient(flush)
        case 8:
          return flush
        case 9:
          return Effect.zipRight(queue.pause, Effect.zipRight(Effect.sleep(below(20)), queue.resume))
        case 10:
          return Effect.sync(() => {
            const item = make()
            const outcome = queue.unsafeOffer(item)
            answer(
              [item],
              outcome === "accepted" || outcome === "coalesced" ? "in" : outcome === "dropped" ? "dropped" : "out"
            )
          })
        default:
          return Effect.sleep(below(20))
      }
    }
    const producer = Effect.gen(function*() {
      for (let i = 0; i < 8; i++) {
        yield* Effect.exit(Effect.suspend(step))
        checkWayIn()
      }
    })
    const operator = Effect.gen(function*() {
      for (let i = 0; i < 8; i++) {
        yield* Effect.sleep(below(25))
        const letters = yield* queue.deadLetters.list({ limit: 3 })
        if (letters.length === 0) continue
        const { id } = pick(letters)
        if (chance(0.6)) {
          const which = pick<BatchQueue.WhichLetters>(["all", [id], { reason: letters[0].reason as any }, {
            error: "bug"
          }])
          const redrive = queue.deadLetters.redrive(which, pick([{}, { limit: 1 }, { rate: 50 }, { dryRun: true }]))
          yield* chance(0.5) ? redrive : Effect.flatMap(Effect.fork(redrive), Fiber.interrupt)
        } else {
          const letter = yield* queue.deadLetters.inspect(id)
          const discard = Effect.onExit(queue.deadLetters.discard([id]), (exit) =>
            Effect.sync(() => {
              const isDone = Exit.isSuccess(exit) ? exit.value.items > 0 : setting.losesAnswers
              if (!isDone) return
              if (Option.isNone(letter)) return violated("what cannot be inspected was discarded")
              for (const each of idsOf(letter.value.payload)) discarded.add(each)
            }))
          yield* Effect.uninterruptible(discard)
        }
      }
    })
    // Nothing else wakes at these instants, so that nothing else is running.
    const auditor = Effect.gen(function*() {
      yield* Effect.sleep(0.5)
      for (;;) {
        yield* Effect.sleep(1 + below(30))
        checkWayIn()
        if (setting.isInTime) checkAll("in between")
      }
    })
    const auditing = yield* Effect.fork(auditor)
    const operating = yield* Effect.fork(Effect.exit(operator))
    const work = yield* Effect.fork(Effect.all([producer, producer, producer], { concurrency: "unbounded" }))
    if (chance(0.3)) yield* Effect.race(Fiber.join(work), Effect.sleep(500))
    else yield* Effect.sleep(below(200))
    const closedAt = yield* Clock.currentTimeMillis
    yield* Scope.close(scope, Exit.void)
    const closeMillis = (yield* Clock.currentTimeMillis) - closedAt
    if (setting.isInTime && closeMillis > longestClose(drainTimeout)) violated(`closing took ${closeMillis} ms`)
    yield* Fiber.join(work)
    // What it asks of the store itself may hang.
    yield* Fiber.interrupt(operating)
    yield* Fiber.interrupt(auditing)
    // A call of a slow store may end after closing has given it up, and is counted then.
    if (!setting.isInTime) yield* Effect.sleep(100)
    checkWayIn()
    checkAll("after closing")
    const { metrics } = snapshot()
    if (metrics.held + metrics.depth + metrics.buffered + metrics.inFlight !== 0) {
      violated(`something is held after closing: ${JSON.stringify(metrics)}`)
    }
    if (setting.isInTime && metrics.leasesLost > 0) violated(`${metrics.leasesLost} leases were lost`)

    const leased = leasedIn(store)
    if (setting.isInTime && leased > 0) violated(`${leased} batches are leased after closing`)

    // --- the second process -------------------------------------------------------------------------------------------

    let rounds = 0
    yield* Effect.scoped(Effect.gen(function*() {
      const second = yield* BatchQueue.make<Item, Schema.Schema.Encoded<typeof Item>, never, never>({
        ...options,
        retry: Schedule.forever,
        decide: undefined,
        maxDeliveries: undefined,
        workers: 2,
        batches: 2,
        process: (batch) => Effect.sync(() => done(batch.items))
      }).pipe(Effect.provideService(BatchStoreTag, raw))
      for (; rounds < 50; rounds++) {
        if ((yield* second.stats).pending.items === 0) break
        yield* Effect.sleep(leaseMillis)
      }
    }))
    if (rounds === 50) violated("the second process cannot handle what the first has left")

    // --- the reckoning ------------------------------------------------------------------------------------------------

    const letters = yield* lettersOf(store)
    const dead = new Set(letters.flatMap(({ payload }) => idsOf(payload)))
    const isDecided = (id: number) => dropped.get(id) === "discarded"
    const isIn = (id: number) => handled.has(id) || dead.has(id) || discarded.has(id) || isDecided(id)
    for (const [id, what] of answers) {
      const fate = `item ${id} was told ${what}; dropped: ${dropped.get(id) ?? "no"}; in: ${isIn(id)}`
      const isLost = !isIn(id) && !dropped.has(id)
      if ((what === "in" || what === "dropped") && isLost) violated(`lost: ${fate}`)
      if (what === "stored" && !isIn(id)) violated(`stored and lost: ${fate}`)
      if (what === "out" && (isIn(id) || dropped.has(id))) violated(`refused, and in: ${fate}`)
      if (setting.losesAnswers) continue
      if (isIn(id) && dropped.has(id) && !isDecided(id)) violated(`both in and dropped: ${fate}`)
      if (what === "dropped" && !dropped.has(id)) violated(`nobody was told: ${fate}`)
      if (what === "duplicate" && isIn(id)) violated(`a duplicate is in: ${fate}`)
    }
    for (const id of [...handled.keys(), ...dead]) if (!answers.has(id)) violated(`item ${id} was invented`)
    for (const [id, items] of named) {
      const stored = items.filter(isIn).length
      const ofAnswer = (what: Answer) => items.filter((item) => answers.get(item) === what).length
      if (stored > 1) violated(`${stored} items of the id ${id} are in`)
      if (ofAnswer("stored") > 1) violated(`${ofAnswer("stored")} callers were told that ${id} is stored`)
      if (ofAnswer("duplicate") > 0 && stored === 0) violated(`duplicates of ${id}, but none is in`)
    }
    return {
      violations,
      metrics,
      seen: {
        ...seen,
        stored: metrics.stored,
        settled: metrics.settled,
        coalesced: metrics.coalesced,
        duplicates: metrics.duplicates,
        dropped: metrics.dropped,
        refused: metrics.refused,
        retries: metrics.retries,
        deadLettered: metrics.deadLettered,
        decided: metrics.droppedByReason.discarded ?? 0,
        redriven: metrics.redriven,
        handledBySecond: [...handled.values()].length - metrics.settled
      }
    }
  })

const itemsOf = (payload: Uint8Array): ReadonlyArray<Item> => {
  const decoded = codec.decodeBatch(payload)
  if (decoded._tag === "Failure") throw new Error(JSON.stringify(decoded.failure))
  return decoded.success.items
}

const idsOf = (payload: Uint8Array) => itemsOf(payload).flatMap(({ ids }) => ids)

/** A store does not tell a batch that is leased from one that was released for later: this looks behind it. */
const behind = (store: BatchStore.QueueStore) => {
  const { all } = store as unknown as {
    readonly all: Map<number, { readonly state: { readonly _tag: string }; readonly batch: BatchStore.NewBatch }>
  }
  return [...all.values()]
}

export const leasedIn = (store: BatchStore.QueueStore): number =>
  behind(store).filter(({ state }) => state._tag === "Leased").length

const payloadsIn = (store: BatchStore.QueueStore) => behind(store).map(({ batch }) => batch.payload)

const lettersOf = (store: BatchStore.QueueStore) =>
  Effect.flatMap(
    store.deadLetters({ filter: {}, limit: 1000 }),
    (letters) => Effect.forEach(letters, ({ id }) => Effect.map(store.inspect(id), Option.getOrThrow))
  )
