/**
 * The `BatchStore` in the memory of the process.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { LeaseLost } from "../../QueueError.ts"
import {
  type Append,
  type Appended,
  type Claim,
  type Claimed,
  type ClaimOptions,
  type DeadLetter,
  type Failure,
  longestFitting,
  type NewBatch,
  type Part,
  type Portion,
  type Portioned,
  type QueueStore,
  type ReleaseOptions,
  type Turn
} from "../../QueueStore.ts"
import { inStretches, makeBreaks } from "../fibers/breaks.ts"
import { Heap } from "./heap.ts"
import { idsAfter, isMeant, Letters } from "./letters.ts"
import {
  claimedOf,
  deadLetterOf,
  forEverybody,
  fresh,
  gone,
  noFailure,
  Returns,
  type State,
  type Stored,
  type Until,
  until
} from "./stored.ts"

/** How many dead letters are looked at in one step: others want their turn. */
const lookedAtOnce = 1000

class MemoryQueue implements QueueStore {
  private readonly name: string
  private nextSequence = 1
  /** Every batch that is not gone, by its sequence. */
  private readonly all = new Map<number, Stored>()
  /** Those that are fresh, and some that no longer are. */
  private readonly fresh = new Heap<Stored>((a, b) => a.sequence < b.sequence)
  private readonly returns = new Returns()
  private readonly letters = new Letters()
  private pending = { batches: 0, items: 0 }
  private dead = { batches: 0, items: 0 }
  private unread = { batches: 0, items: 0 }
  private heldUntil: Until = { untilMillis: -Infinity, spanMillis: 0 }
  /** When each id was remembered, oldest first. */
  private readonly ids = new Map<string, number>()
  private lastNow = -Infinity

  constructor(name: string) {
    this.name = name
  }

  private now<A, E = never>(step: (now: number) => A | LeaseLost): Effect.Effect<A, E> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (now < this.lastNow) this.clip(now)
      this.lastNow = now
      const answer = step(now)
      return (answer instanceof LeaseLost ? Effect.fail(answer) : Effect.succeed(answer)) as Effect.Effect<A, E>
    })
  }

  /** The clock was set back: nothing ends later than now and the time that it was given. */
  private clip(now: number): void {
    this.returns.clear()
    for (const stored of this.all.values()) {
      const { state } = stored
      if (state._tag !== "Leased" && state._tag !== "Returned") continue
      this.become(stored, { ...state, untilMillis: Math.min(state.untilMillis, now + state.spanMillis) })
    }
    const { spanMillis, untilMillis } = this.heldUntil
    this.heldUntil = { spanMillis, untilMillis: Math.min(untilMillis, now + spanMillis) }
    for (const [id, atMillis] of this.ids) if (atMillis > now) this.ids.set(id, now)
  }

  /** The only place where the state of a batch changes. */
  private become(stored: Stored, state: State): void {
    this.count(stored, -1)
    stored.state = state
    this.count(stored, 1)
    switch (state._tag) {
      case "Fresh":
        return this.fresh.push(stored)
      case "Leased":
        return this.returns.add(forEverybody, { atMillis: state.untilMillis, stored, state })
      case "Returned":
        return this.returns.add(state.version ?? forEverybody, { atMillis: state.untilMillis, stored, state })
      case "Dead":
        return this.letters.add(stored.sequence)
      case "Gone":
        this.all.delete(stored.sequence)
    }
  }

  private count({ batch, state }: Stored, sign: 1 | -1): void {
    const add = (amount: { batches: number; items: number }) => {
      amount.batches += sign
      amount.items += sign * batch.items
    }
    if (state._tag === "Gone") return
    add(state._tag === "Dead" ? this.dead : this.pending)
    if (state._tag === "Returned" && state.version !== undefined) add(this.unread)
  }

  // --- in -----------------------------------------------------------------------------------------------------------

  append({ batches, idWindowMillis = Infinity, maxPendingItems = Infinity }: Append): Effect.Effect<Appended> {
    return this.now((now) => {
      this.forgetIds(now - idWindowMillis)
      const fitting = longestFitting(batches, maxPendingItems - this.pending.items)
      const duplicates = fitting.flatMap(({ ids = [] }) => ids.filter((id) => this.ids.has(id)))
      if (duplicates.length > 0) return { appended: 0, duplicates }
      for (const batch of fitting) {
        for (const id of batch.ids ?? []) this.ids.set(id, now)
        this.add(batch)
      }
      return { appended: fitting.length, duplicates }
    })
  }

  private add(batch: NewBatch): void {
    this.become(this.place(batch), fresh)
  }

  /** Something new, behind everything else. */
  private place(batch: NewBatch): Stored {
    const sequence = this.nextSequence++
    const stored: Stored = { sequence, batch, state: gone, token: 0, deliveries: 0, failure: noFailure }
    this.all.set(sequence, stored)
    return stored
  }

  private forgetIds(upToMillis: number): void {
    for (const [id, atMillis] of this.ids) {
      if (atMillis > upToMillis) return
      this.ids.delete(id)
    }
  }

  // --- out ----------------------------------------------------------------------------------------------------------

  claim(
    { leaseMillis, limit, renew, settle = [], turn = "fresh", version = Infinity }: ClaimOptions
  ): Effect.Effect<Claimed> {
    return this.now((now): Claimed => {
      const lost = this.forHeld(settle, (stored) => this.become(stored, gone))
      this.forHeld(renew?.() ?? [], (stored) => this.lease(stored, now, leaseMillis))
      if (this.heldUntil.untilMillis > now) {
        return { batches: [], turn: "fresh", lost, nextAtMillis: this.heldUntil.untilMillis }
      }
      const take = (turn: Turn): ReadonlyArray<Stored> =>
        turn === "fresh" ? this.takeFresh(limit) : limit < 1 ? [] : this.takeReturned(now, version)
      const first = take(turn)
      const of: Turn = first.length > 0 ? turn : turn === "fresh" ? "returned" : "fresh"
      const taken = of === turn ? first : take(of)
      for (const stored of taken) {
        stored.token += 1
        stored.deliveries += 1
        this.lease(stored, now, leaseMillis)
      }
      const mayBeMore = taken.length >= limit || taken.length > 0 && of === "returned"
      return {
        batches: taken.map(claimedOf),
        turn: taken.length === 0 ? "fresh" : of,
        lost,
        nextAtMillis: mayBeMore ? undefined : this.returns.next(version)?.atMillis
      }
    })
  }

  private lease(stored: Stored, now: number, leaseMillis: number): void {
    this.become(stored, { _tag: "Leased", ...until(now, leaseMillis) })
  }

  private takeFresh(limit: number): ReadonlyArray<Stored> {
    const taken: Array<Stored> = []
    for (let first = this.firstFresh; taken.length < limit && first !== undefined; first = this.firstFresh) {
      this.fresh.pop()
      taken.push(first)
    }
    return taken
  }

  private get firstFresh(): Stored | undefined {
    for (let first = this.fresh.first; first !== undefined; first = this.fresh.first) {
      if (first.state === fresh) return first
      this.fresh.pop()
    }
    return undefined
  }

  private takeReturned(now: number, version: number): ReadonlyArray<Stored> {
    const next = this.returns.next(version)
    return next === undefined || next.atMillis > now ? [] : [next.stored]
  }

  /** Does something with each batch that is still held, and answers the claims of the others. */
  private forHeld(claims: ReadonlyArray<Claim>, step: (stored: Stored) => void): ReadonlyArray<Claim> {
    const lost: Array<Claim> = []
    for (const claim of claims) {
      const stored = this.held(claim)
      if (stored === undefined) lost.push(claim)
      else step(stored)
    }
    return lost
  }

  private held({ sequence, token }: Claim): Stored | undefined {
    const stored = this.all.get(sequence)
    return stored !== undefined && stored.token === token && stored.state._tag === "Leased" ? stored : undefined
  }

  private lostOr<A>(lost: ReadonlyArray<Claim>, answer: A): A | LeaseLost {
    return lost.length === 0
      ? answer
      : new LeaseLost({ queue: this.name, claims: lost })
  }

  extend(
    claims: ReadonlyArray<Claim>,
    { failure, leaseMillis }: { readonly leaseMillis: number; readonly failure?: Failure | undefined }
  ): Effect.Effect<void, LeaseLost> {
    return this.now((now) =>
      this.lostOr(
        this.forHeld(claims, (stored) => {
          if (failure !== undefined) stored.failure = failure
          this.lease(stored, now, leaseMillis)
        }),
        undefined
      )
    )
  }

  settle(claims: ReadonlyArray<Claim>): Effect.Effect<void, LeaseLost> {
    return this.now(() => this.lostOr(this.forHeld(claims, (stored) => this.become(stored, gone)), undefined))
  }

  divide(claims: ReadonlyArray<Claim>, parts: ReadonlyArray<Part>): Effect.Effect<ReadonlyArray<Claim>, LeaseLost> {
    return this.now((now): ReadonlyArray<Claim> | LeaseLost => {
      const lost = claims.filter((claim) => this.held(claim) === undefined)
      const [oldest, ...others] = claims.map((claim) => this.held(claim)!).sort((a, b) => a?.sequence - b?.sequence)
      if (lost.length > 0) return this.lostOr(lost, [])
      for (const other of others) this.become(other, gone)
      const first = parts.find(({ becomes }) => becomes._tag === "Kept") ?? parts[0]
      if (first === undefined) this.become(oldest, gone)
      const placed = parts.map((part) => this.inPlaceOf(oldest, part, part === first))
      parts.forEach(({ becomes }, index) => this.put(placed[index], becomes, now))
      return placed.map(({ sequence, token }) => ({ sequence, token }))
    })
  }

  private inPlaceOf(oldest: Stored, { items, oldestAtMillis, payload }: Part, isFirst: boolean): Stored {
    const batch = { items, oldestAtMillis, payload }
    if (!isFirst) return Object.assign(this.place(batch), { deliveries: oldest.deliveries, failure: oldest.failure })
    this.count(oldest, -1)
    oldest.batch = batch
    this.count(oldest, 1)
    return oldest
  }

  private put(stored: Stored, becomes: Part["becomes"], now: number): void {
    switch (becomes._tag) {
      case "Kept":
        stored.failure = becomes.failure
        // Who asks again, because the answer was lost, must not divide what has been divided.
        stored.token += 1
        return
      case "Released":
        return this.putBack(stored, becomes, now)
      case "Dead":
        return this.bury(stored, becomes, now)
    }
  }

  release(claims: ReadonlyArray<Claim>, options: ReleaseOptions): Effect.Effect<void, LeaseLost> {
    return this.now((now) =>
      this.lostOr(this.forHeld(claims, (stored) => this.putBack(stored, options, now)), undefined)
    )
  }

  private putBack(
    stored: Stored,
    { delayMillis = 0, failure, giveBack = false, version }: ReleaseOptions,
    now: number
  ): void {
    if (failure !== undefined) stored.failure = failure
    if (giveBack) stored.deliveries -= 1
    const comesBack = delayMillis > 0 || failure !== undefined || version !== undefined
    this.become(stored, comesBack ? { _tag: "Returned", version, ...until(now, Math.max(0, delayMillis)) } : fresh)
  }

  forgive(claims: ReadonlyArray<Claim>): Effect.Effect<void> {
    return Effect.sync(() => {
      for (const { sequence, token } of claims) {
        const stored = this.all.get(sequence)
        if (stored !== undefined && stored.token > token && stored.deliveries > 0) stored.deliveries -= 1
      }
    })
  }

  hold(millis: number): Effect.Effect<void> {
    return this.now((now) => {
      const next = until(now, millis)
      if (millis <= 0 || next.untilMillis > this.heldUntil.untilMillis) this.heldUntil = next
    })
  }

  // --- dead letters -------------------------------------------------------------------------------------------------

  deadLetter(
    claims: ReadonlyArray<Claim>,
    { failure, reason }: { readonly reason: string; readonly failure: Failure }
  ): Effect.Effect<void, LeaseLost> {
    return this.now((now) =>
      this.lostOr(
        this.forHeld(claims, (stored) => this.bury(stored, { failure, reason }, now)),
        undefined
      )
    )
  }

  private bury(
    stored: Stored,
    { failure, reason }: { readonly reason: string; readonly failure: Failure },
    now: number
  ): void {
    stored.failure = failure
    this.become(stored, { _tag: "Dead", reason, atMillis: now })
  }

  deadLetters(portion: Portion): Effect.Effect<ReadonlyArray<DeadLetter>> {
    return Effect.gen(this, function*() {
      const now = yield* this.now((now) => now)
      const stretches = (yield* makeBreaks).stretches(0)
      const found: Array<DeadLetter> = []
      yield* inStretches(this.looks(portion, now), stretches, (letters) => {
        for (const letter of letters) found.push(deadLetterOf(letter))
      })
      return found
    })
  }

  /** Those of a portion, as many at a time as are looked at in one step. */
  private *looks(portion: Portion, now: number): Iterable<ReadonlyArray<Stored>> {
    let { after, limit } = portion
    do {
      const { last, letters } = this.look({ ...portion, after, limit }, now)
      limit -= letters.length
      after = last
      yield letters
    } while (after !== undefined && limit > 0)
  }

  inspect(id: number): Effect.Effect<Option.Option<DeadLetter & { readonly payload: Uint8Array }>> {
    return Effect.sync(() => {
      const stored = this.all.get(id)
      return stored?.state._tag === "Dead"
        ? Option.some({ ...deadLetterOf(stored), payload: stored.batch.payload })
        : Option.none()
    })
  }

  redrive(portion: Portion): Effect.Effect<Portioned> {
    return this.forDead(portion, (stored) => {
      stored.deliveries = 0
      stored.failure = noFailure
      this.become(stored, fresh)
    })
  }

  discard(portion: Portion): Effect.Effect<Portioned> {
    return this.forDead(portion, (stored) => this.become(stored, gone))
  }

  countDead(portion: Portion): Effect.Effect<Portioned> {
    return this.forDead(portion, () => {})
  }

  private forDead(portion: Portion, step: (stored: Stored) => void): Effect.Effect<Portioned> {
    return this.now((now) => {
      const { last, letters } = this.look(portion, now)
      const items = letters.reduce((sum, { batch }) => sum + batch.items, 0)
      letters.forEach(step)
      return { batches: letters.length, items, last }
    })
  }

  /** Those of a portion, and after which id to go on. */
  private look(
    { after = 0, filter, limit }: Portion,
    now: number
  ): { readonly letters: ReadonlyArray<Stored>; readonly last: number | undefined } {
    const letters: Array<Stored> = []
    let looked = 0
    let last: number | undefined
    const isAlive = (id: number) => this.all.get(id)?.state._tag === "Dead"
    // Of ids, each is looked up, however many other letters there are.
    const ids = filter.ids === undefined
      ? this.letters.after(after, isAlive, this.dead.batches)
      : idsAfter(after, filter.ids).filter(isAlive)
    for (const id of ids) {
      if (letters.length >= limit || looked === lookedAtOnce) return { letters, last }
      last = id
      looked += 1
      const stored = this.all.get(id)!
      if (isMeant(deadLetterOf(stored), filter, now)) letters.push(stored)
    }
    return { letters, last: undefined }
  }

  // --- numbers ------------------------------------------------------------------------------------------------------

  readonly stats: QueueStore["stats"] = Effect.suspend(() =>
    this.now((now) => {
      const next = this.returns.next(forEverybody)
      const returned = next === undefined || next.atMillis > now ? undefined : next.stored
      return {
        pending: { ...this.pending },
        dead: { ...this.dead },
        newer: { ...this.unread },
        oldestAtMillis: (this.firstFresh ?? returned)?.batch.oldestAtMillis,
        heldUntilMillis: this.heldUntil.untilMillis > now ? this.heldUntil.untilMillis : undefined
      }
    })
  )

  readonly transaction: QueueStore["transaction"] = Effect.succeed(Option.none())
}

export const makeMemoryStore = () => {
  const queues = new Map<string, MemoryQueue>()
  return {
    name: ":memory:",
    persistent: false,
    queue: (name: string) =>
      Effect.sync(() => {
        let queue = queues.get(name)
        if (queue === undefined) queues.set(name, queue = new MemoryQueue(name))
        return queue
      })
  }
}
