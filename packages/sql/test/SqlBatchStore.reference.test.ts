/**
 * The store in SQLite answers what the one in memory answers, whatever is asked of both.
 */
import { describe, expect, it } from "@effect/vitest"
import { BatchStore } from "@sluice/core"
import { SqlBatchStore, SqliteStore } from "@sluice/sql"
import { Context, Effect, Layer, TestClock } from "effect"
import { randomFrom, seed } from "./seed.ts"

const open = <E>(layer: Layer.Layer<BatchStore.BatchStore, E>) =>
  Effect.map(Layer.build(layer), Context.get(BatchStore.BatchStore))

const inSqlite = SqlBatchStore.layer().pipe(
  Layer.provide(SqliteStore.layer({ filename: ":memory:", checkpointInterval: "1000 days" }))
)

/** What is asked of both. It may only depend on what they have answered. */
class Script {
  private readonly next: () => number
  /** What has been claimed at some time. */
  private readonly claims: Array<BatchStore.Claim> = []
  private made = 0

  constructor(from: number) {
    this.next = randomFrom(from)
  }

  below(count: number): number {
    return Math.floor(this.next() * count)
  }

  private chance(probability: number): boolean {
    return this.next() < probability
  }

  private maybe<A>(make: () => A): A | undefined {
    return this.chance(0.4) ? make() : undefined
  }

  /** The last ones are the likeliest to be held. */
  private some(): ReadonlyArray<BatchStore.Claim> {
    const { length } = this.claims
    return Array.from(
      { length: Math.min(length, 1 + this.below(3)) },
      () => this.claims[Math.max(0, length - 1 - this.below(this.chance(0.8) ? 6 : length))]
    ).filter((claim, index, all) => all.findIndex(({ sequence }) => sequence === claim.sequence) === index)
  }

  private batch(): BatchStore.NewBatch {
    this.made += 1
    return {
      payload: Uint8Array.of(this.made & 255, this.made >> 8),
      items: 1 + this.below(3),
      oldestAtMillis: this.made
    }
  }

  private failure(): BatchStore.Failure {
    return { attempts: this.below(9), failedAtMillis: this.below(99), error: ["red", "green", "blue"][this.below(3)] }
  }

  private release(): BatchStore.ReleaseOptions {
    return {
      delayMillis: this.maybe(() => this.below(60)),
      failure: this.maybe(() => this.failure()),
      giveBack: this.chance(0.2),
      version: this.chance(0.2) ? 2 + this.below(3) : undefined
    }
  }

  private portion(): BatchStore.Portion {
    return {
      limit: this.below(4),
      after: this.maybe(() => this.below(20)),
      filter: {
        ids: this.chance(0.2) ? Array.from({ length: 5 }, () => this.below(30)) : undefined,
        reason: this.chance(0.2) ? "b" : undefined,
        error: this.chance(0.3) ? "re" : undefined,
        olderThanMillis: this.chance(0.3) ? this.below(60) : undefined
      }
    }
  }

  private part(isKept: boolean): BatchStore.Part {
    const dead = { _tag: "Dead" as const, reason: "a", failure: this.failure() }
    return {
      ...this.batch(),
      becomes: isKept
        ? { _tag: "Kept", failure: this.failure() }
        : this.chance(0.3)
        ? dead
        : { _tag: "Released", ...this.release() }
    }
  }

  private noted(claimed: BatchStore.Claimed): BatchStore.Claimed {
    for (const { sequence, token } of claimed.batches) this.claims.push({ sequence, token })
    return claimed
  }

  /** The next operation: what it is called, and how it is run on one of them. */
  operation(): readonly [string, (queue: BatchStore.QueueStore) => Effect.Effect<unknown, unknown>] {
    const claims = this.some()
    const which = this.below(17)
    if (which < 3) {
      const batches = [this.batch(), ...Array.from({ length: this.below(4) }, () => this.batch())] as const
      return ["append", (queue) => queue.append({ batches })]
    }
    if (which < 8) {
      const renewed = this.chance(0.2) ? this.some() : []
      const options: BatchStore.ClaimOptions = {
        limit: this.below(5),
        leaseMillis: 10 + this.below(60),
        turn: this.chance(0.5) ? "returned" : "fresh",
        version: this.maybe(() => 1 + this.below(4)),
        settle: this.chance(0.2) ? claims : [],
        renew: () => renewed
      }
      return [
        `claim ${JSON.stringify({ ...options, renew: renewed })}`,
        (queue) => Effect.map(queue.claim(options), (claimed) => this.noted(claimed))
      ]
    }
    if (which === 8) return ["settle", (queue) => queue.settle(claims)]
    if (which < 11) {
      const options = this.release()
      return [`release ${JSON.stringify([claims, options])}`, (queue) => queue.release(claims, options)]
    }
    if (which === 11) {
      const options = { leaseMillis: 10 + this.below(60), failure: this.maybe(() => this.failure()) }
      return ["extend", (queue) => queue.extend(claims, options)]
    }
    if (which === 12) {
      const options = { reason: this.chance(0.5) ? "a" : "b", failure: this.failure() }
      return [`deadLetter ${JSON.stringify(claims)}`, (queue) => queue.deadLetter(claims, options)]
    }
    if (which === 13) {
      const [first, ...rest] = claims
      if (first === undefined) return this.operation()
      const kept = this.chance(0.5) ? this.below(3) : -1
      const parts = Array.from({ length: this.below(4) }, (_, index) => this.part(index === kept))
      return [
        `divide ${JSON.stringify([claims, parts.map(({ becomes }) => becomes)])}`,
        // The token of what nobody holds is of no use to anybody.
        (queue) => Effect.map(queue.divide([first, ...rest], parts), (placed) => placed.map(({ sequence }) => sequence))
      ]
    }
    if (which === 14) {
      const portion = this.portion()
      const name = (["redrive", "discard", "countDead"] as const)[this.below(3)]
      return [
        `${name} ${JSON.stringify(portion)}`,
        (queue) =>
          Effect.map(
            queue[name](portion),
            ({ batches, items, last }) => [batches, items, portion.filter.ids ? 0 : last]
          )
      ]
    }
    if (which === 15 && this.chance(0.3)) {
      const millis = this.below(40) - 5
      return [`hold ${millis}`, (queue) => queue.hold(millis)]
    }
    return [`forgive ${JSON.stringify(claims)}`, (queue) => queue.forgive(claims)]
  }

  /** How far the clock goes; back as well. */
  step(): number {
    return this.chance(0.5) ? 0 : this.chance(0.1) ? -this.below(80) : this.below(30)
  }
}

const look = (queue: BatchStore.QueueStore) =>
  Effect.all([queue.stats, queue.deadLetters({ filter: {}, limit: 100 })], { concurrency: 1 })

describe("what is asked of the stores in SQLite and in memory", () => {
  const from = seed
  it.scoped.each([1, 2])("has the same answers, one after another (%i)", (nth) =>
    Effect.gen(function*() {
      const [sqlite, memory] = yield* Effect.all([open(inSqlite), open(BatchStore.layerMemory)])
      for (let run = 0; run < 10; run++) {
        yield* TestClock.setTime(1000)
        const queues = yield* Effect.forEach([sqlite, memory], (store) => store.queue(`${run}`))
        const script = new Script(from + 1000 * nth + run)
        const said: Array<string> = []
        for (let n = 0; n < 60; n++) {
          const millis = script.step()
          const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
          yield* TestClock.setTime(Math.max(0, now + millis))
          const [name, operate] = script.operation()
          said.push(`${millis}: ${name}`)
          // Only a claim puts right what a clock that was set back has left behind.
          if (millis < 0) yield* Effect.forEach(queues, (queue) => queue.claim({ limit: 0, leaseMillis: 1 }))
          const [one, other] = yield* Effect.forEach(queues, (queue) =>
            Effect.zip(Effect.exit(operate(queue)), Effect.exit(look(queue))))
          expect(one, `seed ${from + 1000 * nth + run}\n${said.join("\n")}`).toEqual(other)
        }
      }
    }))
})
