/**
 * Random sequences of operations on a store, beside a model of a queue that is as simple as it can be.
 */
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as TestClock from "effect/TestClock"
import {
  BatchStore,
  type Claim,
  type ClaimedBatch,
  type DeadLetterFilter,
  type Failure,
  type NewBatch,
  type Part,
  type QueueStore,
  type Turn
} from "../../BatchStore.ts"
import { differs, type Failures, inPortions, type Law, leaseMillis, sorted } from "./lawTrial.ts"
import { letterOf, type Made, type Modelled, ModelledIds, noFailure } from "./modelled.ts"
import { ending, type FilterPlan, type Operation, operation, type PartPlan, type PutBack } from "./storeOperations.ts"

type Of<Tag extends Operation["_tag"]> = Operation & { readonly _tag: Tag }

const windowMillis = 900

/** Clocks are set back from here. */
const startMillis = 10_000_000

/** The model, and the queue that must do the same. */
class Run {
  private readonly queue: QueueStore
  private readonly law: string
  private readonly script: string
  private readonly batches: Array<Modelled> = []
  private readonly claims: Array<Made> = []
  private readonly ids = new ModelledIds(windowMillis)
  private hold = { until: -Infinity, span: 0 }
  private now = startMillis
  private count = 0
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

  private amount(batches: ReadonlyArray<Modelled>) {
    return { batches: batches.length, items: batches.reduce((sum, { batch }) => sum + batch.items, 0) }
  }

  private newBatch(items: number): NewBatch {
    const n = this.count++
    return { payload: Uint8Array.of(n >> 8, n & 255), items, oldestAtMillis: this.now }
  }

  private failed(attempts: number): Failure {
    return { attempts, failedAtMillis: this.now, error: attempts % 2 === 0 ? `at ${this.now}` : "100%" }
  }

  /** What comes back, for those who can read this version, in its order. */
  private returning(version = -Infinity): ReadonlyArray<Modelled> {
    return this.is("leased", "returned")
      .filter((one) => one.version === undefined || one.version <= version)
      .sort((one, other) => one.until - other.until)
  }

  /** Claims of every age: held, run out, claimed by another, or of what is gone. */
  private picked(picks: ReadonlyArray<number>): ReadonlyArray<Made> {
    return picks.map((pick) => this.claims[this.claims.length - 1 - pick]).filter((some) => some !== undefined)
  }

  private split(picks: ReadonlyArray<number>) {
    const picked = this.picked(picks)
    const held = picked.filter(({ claim, modelled }) => modelled.state === "leased" && modelled.token === claim.token)
    const lost = picked.filter((one) => !held.includes(one)).map(({ claim }) => claim)
    return { claims: picked.map(({ claim }) => claim), held, lost: sorted(lost) }
  }

  private lease(one: Modelled, millis: number): void {
    Object.assign(one, { state: "leased", until: this.now + millis, span: millis, version: undefined })
  }

  run(operation: Operation, index: number): Effect.Effect<void, Failures> {
    this.step = `operation ${index + 1}`
    return Effect.zipRight(Effect.suspend(() => this.perform(operation)), this.checkAll)
  }

  private perform(operation: Operation): Effect.Effect<void, Failures> {
    switch (operation._tag) {
      case "append":
        return this.append(operation)
      case "claim":
        return this.claim(operation)
      case "settle":
        return this.held(operation.picks, (claims) => this.queue.settle(claims), (made) => {
          this.end(made, "gone")
        })
      case "extend":
        return this.extend(operation)
      case "deadLetter":
        return this.deadLetter(operation)
      case "release":
        return this.release(operation)
      case "divide":
        return this.divide(operation)
      case "forgive":
        return this.forgive(operation.picks)
      case "hold": {
        const next = this.now + operation.millis
        if (operation.millis === 0 || next > this.hold.until) this.hold = { until: next, span: operation.millis }
        return this.queue.hold(operation.millis)
      }
      case "redrive":
      case "discard":
      case "countDead":
      case "deadLetters":
        return this.portions(operation)
      case "pass":
        this.now += operation.millis
        return TestClock.adjust(operation.millis)
      case "setBack":
        return this.setBack(operation.millis)
    }
  }

  // --- in -----------------------------------------------------------------------------------------------------------

  private append({ batches, room }: Of<"append">): Effect.Effect<void, Failures> {
    const seen = new Set<string>()
    const given = batches.map(({ ids, items }): NewBatch => {
      const own = ids.filter((id) => !this.ids.isUnsure(id, this.now) && !seen.has(id) && seen.add(id))
      return { ...this.newBatch(items), ids: own }
    })
    let left = room === undefined ? Infinity : room - this.amount(this.is("fresh", "leased", "returned")).items
    const end = given.findIndex(({ items }) => (left -= items) < 0)
    const fitting = end < 0 ? given : given.slice(0, end)
    const duplicates = fitting.flatMap(({ ids = [] }) => ids.filter((id) => this.ids.isKnown(id, this.now)))
    const [first, ...rest] = given
    return Effect.flatMap(
      this.queue.append({ batches: [first, ...rest], maxPendingItems: room, idWindowMillis: windowMillis }),
      (answer) => {
        const appended = duplicates.length === 0 ? fitting : []
        for (const batch of appended) {
          this.ids.remember(batch.ids ?? [], this.now)
          this.add(batch, {})
        }
        return this.same("appended", answer, { appended: appended.length, duplicates })
      }
    )
  }

  private add(batch: NewBatch, rest: Partial<Modelled>): Modelled {
    const { ids: _, ...own } = batch
    const when = { until: 0, span: 0, version: undefined, diedAt: 0, reason: "" }
    const none = { sequence: 0, token: 0, deliveries: 0, failure: noFailure }
    const one: Modelled = { batch: own, state: "fresh", ...when, ...none, ...rest }
    this.batches.push(one)
    return one
  }

  // --- out ----------------------------------------------------------------------------------------------------------

  private claim({ limit, renew, settle, turn = "fresh", version }: Of<"claim">): Effect.Effect<void, Failures> {
    const { claims, held, lost } = this.split(settle)
    for (const made of held) this.end(made, "gone")
    const renewed = this.split(renew)
    for (const { modelled } of renewed.held) this.lease(modelled, leaseMillis)
    const isHeld = this.hold.until > this.now
    const readable = version ?? Infinity
    const [taken, of] = isHeld ? [[], "fresh" as const] : this.taken(limit, turn, readable)
    const options = { limit, turn, version, leaseMillis, settle: claims, renew: () => renewed.claims }
    return Effect.flatMap(this.queue.claim(options), (answer) => {
      for (const one of taken) this.lease(one, leaseMillis)
      const mayBeMore = taken.length >= limit || of === "returned"
      const nextAt = isHeld ? this.hold.until : mayBeMore ? undefined : this.returning(readable)[0]?.until
      return Effect.all([
        this.same("how many", [answer.batches.length, answer.turn], [taken.length, of]),
        ...taken.map((one, index) => this.claimed(one, answer.batches[index])),
        this.same("lost", sorted(answer.lost), lost),
        limit === 0 ? Effect.void : this.same("when the next can be claimed", answer.nextAtMillis, nextAt)
      ])
    })
  }

  private taken(limit: number, turn: Turn, version: number): readonly [ReadonlyArray<Modelled>, Turn] {
    const fresh = this.is("fresh").slice(0, limit)
    const returned = this.returning(version).filter(({ until }) => until <= this.now).slice(0, Math.min(limit, 1))
    if (turn === "returned" && returned.length > 0) return [returned, turn]
    return fresh.length > 0 || returned.length === 0 ? [fresh, "fresh"] : [returned, "returned"]
  }

  private claimed(one: Modelled, claimed: ClaimedBatch | undefined): Effect.Effect<void, Failures> {
    if (claimed === undefined) return Effect.void
    one.deliveries += 1
    const { sequence, token, ...rest } = claimed
    const before = one.token
    if (one.sequence === 0) one.sequence = sequence
    one.token = token
    this.claims.push({ modelled: one, claim: { sequence, token }, isOver: false })
    return Effect.all([
      this.same("the batch", rest, { ...one.batch, ...one.failure, deliveries: one.deliveries }),
      this.same("its place", sequence, one.sequence),
      this.same("its token is higher", token > before, true)
    ])
  }

  private end(made: Made, state: Modelled["state"]): void {
    made.isOver = true
    made.modelled.state = state
  }

  private held(
    picks: ReadonlyArray<number>,
    run: (claims: ReadonlyArray<Claim>) => Effect.Effect<void, Failures>,
    change: (made: Made) => void
  ): Effect.Effect<void, Failures> {
    const { claims, held, lost } = this.split(picks)
    return Effect.flatMap(lostBy(run(claims)), ([answer]) => {
      held.forEach(change)
      return this.same("lost", answer, lost)
    })
  }

  private extend({ failed, picks }: Of<"extend">): Effect.Effect<void, Failures> {
    const failure = failed ? this.failed(5) : undefined
    return this.held(picks, (claims) => this.queue.extend(claims, { leaseMillis: 700, failure }), ({ modelled }) => {
      this.lease(modelled, 700)
      if (failure !== undefined) modelled.failure = failure
    })
  }

  private deadLetter({ picks, reason }: Of<"deadLetter">): Effect.Effect<void, Failures> {
    const failure = this.failed(2)
    return this.held(picks, (claims) => this.queue.deadLetter(claims, { reason, failure }), (made) => {
      this.end(made, "dead")
      Object.assign(made.modelled, { reason, failure, diedAt: this.now })
    })
  }

  private release({ how, picks }: Of<"release">): Effect.Effect<void, Failures> {
    return this.held(picks, (claims) => this.queue.release(claims, this.releaseOptions(how)), (made) => {
      made.isOver = true
      this.putBack(made.modelled, how)
    })
  }

  private releaseOptions({ delay, failed, giveBack, version }: PutBack) {
    return { delayMillis: delay, failure: failed ? this.failed(1) : undefined, giveBack, version }
  }

  private putBack(one: Modelled, { delay = 0, failed, giveBack, version }: PutBack): void {
    const returns = delay > 0 || failed || version !== undefined
    Object.assign(one, { state: returns ? "returned" : "fresh", until: this.now + delay, span: delay, version })
    if (failed) one.failure = this.failed(1)
    if (giveBack) one.deliveries -= 1
  }

  private divide({ parts, picks }: Of<"divide">): Effect.Effect<void, Failures> {
    const { claims: [first, ...rest], held, lost } = this.split(picks)
    if (first === undefined) return Effect.void
    const plans = parts.map((part, index): PartPlan => {
      const isSecond = parts.slice(0, index).some(({ becomes }) => becomes === "Kept")
      return part.becomes === "Kept" && isSecond ? { ...part, becomes: "Released" } : part
    })
    const given = plans.map((plan): Part => ({ ...this.newBatch(plan.items), becomes: this.becomes(plan) }))
    return Effect.flatMap(lostBy(this.queue.divide([first, ...rest], given)), ([answer, places]) => {
      if (lost.length > 0) return this.same("lost", answer, lost)
      const ones = this.divided(held, plans, given)
      for (const [index, one] of ones.entries()) one.sequence ||= places?.[index]?.sequence ?? 0
      const kept = plans.findIndex(({ becomes }) => becomes === "Kept")
      return Effect.all([
        this.same("lost", answer, lost),
        this.same("the places", places?.map(({ sequence }) => sequence), ones.map(({ sequence }) => sequence)),
        kept < 0 ? Effect.void : this.same("the claim", places?.[kept], this.claims.at(-1)?.claim)
      ])
    })
  }

  private becomes(plan: PartPlan): Part["becomes"] {
    switch (plan.becomes) {
      case "Kept":
        return { _tag: "Kept", failure: this.failed(4) }
      case "Released":
        return { _tag: "Released", ...this.releaseOptions(plan) }
      case "Dead":
        return { _tag: "Dead", reason: plan.reason, failure: this.failed(6) }
    }
  }

  private divided(
    held: ReadonlyArray<Made>,
    plans: ReadonlyArray<PartPlan>,
    given: ReadonlyArray<Part>
  ): ReadonlyArray<Modelled> {
    const [oldest, ...others] = [...held].sort((one, other) => one.modelled.sequence - other.modelled.sequence)
    for (const made of others) this.end(made, "gone")
    const first = Math.max(0, plans.findIndex(({ becomes }) => becomes === "Kept"))
    if (plans.length === 0) this.end(oldest, "gone")
    const { deliveries, failure } = oldest.modelled
    return plans.map((plan, index) => {
      const { becomes, ...batch } = given[index]
      const one = index === first ? oldest.modelled : this.add(batch, { deliveries, failure })
      one.batch = batch
      if (index === first) oldest.isOver = true
      if (becomes._tag === "Kept") {
        one.token += 1
        this.claims.push({ modelled: one, claim: { sequence: one.sequence, token: one.token }, isOver: false })
      }
      if (becomes._tag === "Released") this.putBack(one, plan)
      else one.failure = becomes.failure
      if (becomes._tag === "Dead") Object.assign(one, { state: "dead", reason: plan.reason, diedAt: this.now })
      return one
    })
  }

  /** Of those that were lost to somebody else, each once. There are few of them. */
  private forgive(picks: ReadonlyArray<number>): Effect.Effect<void, Failures> {
    const all = this.claims.filter(({ claim, isOver, modelled: { state, token } }) =>
      !isOver && token > claim.token && state !== "dead" && state !== "gone"
    )
    const lost = all.filter((_, index) => picks.some((pick) => pick % all.length === index))
    for (const made of lost) {
      made.isOver = true
      made.modelled.deliveries -= 1
    }
    return this.queue.forgive(lost.map(({ claim }) => claim))
  }

  // --- dead letters, time, and numbers ------------------------------------------------------------------------------

  private portions(
    { _tag, after: place, filter: plan, limit }: Of<"redrive" | "discard" | "countDead" | "deadLetters">
  ) {
    const filter = this.filterOf(plan)
    const after = place === undefined ? undefined : this.picked([place])[0]?.claim.sequence
    const meant = this.is("dead").filter((one) => one.sequence > (after ?? 0) && this.isMeant(one, filter))
    if (_tag === "deadLetters") {
      return Effect.flatMap(
        this.queue.deadLetters({ filter, after, limit }),
        (letters) => this.same("the letters", letters, meant.slice(0, limit).map(letterOf))
      )
    }
    const amount = this.amount(meant)
    return Effect.flatMap(inPortions(this.queue, _tag, filter, limit, after), (answer) => {
      if (_tag === "discard") { for (const one of meant) one.state = "gone" }
      if (_tag === "redrive") { for (const one of meant) this.redriven(one) }
      return this.same("how much", answer, amount)
    })
  }

  private redriven(one: Modelled): void {
    Object.assign(one, { state: "fresh", deliveries: 0, failure: noFailure })
    for (const made of this.claims) made.isOver ||= made.modelled === one
  }

  private filterOf({ picks, ...rest }: FilterPlan): DeadLetterFilter {
    return { ...rest, ids: picks && this.picked(picks).map(({ claim }) => claim.sequence) }
  }

  private isMeant(one: Modelled, { error = "", ids, olderThanMillis = -Infinity, reason }: DeadLetterFilter): boolean {
    return (reason === undefined || one.reason === reason) && (ids === undefined || ids.includes(one.sequence))
      && one.failure.error.includes(error) && one.diedAt <= this.now - olderThanMillis
  }

  private setBack(millis: number): Effect.Effect<void, Failures> {
    this.ids.setBack(this.now, this.now - millis)
    this.now -= millis
    for (const one of [...this.is("leased", "returned"), this.hold]) {
      one.until = Math.min(one.until, this.now + one.span)
    }
    const claim: Operation = { _tag: "claim", limit: 1, turn: "returned", version: undefined, settle: [], renew: [] }
    return Effect.zipRight(TestClock.setTime(this.now), Effect.suspend(() => this.claim(claim)))
  }

  private readonly checkAll: Effect.Effect<void, Failures> = Effect.suspend(() =>
    Effect.flatMap(
      Effect.all([this.queue.stats, this.queue.deadLetters({ filter: {}, limit: 1000 })]),
      ([stats, letters]) => {
        const due = this.returning().find(({ until }) => until <= this.now)
        const places = this.batches.map(({ sequence }) => sequence).filter((sequence) => sequence > 0)
        return Effect.all([
          this.same("the counters", stats, {
            pending: this.amount(this.is("fresh", "leased", "returned")),
            dead: this.amount(this.is("dead")),
            newer: this.amount(this.is("returned").filter(({ version }) => version !== undefined)),
            oldestAtMillis: (this.is("fresh")[0] ?? due)?.batch.oldestAtMillis,
            heldUntilMillis: this.hold.until > this.now ? this.hold.until : undefined
          }),
          this.same("the dead letters", letters, this.is("dead").map(letterOf)),
          this.same("the order of the places", places, [...new Set(places)].sort((a, b) => a - b))
        ])
      }
    )
  )
}

/** The leases that were lost, none where it succeeds, and then what it answers. */
const lostBy = <A>(
  run: Effect.Effect<A, Failures>
): Effect.Effect<readonly [lost: ReadonlyArray<Claim>, answer?: A], Failures> =>
  Effect.matchEffect(run, {
    onFailure: (error) =>
      error._tag === "LeaseLost" ? Effect.succeed([sorted(error.claims)] as const) : Effect.fail(error),
    onSuccess: (answer) => Effect.succeed([[], answer] as const)
  })

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
    for (const [index, sequence] of sequences.entries()) {
      yield* TestClock.setTime(startMillis)
      const operations = [...sequence, ...ending]
      const title = `${name} (seed ${from}, sequence ${index + 1})`
      const lines = operations.map((operation, n) => `  ${n + 1}. ${FastCheck.stringify(operation)}`)
      const run = new Run(yield* store.queue(title), title, lines.join("\n"))
      for (const [n, operation] of operations.entries()) yield* run.run(operation, n)
    }
  })
  return [{ name, check }]
}
