/**
 * Random sequences of operations, beside a model of a queue that is as simple as it can be.
 */
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as TestClock from "effect/TestClock"
import { BatchStore, type Claim, type ClaimedBatch, type NewBatch, type QueueStore } from "../../BatchStore.ts"
import { differs, type Failures, type Law, leaseMillis } from "./lawTrial.ts"

type Operation =
  | {
    readonly _tag: "append"
    readonly batches: ReadonlyArray<{ readonly items: number; readonly ids: ReadonlyArray<string> }>
    readonly room: number | undefined
  }
  | { readonly _tag: "claim"; readonly limit: number; readonly picks: ReadonlyArray<number> }
  | { readonly _tag: "settle" | "extend" | "deadLetter" | "replace"; readonly picks: ReadonlyArray<number> }
  | {
    readonly _tag: "release"
    readonly picks: ReadonlyArray<number>
    readonly delay: number | undefined
    readonly giveBack: boolean
    readonly failed: boolean
  }
  | { readonly _tag: "redrive" | "discard"; readonly picks: ReadonlyArray<number> | "all" }
  | { readonly _tag: "pass"; readonly millis: number }

const windowMillis = 900

const operation: FastCheck.Arbitrary<Operation> = (() => {
  const tag = <T extends string>(tag: T) => FastCheck.constant(tag)
  const picks = FastCheck.uniqueArray(FastCheck.nat(30), { maxLength: 4 })
  const ids = FastCheck.uniqueArray(FastCheck.constantFrom("a", "b", "c", "d", "e"), { maxLength: 2 })
  const batches = FastCheck.array(FastCheck.record({ items: FastCheck.integer({ min: 1, max: 3 }), ids }), {
    minLength: 1,
    maxLength: 4
  })
  const rarely = <A>(arbitrary: FastCheck.Arbitrary<A>) => FastCheck.option(arbitrary, { nil: undefined, freq: 2 })
  return FastCheck.oneof(
    {
      weight: 5,
      arbitrary: FastCheck.record({ _tag: tag("append"), batches, room: rarely(FastCheck.nat(20)) })
    },
    { weight: 6, arbitrary: FastCheck.record({ _tag: tag("claim"), limit: FastCheck.nat(4), picks }) },
    {
      weight: 5,
      arbitrary: FastCheck.record({
        _tag: FastCheck.constantFrom("settle" as const, "extend" as const, "deadLetter" as const, "replace" as const),
        picks
      })
    },
    {
      weight: 3,
      arbitrary: FastCheck.record({
        _tag: tag("release"),
        picks,
        delay: rarely(FastCheck.constantFrom(0, 1, 500, 2000)),
        giveBack: FastCheck.boolean(),
        failed: FastCheck.boolean()
      })
    },
    {
      weight: 2,
      arbitrary: FastCheck.record({
        _tag: FastCheck.constantFrom("redrive" as const, "discard" as const),
        picks: FastCheck.oneof(picks, tag("all"))
      })
    },
    {
      weight: 4,
      arbitrary: FastCheck.record({
        _tag: tag("pass"),
        millis: FastCheck.constantFrom(1, 100, leaseMillis - 1, leaseMillis)
      })
    }
  )
})()

/** A batch as the model has it. */
interface Modelled {
  batch: NewBatch
  state: "ready" | "leased" | "later" | "dead" | "gone"
  until: number
  sequence: number
  token: number
  deliveries: number
  failure: { attempts: number; failedAtMillis: number; error: string }
}

/** The model, and the queue that must do the same. */
class Run {
  private readonly queue: QueueStore
  private readonly law: string
  private readonly script: string
  private readonly batches: Array<Modelled> = []
  private readonly claims: Array<{ readonly modelled: Modelled; readonly claim: Claim }> = []
  private readonly ids = new Map<string, number>()
  private now = 0
  private step = ""

  constructor(queue: QueueStore, law: string, script: string) {
    this.queue = queue
    this.law = law
    this.script = script
  }

  private same(what: string, actual: unknown, expected: unknown): Effect.Effect<void, Failures> {
    const failure = differs(this.law, `${this.step}, ${what}, of\n${this.script}\n`, actual, expected)
    return failure === undefined ? Effect.void : Effect.fail(failure)
  }

  private is(...states: ReadonlyArray<Modelled["state"]>): Array<Modelled> {
    return this.batches.filter(({ state }) => states.includes(state))
  }

  private claimable(): Array<Modelled> {
    return this.is("ready", "leased", "later").filter(({ state, until }) => state === "ready" || until <= this.now)
  }

  private amount(batches: ReadonlyArray<Modelled>) {
    return { batches: batches.length, items: batches.reduce((sum, { batch }) => sum + batch.items, 0) }
  }

  /**
   * Claims of every age. Not those whose lease has run out while nobody has claimed the batch again: whether they still
   * hold is for the store to say.
   */
  private picked(picks: ReadonlyArray<number>) {
    const picked = picks.map((pick) => this.claims[this.claims.length - 1 - pick]).filter((some) => some !== undefined)
    const sequences = new Set<number>()
    return picked.filter(({ claim: { sequence }, modelled: { state, until } }) => {
      if (state === "leased" && until <= this.now || sequences.has(sequence)) return false
      sequences.add(sequence)
      return true
    })
  }

  private split(picks: ReadonlyArray<number>) {
    const picked = this.picked(picks)
    const held = picked.filter(({ claim, modelled }) => modelled.state === "leased" && modelled.token === claim.token)
    const lost = picked.filter((one) => !held.includes(one)).map(({ claim }) => claim.sequence)
    return { claims: picked.map(({ claim }) => claim), held: held.map(({ modelled }) => modelled), lost }
  }

  run(operation: Operation, index: number): Effect.Effect<void, Failures> {
    this.step = `operation ${index + 1}`
    return Effect.zipRight(this.perform(operation), this.checkStats)
  }

  private perform(operation: Operation): Effect.Effect<void, Failures> {
    switch (operation._tag) {
      case "append":
        return this.append(operation)
      case "claim":
        return this.claim(operation.limit, operation.picks)
      case "settle":
        return this.held(operation.picks, (claims) => this.queue.settle(claims), (one) => {
          one.state = "gone"
        })
      case "extend":
        return this.held(operation.picks, (claims) => this.queue.extend(claims, { leaseMillis: 700 }), (one) => {
          one.until = this.now + 700
        })
      case "deadLetter": {
        const failure = { attempts: 2, failedAtMillis: this.now, error: "dead" }
        return this.held(
          operation.picks,
          (claims) => this.queue.deadLetter(claims, { reason: "some", failure }),
          (one) => {
            one.state = "dead"
            one.failure = failure
          }
        )
      }
      case "replace":
        return this.replace(operation.picks)
      case "release":
        return this.release(operation)
      case "redrive":
        return this.change(operation.picks, (ids) => this.queue.redrive(ids), (one) => {
          one.state = "ready"
          one.deliveries = 0
          one.failure = { attempts: 0, failedAtMillis: 0, error: "" }
        })
      case "discard":
        return this.change(operation.picks, (ids) => this.queue.discard(ids), (one) => {
          one.state = "gone"
        })
      case "pass":
        this.now += operation.millis
        return TestClock.adjust(operation.millis)
    }
  }

  private append({ batches, room }: Operation & { readonly _tag: "append" }): Effect.Effect<void, Failures> {
    const seen = new Set<string>()
    const given = batches.map(({ ids, items }, index): NewBatch => {
      const n = this.batches.length + index
      const own = ids.filter((id) => !seen.has(id) && seen.add(id))
      return { payload: Uint8Array.of(n >> 8, n & 255), items, oldestAtMillis: this.now, ids: own }
    })
    let left = room === undefined ? Infinity : room - this.amount(this.is("ready", "leased", "later")).items
    const end = given.findIndex(({ items }) => (left -= items) < 0)
    const fitting = end < 0 ? given : given.slice(0, end)
    const known = (id: string) => (this.ids.get(id) ?? -Infinity) > this.now - windowMillis
    const duplicates = fitting.flatMap(({ ids = [] }) => ids.filter(known))
    const [first, ...rest] = given
    return Effect.flatMap(
      this.queue.append({ batches: [first, ...rest], maxPendingItems: room, idWindowMillis: windowMillis }),
      (answer) => {
        const appended = duplicates.length === 0 ? fitting : []
        for (const batch of appended) {
          for (const id of batch.ids ?? []) this.ids.set(id, this.now)
          const failure = { attempts: 0, failedAtMillis: 0, error: "" }
          this.batches.push({ batch, state: "ready", until: 0, sequence: 0, token: 0, deliveries: 0, failure })
        }
        return this.same("appended", answer, { appended: appended.length, duplicates })
      }
    )
  }

  private claim(limit: number, picks: ReadonlyArray<number>): Effect.Effect<void, Failures> {
    const { claims, held, lost } = this.split(picks)
    for (const one of held) one.state = "gone"
    const taken = this.claimable().slice(0, limit)
    return Effect.flatMap(this.queue.claim({ limit, leaseMillis, settle: claims }), (answer) => {
      for (const one of taken) Object.assign(one, { state: "leased", until: this.now + leaseMillis })
      const next = Math.min(...this.is("leased", "later").map(({ until }) => until))
      const nextAt = taken.length < limit && next < Infinity ? next : undefined
      return Effect.all([
        this.same("lost", answer.lost.map(({ sequence }) => sequence), lost),
        this.same("when the next can be claimed", answer.nextAtMillis, nextAt),
        this.same("how many", answer.batches.length, taken.length),
        ...taken.map((one, index) => this.taken(one, answer.batches[index]))
      ])
    })
  }

  private taken(one: Modelled, claimed: ClaimedBatch | undefined): Effect.Effect<void, Failures> {
    if (claimed === undefined) return Effect.void
    one.deliveries += 1
    const { sequence, token, ...rest } = claimed
    const before = one.token
    one.sequence = one.token === 0 ? sequence : one.sequence
    one.token = token
    this.claims.push({ modelled: one, claim: { sequence, token } })
    const { ids: _, ...batch } = one.batch
    return Effect.all([
      this.same("the batch", rest, { ...batch, ...one.failure, deliveries: one.deliveries }),
      this.same("its place", sequence, one.sequence),
      this.same("its token is higher", token > before, true)
    ])
  }

  private held(
    picks: ReadonlyArray<number>,
    run: (claims: ReadonlyArray<Claim>) => Effect.Effect<void, Failures>,
    change: (one: Modelled) => void
  ): Effect.Effect<void, Failures> {
    const { claims, held, lost } = this.split(picks)
    return Effect.flatMap(lostBy(run(claims)), (answer) => {
      held.forEach(change)
      return this.same("lost", answer, [...lost].sort((a, b) => a - b))
    })
  }

  private release(
    { delay, failed, giveBack, picks }: Operation & { readonly _tag: "release" }
  ): Effect.Effect<void, Failures> {
    const readyAtMillis = delay === undefined ? undefined : this.now + delay
    const failure = failed ? { attempts: 1, failedAtMillis: this.now, error: `at ${this.now}` } : undefined
    return this.held(picks, (claims) => this.queue.release(claims, { readyAtMillis, failure, giveBack }), (one) => {
      const later = readyAtMillis !== undefined && readyAtMillis > this.now
      Object.assign(one, later ? { state: "later", until: readyAtMillis } : { state: "ready" })
      if (failure !== undefined) one.failure = failure
      if (giveBack) one.deliveries -= 1
    })
  }

  private replace(picks: ReadonlyArray<number>): Effect.Effect<void, Failures> {
    const { claims: [first, ...rest], held, lost } = this.split(picks)
    if (first === undefined) return Effect.void
    const remainder: NewBatch = { payload: Uint8Array.of(255, 255), items: 2, oldestAtMillis: 1 }
    return Effect.flatMap(lostBy(this.queue.replace([first, ...rest], remainder)), (answer) => {
      if (lost.length === 0) {
        const [oldest, ...others] = held.sort((one, other) => one.sequence - other.sequence)
        oldest.batch = remainder
        for (const one of others) one.state = "gone"
      }
      return this.same("lost", answer, [...lost].sort((a, b) => a - b))
    })
  }

  private change(
    picks: ReadonlyArray<number> | "all",
    run: (ids: ReadonlyArray<number> | "all") => Effect.Effect<unknown, Failures>,
    change: (one: Modelled) => void
  ): Effect.Effect<void, Failures> {
    const ids = picks === "all" ? "all" : this.picked(picks).map(({ claim }) => claim.sequence)
    const dead = this.is("dead").filter(({ sequence }) => ids === "all" || ids.includes(sequence))
    const amount = this.amount(dead)
    return Effect.flatMap(run(ids), (answer) => {
      dead.forEach(change)
      return this.same("how much", answer, amount)
    })
  }

  private readonly checkStats: Effect.Effect<void, Failures> = Effect.suspend(() => {
    const letters = Effect.map(this.queue.deadLetters({ limit: 1000 }), (letters) => letters.map(({ id }) => id))
    return Effect.flatMap(Effect.all([this.queue.stats, letters]), ([stats, letters]) =>
      Effect.zipRight(
        this.same("the counters", stats, {
          pending: this.amount(this.is("ready", "leased", "later")),
          dead: this.amount(this.is("dead")),
          oldestAtMillis: this.claimable()[0]?.batch.oldestAtMillis
        }),
        this.same("the dead letters", letters, this.is("dead").map(({ sequence }) => sequence))
      ))
  })
}

/** The sequences that were lost, none where it succeeds. */
const lostBy = (run: Effect.Effect<unknown, Failures>): Effect.Effect<ReadonlyArray<number>, Failures> =>
  Effect.matchEffect(run, {
    onFailure: (error) =>
      error._tag === "LeaseLost" ? Effect.succeed([...error.sequences].sort((a, b) => a - b)) : Effect.fail(error),
    onSuccess: () => Effect.succeed([])
  })

/** @internal */
export const randomLaws = (
  { runs = 50, seed }: { readonly runs?: number | undefined; readonly seed?: number | undefined }
): ReadonlyArray<Law> => {
  const name = "random sequences of operations do what a simple model does"
  const check = Effect.gen(function*() {
    const store = yield* BatchStore
    const from = seed ?? FastCheck.sample(FastCheck.integer(), 1)[0]
    const sequences = FastCheck.sample(
      FastCheck.array(operation, { minLength: 5, maxLength: 60, size: "max" }),
      { numRuns: runs, seed: from }
    )
    for (const [index, operations] of sequences.entries()) {
      yield* TestClock.setTime(0)
      const title = `${name} (seed ${from}, sequence ${index + 1})`
      const lines = operations.map((operation, n) => `  ${n + 1}. ${FastCheck.stringify(operation)}`)
      const run = new Run(yield* store.queue(title), title, lines.join("\n"))
      for (const [n, operation] of operations.entries()) yield* run.run(operation, n)
    }
  })
  return [{ name, check }]
}
