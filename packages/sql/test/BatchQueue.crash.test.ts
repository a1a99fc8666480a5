/**
 * `kill -9` of a process that offers to a durable queue and handles what is in it: what was told is true after every
 * restart, nothing is lost, and no more is done twice than was in hand.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { claimed, countBy, dead, type Orders, type QueueFile, queueFile, until } from "./queueFile.ts"
import { printSeed, randomFrom, seed } from "./seed.ts"

const killsPerFile = 26
const workers = 2
const leaseDuration = 500

const options = { flush: { size: 4, linger: 3 }, workers, leaseDuration, drainTimeout: 1000 }

/** When a process is killed: it does so itself where the moment has to be met exactly. */
type Moment =
  | { readonly _tag: "Itself"; readonly die: NonNullable<Orders["die"]> }
  /** So long after it was started, which may be while it opens what the kill before has left. */
  | { readonly _tag: "AfterStart"; readonly millis: number }
  /** So long after it has been told that so many items are stored. */
  | { readonly _tag: "AfterStored"; readonly count: number; readonly millis: number }
  /** It is told to stop, and kills itself while it does; or has stopped before. */
  | { readonly _tag: "Closing"; readonly count: number; readonly die: NonNullable<Orders["die"]> }

const momentOf = (run: number, random: () => number): Moment => {
  // Most come early, some when there is much in the file.
  const nth = 1 + Math.floor(random() ** 2 * 150)
  switch (run % 6) {
    case 0:
      return { _tag: "AfterStart", millis: 300 + random() * 600 }
    case 1:
      return { _tag: "Itself", die: { at: "stored", nth } }
    case 2:
      return { _tag: "Itself", die: { at: "handling", nth } }
    case 3:
      return { _tag: "Itself", die: { at: "handled", nth } }
    case 4:
      return { _tag: "AfterStored", count: nth, millis: random() * 20 }
    default:
      return { _tag: "Closing", count: nth, die: { at: "closing", millis: Math.floor(random() ** 2 * 100) } }
  }
}

const after = (lines: ReadonlyArray<string>, word: string): ReadonlyArray<string> =>
  lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1))

/** Runs a queue until its moment has come. Answers what it said, and how it ended. */
const runUntil = (file: QueueFile, orders: Orders, moment: Moment) =>
  Effect.scoped(Effect.gen(function*() {
    const die = "die" in moment ? moment.die : undefined
    const process = yield* file.process({ ...orders, ...die && { die } })
    if (moment._tag === "AfterStart") setTimeout(() => process.unsafeKill(), moment.millis)
    let stored = 0
    process.onLine = (line) => {
      if (!line.startsWith("stored")) return
      stored += 1
      if (!("count" in moment) || stored !== moment.count) return
      if (moment._tag === "Closing") process.unsafeSignal("SIGTERM")
      else setTimeout(() => process.unsafeKill(), moment.millis)
    }
    const ended = yield* process.exit
    // Whatever else it has died of is a bug.
    if (ended !== "SIGKILL") expect(process.lines.at(-1)).toBe("closed")
    return { ended, lines: process.lines }
  }))

const killMany = (file: QueueFile, index: number) =>
  Effect.gen(function*() {
    const random = randomFrom(seed + index)
    const offered = new Set<string>()
    const told = new Set<string>()
    /** The claims of processes that have ended. */
    const left = new Set<string>()
    /** How often each batch was in hand when its process ended, or lost its lease. */
    const mayRepeat = new Map<string, number>()
    const allow = (key: string) => mayRepeat.set(key, (mayRepeat.get(key) ?? 0) + 1)
    const totals = { kills: 0, inHand: 0, again: 0, repeated: 0, stops: 0 }

    const note = (where: object, lines: ReadonlyArray<string>) => {
      file.recover()
      for (const id of after(lines, "offering")) offered.add(id)
      for (const id of after(lines, "stored")) told.add(id)
      const { stored } = file
      const keyOf = (seq: number) => stored.get(seq)!.join(",")
      const lost = after(lines, "lost").flatMap((sequences) => sequences.split(",").map(Number))
      for (const seq of lost) allow(keyOf(seq))
      // What a process before has left in hand comes back by turns with what is fresh: it may be there still.
      const claims = file.pending.filter(({ state }) => state === claimed)
      const inHand = claims.filter(({ seq, token }) => !left.has(`${seq}.${token}`))
      for (const { seq, token } of claims) left.add(`${seq}.${token}`)
      for (const { key } of inHand) allow(key)
      totals.inHand += inHand.length

      const ids = [...stored.values()].flat()
      const there = new Set(ids)
      const { notes } = file
      const ended = new Set(notes.filter(({ what }) => what === "end").flatMap(({ ids }) => ids))
      const began = countBy(notes.filter(({ what }) => what === "begin").map(({ key }) => key))
      const counts = file.counts
      const found = {
        integrity: file.integrity,
        // Told, and not there.
        missing: [...told].filter((id) => !there.has(id)),
        // There, and never offered.
        strange: ids.filter((id) => !offered.has(id)),
        twiceStored: [...countBy(ids)].filter(([, count]) => count > 1),
        // Gone, and not handled.
        lost: file.deleted.flatMap((seq) => stored.get(seq)!).filter((id) => !ended.has(id)),
        // Handled once more than a kill explains.
        tooOften: [...began].filter(([key, count]) => count > 1 + (mayRepeat.get(key) ?? 0)),
        overcounted: [...file.claims].filter(([seq, { deliveries }]) =>
          deliveries > 1 + (mayRepeat.get(keyOf(seq)) ?? 0)
        ),
        counted: counts.found
      }
      const nothing = { missing: [], strange: [], twiceStored: [], lost: [], tooOften: [], overcounted: [] }
      expect({ ...where, ...found }).toEqual({ ...where, ...nothing, integrity: "ok", counted: counts.told })
      totals.repeated = [...began.values()].filter((count) => count > 1).length
      return { ended, inHand, there }
    }

    let again: ReadonlyArray<string> = []
    for (let run = 1; totals.kills < killsPerFile; run++) {
      const orders = { who: `run-${run}`, again, options, produce: { fibers: 6, prefix: `${index}.${run}` } }
      const { ended, lines } = yield* runUntil(file, orders, momentOf(run, random))
      const { inHand } = note({ seed, index, run, ended }, lines)
      if (ended === "SIGKILL") {
        totals.kills += 1
        // A worker has no more in hand than it has claimed at once.
        expect(inHand.length).toBeLessThanOrEqual(workers)
      } else {
        totals.stops += 1
        expect(inHand).toEqual([])
      }
      // What counts once is offered until it is told that it is in.
      again = [...offered].filter((id) => id.endsWith(".once") && !told.has(id))
      totals.again += again.length
    }

    const last = yield* file.process({ who: "last", again, drain: true, options })
    yield* last.endsWith("0")
    const { ended, there } = note({ seed, index, run: "last" }, last.lines)
    expect(file.pending).toEqual([])
    expect([...ended].sort()).toEqual([...there].sort())
    expect([...offered].filter((id) => id.endsWith(".once") && !there.has(id))).toEqual([])
    return totals
  })

describe("a durable queue in a file, under kill -9", () => {
  it.scopedLive(
    `loses nothing it has told to be stored over ${2 * killsPerFile} kills, and repeats only what was in hand`,
    (test) => {
      printSeed(test)
      return Effect.gen(function*() {
        const files = yield* Effect.all([queueFile, queueFile])
        const all = yield* Effect.forEach(files, killMany, { concurrency: 2 })
        // Otherwise the kills would have missed what they are for.
        for (const { again, inHand, repeated } of all) {
          expect(Math.min(again, inHand, repeated)).toBeGreaterThan(0)
        }
      })
    }
  )

  it.scopedLive(
    "sets a batch aside that kills its process each time, after maxDeliveries, and its neighbours flow",
    () =>
      Effect.gen(function*() {
        const file = yield* queueFile
        const maxDeliveries = 3
        const neighbours = ["a", "b", "c", "d", "e", "f"]
        // Each item is a batch, and alone in hand: a batch that is in hand beside the one that kills is delivered as often.
        const single = { flush: { size: 1 }, leaseDuration: 200, maxDeliveries }
        const offering = yield* file.process({
          who: "offering",
          again: [...neighbours.slice(0, 3), "poison", ...neighbours.slice(3)],
          options: { ...single, workers: 0 }
        })
        yield* until(() => after(offering.lines, "stored").length === neighbours.length + 1)
        offering.unsafeSignal("SIGTERM")
        yield* offering.endsWith("0")

        let kills = 0
        while (true) {
          const worker = yield* file.process({ who: `run-${kills}`, drain: true, options: single })
          const ended = yield* worker.exit
          if (ended === "0") {
            expect(worker.lines).toContainEqual(expect.stringMatching(/^dead \d+ deliveries-exhausted$/))
            break
          }
          expect(ended).toBe("SIGKILL")
          kills += 1
          expect(kills).toBeLessThanOrEqual(maxDeliveries)
        }
        expect(kills).toBe(maxDeliveries)
        const began = countBy(file.notes.filter(({ what }) => what === "begin").map(({ key }) => key))
        expect(began.get("poison")).toBe(maxDeliveries)
        const ended = file.notes.filter(({ what }) => what === "end").map(({ key }) => key)
        expect([...new Set(ended)].sort()).toEqual(neighbours)
        expect(file.pending).toMatchObject([{ key: "poison", state: dead }])
      })
  )
})
