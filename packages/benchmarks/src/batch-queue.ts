/**
 * What it costs to store items durably in batches, and to handle them, against the driver alone and against other queues
 * in a SQLite file.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { join } from "node:path"
import { driver, syncing } from "./batch-queue/driver.ts"
import { behind, longestTurn, type Redriving, redriving } from "./batch-queue/failing.ts"
import { batchSize, type Item, makeItems } from "./batch-queue/items.ts"
import { liteque, type Peer, persistedQueue, plainjob, plainjobAdd } from "./batch-queue/peers.ts"
import { fill, firstHandled, type Handling, handling, type Storing, storing } from "./batch-queue/sluice.ts"
import {
  type Benchmark,
  type Case,
  type Plan,
  type Ratio,
  timed,
  timedSync,
  timesAsFast,
  timesItsTime,
  together
} from "./Benchmark.ts"
import { type Level, temporaryDirectory } from "./files.ts"
import { submitAll } from "./submitting.ts"

/** How much is done in a sample. */
export interface Sizes {
  /** Items that are stored, or handled, in batches of 100; and that are handled in batches of another size. */
  readonly stored: number
  readonly handled: number
  readonly handledBy: ReadonlyArray<{ readonly size: number; readonly items: number }>
  /** Items for which a caller waits: of one caller, and of each of 64; and those with a transaction each. */
  readonly alone: Readonly<Record<Level, number>>
  readonly shared: number
  readonly own: Readonly<Record<Level, number>>
  /** Items that are offered and handled before the next are, and how many times that is done. */
  readonly queued: number
  readonly times: Readonly<Record<"sluice" | "persistedQueue" | "plainjob" | "liteque", number>>
  /** Items that are handled behind others that fail, one to a batch: with one worker, and with several. */
  readonly behind: number
  /** Dead letters that are put back, or offered again. */
  readonly dead: number
  /** Items in the large file and in the small one, and how many times each is opened. */
  readonly pending: readonly [large: number, small: number]
  readonly opens: number
}

/** Some tenths of a second for most, and for the slow ones not much more. */
const sizes: Sizes = {
  stored: 100_000,
  handled: 50_000,
  handledBy: [{ size: 1, items: 1_000 }, { size: 10, items: 5_000 }, { size: 1_000, items: 40_000 }],
  alone: { FULL: 500, NORMAL: 3_000 },
  shared: 500,
  own: { FULL: 500, NORMAL: 5_000 },
  queued: 1_000,
  times: { sluice: 20, persistedQueue: 2, plainjob: 2, liteque: 1 },
  behind: 3_000,
  dead: 100_000,
  pending: [1_000_000, 10],
  opens: 10
}

const many = 64

/** What the plans share: a directory, and items, which exist beforehand. */
interface Setting {
  readonly sizes: Sizes
  readonly newFile: (name: string) => string
  readonly items: ReadonlyArray<Item>
}

/** A check after each sample, which is not timed. */
const checked = (timed: Case, check: Effect.Effect<void>): Case => ({
  ...timed,
  sample: Effect.zipLeft(timed.sample, check)
})

/** Items offered one by one, and stored in batches, by nobody who waits for one of them. */
const storingInBatches = (
  level: Level,
  goal: number,
  { items, newFile, sizes: { stored } }: Setting
): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const some = items.slice(0, stored)
    const ours = yield* storing(newFile("storing"), level, batchSize)
    const limit = yield* driver(newFile("driver"), level)
    const cases = [
      checked(timed(`${level}, offer and store`, stored, ours.offerAll(some)), ours.check(stored)),
      checked(timedSync(`${level}, better-sqlite3 stores`, stored, () => limit.storeAll(some)), limit.check(stored))
    ]
    const measure = `${level}, offer and store in batches of 100, against better-sqlite3`
    return { cases, ratios: [timesAsFast(measure, cases[0].name, cases[1].name, { atLeast: goal })] }
  })

/** Items that each wait until they are stored, one to a batch. */
const storingEach = (level: Level, setting: Setting): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { items, newFile, sizes: { alone, own, shared } } = setting
    const ours = yield* storing(newFile("storing-each"), level, 1)
    const theirs = yield* plainjobAdd(newFile("plainjob-add"), level)
    const by = (callers: number) => `${level}, ${callers === 1 ? "1 caller" : `${callers} callers`}`
    const submitting = (
      name: string,
      callers: number,
      each: number,
      write: (item: Item) => Effect.Effect<void>,
      check: Storing["check"]
    ): Case => {
      const writes = { write: (id: number) => write(items[id]), context: Context.empty() }
      return checked(
        { name: `${by(callers)}, ${name}`, unit: "ns/op", sample: submitAll(writes, callers, each) },
        check(callers * each)
      )
    }
    const add = (item: Item) => Effect.sync(() => theirs.add(item))
    const against = (callers: number, each: number, theirEach: number, goal: number): Plan => {
      const cases = [
        submitting("offerStored", callers, each, ours.offerStored, ours.check),
        submitting("plainjob's add", callers, theirEach, add, theirs.check)
      ]
      const measure = `${by(callers)}, offerStored, against plainjob's add`
      return { cases, ratios: [timesAsFast(measure, cases[0].name, cases[1].name, { atLeast: goal })] }
    }
    return together([
      against(1, alone[level], alone[level], 1.3),
      against(many, shared, Math.ceil(own[level] / many), 5)
    ])
  })

/** What many callers have at FULL from sharing a commit. */
const storingOwn = ({ items, newFile, sizes: { own, shared } }: Setting): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const count = own.FULL
    const ours = yield* storing(newFile("storing-shared"), "FULL", batchSize)
    const writes = { write: (id: number) => ours.offerStored(items[id]), context: Context.empty() }
    const submitting = checked(
      {
        name: "FULL, 64 callers, offerStored, batches of what waits",
        unit: "ns/op",
        sample: submitAll(writes, many, shared)
      },
      ours.check(many * shared)
    )
    const some = items.slice(0, count)
    const limit = yield* driver(newFile("driver-own"), "FULL")
    const sync = yield* syncing(newFile("sync"))
    const transaction = timedSync("FULL, better-sqlite3, a transaction per item", count, () => limit.storeAll(some, 1))
    const bare = timedSync("a sync of the disk", count, () => sync(count))
    return {
      cases: [submitting, checked(transaction, limit.check(count)), bare],
      ratios: [
        timesAsFast(
          "FULL, 64 callers, offerStored, against better-sqlite3 with a transaction per item",
          submitting.name,
          transaction.name,
          { atLeast: 20 }
        ),
        timesItsTime(
          "FULL, better-sqlite3 with a transaction per item, against a sync of the disk",
          transaction.name,
          bare.name
        )
      ]
    }
  })

/** Everything from the offer to the batch that is settled. */
const handlingInBatches = (
  level: Level,
  { items, newFile, sizes: { handled, handledBy } }: Setting
): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const nameOf = (size: number) => `${level}, offered to settled, ${size.toLocaleString("en-US")} a batch`
    const caseOf = (size: number, count: number) =>
      Effect.map(handling(newFile(`handling-${size}`), level, size), ({ check, handleAll }) =>
        checked(timed(nameOf(size), count, handleAll(items.slice(0, count))), check(count, 1)))
    const ours = yield* caseOf(batchSize, handled)
    const others = yield* Effect.forEach(handledBy, ({ items, size }) =>
      caseOf(size, items))
    const limit = yield* driver(newFile("driver-handling"), level)
    const some = items.slice(0, handled)
    const theirs = checked(
      timedSync(`${level}, better-sqlite3 stores, claims, reads, deletes`, handled, () => limit.handleAll(some)),
      limit.check(handled)
    )
    return {
      cases: [ours, theirs, ...others],
      ratios: [
        timesAsFast(
          `${level}, offered to settled in batches of 100, against better-sqlite3`,
          ours.name,
          theirs.name,
          { atLeast: 0.5 }
        ),
        ...others.map(({ name }): Ratio => timesItsTime(`${name}, against 100`, name, ours.name))
      ]
    }
  })

/** The same number of items, from the offer to the last one that is done with. */
const handlingByPeers = (
  { items, newFile, sizes: { queued, times } }: Setting
): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const some = items.slice(0, queued)
    const caseOf = (name: string, repeats: number, { check, handleAll }: Handling) =>
      checked(
        timed(
          `NORMAL, ${name}, 1,000 items at a time`,
          queued * repeats,
          Effect.repeatN(handleAll(some), repeats - 1)
        ),
        check(queued, repeats)
      )
    const ours = caseOf("offered to settled", times.sluice, yield* handling(newFile("sluice"), "NORMAL", batchSize))
    const against = (name: string, file: string, peer: Peer, repeats: number, goal: number) =>
      Effect.map(peer(newFile(file)), (opened): Plan => {
        const theirs = caseOf(name, repeats, opened)
        const measure = `NORMAL, offered to settled, 1,000 items at a time, against ${name}`
        return { cases: [theirs], ratios: [timesAsFast(measure, ours.name, theirs.name, { atLeast: goal })] }
      })
    return together([
      { cases: [ours], ratios: [] },
      yield* against("PersistedQueue", "persisted-queue", persistedQueue, times.persistedQueue, 50),
      yield* against("plainjob", "plainjob", plainjob, times.plainjob, 15),
      yield* against("liteque", "liteque", liteque, times.liteque, 50)
    ])
  })

/** How many batches fail without end before the others. */
const failures = [1, 10, 100]

/** One item a batch: then everything is claims, which is what those that fail and the others share. */
const behindFailures = (
  level: Level,
  workers: number,
  { items, newFile, sizes }: Setting
): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const some = items.slice(0, sizes.behind)
    const who = `${level}, ${workers === 1 ? "1 worker" : `${workers} workers`}, good items behind`
    const queue = yield* behind(newFile("behind"), level, workers)
    const caseOf = (failing: number): Case => {
      const batches = failing === 0
        ? "none that fail"
        : failing === 1
        ? "1 failing batch"
        : `${failing} failing batches`
      const handled = timed(`${who} ${batches}`, some.length, queue.handleAll(some))
      const { sample } = checked(handled, queue.check(failing, some.length))
      return { ...handled, sample: Effect.zipRight(queue.prepare(failing, some), sample) }
    }
    const alone = caseOf(0)
    const cases = failures.map(caseOf)
    return {
      cases: [alone, ...cases],
      ratios: cases.map(({ name }) =>
        timesAsFast(`${name}, against none that fail`, name, alone.name, { atLeast: 0.5 })
      )
    }
  })

/** So many items are offered in one call: as many as the queue takes. Fewer are slower. */
const offeredAtOnce = 10_000

/** No turn of the event loop should be longer: a request that comes meanwhile waits for as long. */
const longestTurnMillis = 50

/** Dead letters that are put back, and the same items offered anew by whoever has kept them. */
const puttingBack = ({ items, newFile, sizes: { dead } }: Setting): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const some = items.slice(0, dead)
    const queue = yield* redriving(newFile("redriving"), "NORMAL", 1)
    const inBatches = yield* redriving(newFile("offered-again"), "NORMAL", batchSize)
    const caseOf = (name: string, { check, kill }: Redriving, run: Effect.Effect<void>): Case => {
      const putBack = timed(`NORMAL, ${name}`, dead, run)
      return { ...putBack, sample: Effect.zipRight(kill(dead), checked(putBack, check(dead)).sample) }
    }
    const cases = [
      caseOf("redrive", queue, queue.redrive),
      caseOf("offered again, 1 a batch, and discarded", queue, queue.offerAgain(some, offeredAtOnce)),
      caseOf("offered again, 100 a batch, and discarded", inBatches, inBatches.offerAgain(some, offeredAtOnce))
    ]
    const measure = "NORMAL, redrive of dead letters, against offerStoredAllOrNone and discard"
    return {
      cases,
      ratios: [
        timesAsFast(`${measure}, 1 a batch`, cases[0].name, cases[1].name, { atLeast: 1 }),
        timesAsFast(`${measure}, 100 a batch`, cases[0].name, cases[2].name, { atLeast: 1 })
      ],
      trials: [{
        name: "redrive, and the event loop meanwhile",
        run: () =>
          Effect.gen(function*() {
            yield* queue.kill(dead)
            const startedAt = performance.now()
            const longest = yield* longestTurn(queue.redrive)
            const seconds = (performance.now() - startedAt) / 1_000
            yield* queue.check(dead)
            return {
              figures: [
                { figure: "dead letters put back", value: dead, unit: "" },
                { figure: "of them in a second", value: dead / seconds, unit: "/s" },
                { figure: "longest turn of the event loop", value: longest.millis, unit: "ms" },
                { figure: "of the processor in one turn, at most", value: longest.cpuMillis, unit: "ms" }
              ],
              checks: [{ check: "no turn over 50 ms", met: longest.millis <= longestTurnMillis }]
            }
          })
      }]
    }
  })

/** How long the first item takes after a file was opened in which many are pending, one to a batch. */
const opening = ({ newFile, sizes: { opens, pending } }: Setting): Effect.Effect<Plan> =>
  Effect.gen(function*() {
    const caseOf = (count: number) =>
      Effect.gen(function*() {
        const filename = newFile(`pending-${count}`)
        // Once, when the first sample is taken: whoever asks for other measures does not wait for it.
        const filled = yield* Effect.cached(Effect.suspend(() => fill(filename, count)))
        const open = Effect.map(
          Effect.replicateEffect(firstHandled(filename, "NORMAL", count), opens),
          (millis) => ({ cost: millis.reduce((sum, each) => sum + each, 0) * 1e6 / opens })
        )
        return {
          name: `NORMAL, first item handled of ${count.toLocaleString("en-US")} pending`,
          unit: "ns/op",
          sample: Effect.zipRight(filled, open)
        } satisfies Case
      })
    const [large, small] = pending
    const cases = [yield* caseOf(large), yield* caseOf(small)]
    const measure = "NORMAL, first item handled after opening, a million pending, against ten"
    return { cases, ratios: [timesItsTime(measure, cases[0].name, cases[1].name, { atMost: 2 })] }
  })

export const makePlan = (sizes: Sizes): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const directory = yield* temporaryDirectory
    let files = 0
    const { alone, behind, dead, handled, handledBy, own, queued, shared, stored } = sizes
    const most = Math.max(
      alone.FULL,
      alone.NORMAL,
      behind,
      dead,
      handled,
      own.FULL,
      own.NORMAL + many,
      queued,
      shared * many,
      stored,
      ...handledBy.map(({ items }) => items)
    )
    const setting: Setting = {
      sizes,
      newFile: (name) => join(directory, `${files++}-${name}.db`),
      items: makeItems(most)
    }
    return together([
      yield* storingInBatches("NORMAL", 0.6, setting),
      yield* storingInBatches("FULL", 0.7, setting),
      yield* storingEach("NORMAL", setting),
      yield* storingEach("FULL", setting),
      yield* storingOwn(setting),
      yield* handlingInBatches("NORMAL", setting),
      yield* handlingInBatches("FULL", setting),
      yield* handlingByPeers(setting),
      yield* behindFailures("NORMAL", 1, setting),
      yield* behindFailures("NORMAL", 4, setting),
      yield* puttingBack(setting),
      yield* opening(setting)
    ])
  })

export const batchQueue: Benchmark = {
  name: "batch-queue",
  title: "items stored durably in batches, and handled",
  packages: [
    "@sluice/core",
    "@sluice/sql",
    "effect",
    "@effect/experimental",
    "@effect/sql",
    "@effect/sql-sqlite-node",
    "better-sqlite3",
    "plainjob",
    "liteque"
  ],
  plan: makePlan(sizes)
}
