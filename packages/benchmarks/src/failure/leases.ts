/** Leases, clocks, and bytes that cannot be read: the second table. */
import { SqlClient } from "@effect/sql/SqlClient"
import { type BatchQueue, Codec, Result } from "@sluice/core"
import { WriteCoordinator } from "@sluice/sql"
import Sqlite from "better-sqlite3"
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import {
  type Books,
  inFile,
  inMemory,
  makeBooks,
  open,
  range,
  type Row,
  seconds,
  storeFirst,
  storeIn,
  twice,
  until
} from "./open.ts"

const codec = Codec.make(Schema.Number)

const payloadOf = (item: number): Uint8Array =>
  codec.encodeBatch([Result.getOrThrow(codec.encodeItem(item)).value], { trigger: "size", openedAtMillis: 0 })

/** What two workers of one process did about leases. */
const leaseRow = (
  what: string,
  before: string,
  queue: BatchQueue.BatchQueue<number>,
  { done, interrupted }: Books,
  more = ""
): Effect.Effect<Row> =>
  Effect.gen(function*() {
    const { dead } = yield* queue.stats
    const { leasesLost } = yield* queue.metrics
    const again = twice(done)
    return {
      what,
      before,
      now:
        `${done.length} handled, ${again} of them twice; ${interrupted.length} handlers interrupted, ${leasesLost} leases lost, ${dead.items} dead letters${more}`,
      figures: {
        handled: done.length,
        twice: again,
        interrupted: interrupted.length,
        leasesLost,
        dead: dead.items
      }
    }
  }).pipe(Effect.orDie)

const leaseMillis = 900
const writeTimeoutMillis = 300

/** Handlers that take several leases, while something else holds the writer. */
const twoWorkers = { workers: 2, leaseDuration: leaseMillis, pollInterval: 20, maxDeliveries: 2 }

/** Writes that hang, one after the other, for as long as a handler runs. */
const hangingWrites = Effect.gen(function*() {
  const { context } = yield* inFile({ busyTimeout: writeTimeoutMillis })
  const books = makeBooks()
  const queue = yield* open(context, books, { ...twoWorkers, process: () => Effect.sleep(4 * leaseMillis) })
  const refused = yield* WriteCoordinator.make({ name: "slow", writeTimeout: leaseMillis }).pipe(
    Effect.provide(context),
    Effect.match({ onFailure: () => true, onSuccess: () => false })
  )
  const writes = yield* Effect.orDie(
    WriteCoordinator.make({ name: "writes", writeTimeout: writeTimeoutMillis }).pipe(Effect.provide(context))
  )
  yield* storeFirst(queue, [1])
  yield* until(() => books.calls.length > 0, 1_000)
  const hang = Effect.ignore(writes.submit(Effect.never, { name: "hangs" }))
  yield* Effect.raceFirst(Effect.forever(hang), until(() => books.done.length > 0, 8 * leaseMillis))
  // Whoever has it as well would be done by then.
  yield* Effect.sleep(2 * leaseMillis)
  const more = `; a \`writeTimeout\` as long as the lease is ${refused ? "refused" : "taken"}`
  return yield* leaseRow(
    "2 workers on a file, writes that hang until their `writeTimeout`, a third of the lease, for 4 leases",
    "3 of 3 runs: handled twice, one handler interrupted",
    queue,
    books,
    more
  )
}).pipe(Effect.scoped)

/** A transaction of the app's own. */
const ownTransaction = Effect.gen(function*() {
  const { context } = yield* inFile({ busyTimeout: writeTimeoutMillis })
  const books = makeBooks()
  const queue = yield* open(context, books, { ...twoWorkers, process: () => Effect.sleep(7 * leaseMillis) })
  yield* storeFirst(queue, [1])
  yield* until(() => books.calls.length > 0, 1_000)
  const sql = Context.get(context, SqlClient)
  yield* Effect.orDie(sql.withTransaction(Effect.zipRight(sql`SELECT 1`, Effect.sleep(5 * leaseMillis))))
  yield* until(() => books.done.length > 0, 4 * leaseMillis)
  yield* Effect.sleep(2 * leaseMillis)
  return yield* leaseRow(
    "2 workers of one process, an app's own transaction of 5 leases",
    "handled twice, one handler interrupted",
    queue,
    books
  )
}).pipe(Effect.scoped)

const stalledLeaseMillis = 300
const stalls = 6

/** A handler that leaves the event loop to nobody for three leases, and then goes on. */
const stall = (where: "memory" | "SQLite") =>
  Effect.gen(function*() {
    const context = where === "memory" ? yield* inMemory : (yield* inFile({ busyTimeout: 100 })).context
    const books = makeBooks()
    const queue = yield* open(context, books, {
      ...twoWorkers,
      leaseDuration: stalledLeaseMillis,
      process: () =>
        Effect.zipRight(
          Effect.sync(() => {
            const endsAt = performance.now() + 3 * stalledLeaseMillis
            while (performance.now() < endsAt);
          }),
          Effect.sleep(50)
        )
    })
    yield* storeFirst(queue, range(stalls))
    yield* until(() => Effect.map(Effect.orDie(queue.stats), ({ pending }) => pending.items === 0), 30_000)
    return yield* leaseRow(
      `a handler stalls the event loop for 3 leases, 2 workers, ${where}, \`maxDeliveries: 2\`, ${stalls} batches`,
      "the worker that rightly holds the batch is interrupted; a healthy batch became a dead letter",
      queue,
      books
    )
  }).pipe(Effect.scoped)

/** The checksum of an envelope, which is core's own affair: only this file writes an envelope of a version to come. */
const checksum: Effect.Effect<(bytes: Uint8Array, seed: number, from: number, to?: number) => number> = Effect.promise(
  async () => {
    const at = new URL("internal/codec/checksum.js", import.meta.resolve("@sluice/core"))
    return (await import(at.href)).xxHash32
  }
)

/** The same bytes in an envelope of the next version. */
const newerPayload = (item: number) =>
  Effect.map(checksum, (xxHash32) => {
    const bytes = payloadOf(item).slice()
    const at = "sluice/".length
    const digits = at + 2
    bytes[at] += 1
    const hash = xxHash32(bytes, xxHash32(bytes, 0, digits + 8), 0, digits)
    bytes.set(new TextEncoder().encode(hash.toString(16).padStart(8, "0")), digits)
    return bytes
  })

const idleMillis = 1_500

/** Batches that only a newer version can read, before others. */
const newer = (count: number, before: string): Effect.Effect<Row> =>
  Effect.gen(function*() {
    const { context } = yield* inFile()
    const store = yield* storeIn(context)
    const payload = yield* newerPayload(0)
    const decoded = Codec.make(Schema.Number).decodeBatch(payload)
    if (Result.isSuccess(decoded) || decoded.failure._tag !== "Newer") throw new Error("it can be read")
    const batchOf = (bytes: Uint8Array) => ({ payload: bytes, items: 1, oldestAtMillis: 0 })
    yield* store.append({ batches: Arr.makeBy(count, () => batchOf(payload)) })
    yield* store.append({ batches: Arr.makeBy(50, (item) => batchOf(payloadOf(item))) })
    const books = makeBooks()
    const startedAt = performance.now()
    const queue = yield* open(context, books, { process: () => Effect.void })
    yield* Effect.sleep(2_000)
    const handled = books.doneAt.size
    yield* until(() => books.doneAt.size === 50, 15_000)
    const { size } = books.doneAt
    const lastAt = Math.max(...books.doneAt.values()) - startedAt
    // Those of the end of the work.
    yield* Effect.sleep(300)
    const claims = books.claims
    yield* Effect.sleep(idleMillis)
    const perSecond = (books.claims - claims) * 1_000 / idleMillis
    const stats = yield* queue.stats
    return {
      what: `${count.toLocaleString("en-US")} batches of a newer envelope before 50 readable ones, on a file`,
      before,
      now: `${handled} handled in 2 s, ${size === 50 ? `all after ${seconds(lastAt)}` : `${size} in the end`}; ${
        perSecond.toFixed(1)
      } claims a second once idle; ${stats.newer.batches} told as newer, ${stats.dead.batches} dead letters`,
      figures: { handled, all: size, lastMillis: lastAt, idleClaims: perSecond, newer: stats.newer.batches }
    }
  }).pipe(Effect.scoped, Effect.orDie)

const altered = 300

/** A random generator that begins the same way each time: mulberry32. */
const random = (seed: number) => (below: number): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1)
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
  return Math.floor(((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32 * below)
}

/** One byte of each payload is changed in the file, by somebody else. */
const oneByte: Effect.Effect<Row> = Effect.gen(function*() {
  const { context, filename } = yield* inFile()
  const store = yield* storeIn(context)
  const offered = range(altered, 1_000_000)
  yield* store.append({
    batches: Arr.map(offered as Arr.NonEmptyReadonlyArray<number>, (item) => ({
      payload: payloadOf(item),
      items: 1,
      oldestAtMillis: 0
    }))
  })
  const next = random(1)
  const db = new Sqlite(filename)
  const rows = db.prepare<[], { readonly seq: number; readonly payload: Buffer }>(
    "SELECT seq, payload FROM sluice_batches"
  ).all()
  const update = db.prepare("UPDATE sluice_batches SET payload = ? WHERE seq = ?")
  db.transaction(() => {
    for (const { payload, seq } of rows) {
      payload[next(payload.length)] ^= 1 + next(255)
      update.run(payload, seq)
    }
  })()
  db.close()
  const books = makeBooks()
  const queue = yield* open(context, books, { process: () => Effect.void })
  yield* until(
    () => Effect.map(Effect.orDie(queue.stats), ({ newer, pending }) => pending.items === newer.items),
    20_000
  )
  const letters = yield* queue.deadLetters.list({ limit: altered })
  const { newer } = yield* queue.stats
  const reasons = new Map<string, number>()
  for (const { reason } of letters) reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
  const told = [...reasons].map(([reason, count]) => `${count} "${reason}"`).join(", ")
  const wrong = books.done.filter((item) => !offered.includes(item)).length
  return {
    what: `one byte changed in the payload column, ${rows.length} batches`,
    before: "27 % were handled with an altered item",
    now: `${wrong} altered items handled, ${
      books.done.length - wrong
    } unaltered ones; dead letters: ${told}; ${newer.batches} passed over as newer`,
    figures: {
      altered: wrong,
      unaltered: books.done.length - wrong,
      newer: newer.batches,
      ...Object.fromEntries(reasons)
    }
  }
}).pipe(Effect.scoped, Effect.orDie)

/** The clock, so many milliseconds ahead. */
const makeAhead = () => {
  const clock = Clock.make()
  const ahead = { millis: 0 }
  const current = () => clock.unsafeCurrentTimeMillis() + ahead.millis
  const shifted: Clock.Clock = {
    ...clock,
    unsafeCurrentTimeMillis: current,
    unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
    currentTimeMillis: Effect.sync(current),
    currentTimeNanos: clock.currentTimeNanos,
    sleep: (duration) => clock.sleep(duration)
  }
  return { ahead, clock: shifted }
}

const hourMillis = 3_600_000

/** Claimed, and put to rest, while the clock was an hour ahead; then it is put right, and the worker is gone. */
const clockPutRight = (where: "memory" | "SQLite"): Effect.Effect<Row> => {
  const { ahead, clock } = makeAhead()
  return Effect.gen(function*() {
    const context = where === "memory" ? yield* inMemory : (yield* inFile({ busyTimeout: 1_000 })).context
    const store = yield* storeIn(context)
    const batchOf = (item: number) => ({ payload: payloadOf(item), items: 1, oldestAtMillis: 0 })
    yield* store.append({ batches: [batchOf(1), batchOf(2)] })
    ahead.millis = hourMillis
    const [, resting] = (yield* store.claim({ limit: 2, leaseMillis: 3_000 })).batches
    yield* store.release([resting], {
      delayMillis: 2_000,
      failure: { attempts: 1, failedAtMillis: hourMillis, error: "down" }
    })
    ahead.millis = 0
    const startedAt = performance.now()
    const books = makeBooks()
    yield* open(context, books, { leaseDuration: 3_000, pollInterval: 100, process: () => Effect.void })
    yield* until(() => books.doneAt.size === 2, 8_000)
    const at = (item: number) => {
      const doneAt = books.doneAt.get(item)
      return doneAt === undefined ? null : doneAt - startedAt
    }
    const when = (item: number) => at(item) === null ? "not within 8 s" : `after ${seconds(at(item)!)}`
    return {
      what: `claimed while the clock was an hour ahead, clock put right, worker gone, ${where}`,
      before: "a lease of 3 s: not redelivered for 3,583 s; a rest of 2 s: an hour",
      now: `the lease of 3 s: ${when(1)}; the rest of 2 s: ${when(2)}`,
      figures: { leaseMillis: at(1), restMillis: at(2) }
    }
  }).pipe(Effect.scoped, Effect.orDie, Effect.withClock(clock))
}

/** Those that stall the event loop, or keep it busy, one after the other; the others wait for most of their time. */
export const leases: Effect.Effect<ReadonlyArray<Row>> = Effect.gen(function*() {
  const [hanging, transaction, ...clocks] = yield* Effect.all(
    [hangingWrites, ownTransaction, clockPutRight("memory"), clockPutRight("SQLite")],
    { concurrency: "unbounded" }
  )
  const alone = yield* Effect.all([
    stall("memory"),
    stall("SQLite"),
    newer(400, "0 of 50 in 20 s, 82 claims a second for ever"),
    newer(5_000, "1,900 claims a second for ever"),
    oneByte
  ])
  return [hanging, transaction, ...alone, ...clocks]
})
