/**
 * The `BatchStore` in the memory of the process.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type {
  Amount,
  Append,
  Appended,
  Claim,
  Claimed,
  ClaimedBatch,
  ClaimOptions,
  DeadLetter,
  Failure,
  NewBatch,
  QueueStore
} from "../QueueStore.ts"
import { LeaseLost } from "../QueueError.ts"
import { Heap } from "./heap.ts"

/** Where a batch stands. */
type State =
  /** It can be claimed. */
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Leased"; readonly untilMillis: number }
  /** It was released for later. */
  | { readonly _tag: "Released"; readonly untilMillis: number }
  | { readonly _tag: "Dead"; readonly reason: string; readonly atMillis: number }
  /** It has been settled, replaced or discarded. */
  | { readonly _tag: "Gone" }

const ready: State = { _tag: "Ready" }
const gone: State = { _tag: "Gone" }

interface Stored {
  readonly sequence: number
  batch: NewBatch
  state: State
  token: number
  deliveries: number
  failure: Failure
}

/** When a batch comes back by itself, if it is still in the state that it was in when this was noted. */
interface Return {
  readonly atMillis: number
  readonly stored: Stored
  readonly state: State
}

const noFailure: Failure = { attempts: 0, failedAtMillis: 0, error: "" }

class MemoryQueue implements QueueStore {
  private readonly name: string
  private nextSequence = 1
  /** Every batch that is not gone, by its sequence. */
  private readonly all = new Map<number, Stored>()
  /** Those that can be claimed, and some that no longer can. */
  private readonly claimable = new Heap<Stored>((a, b) => a.sequence < b.sequence)
  /** Those that come back at some time, and some that no longer will. */
  private readonly returns = new Heap<Return>((a, b) => a.atMillis < b.atMillis)
  private pending = { batches: 0, items: 0 }
  private dead = { batches: 0, items: 0 }
  /** When each id was remembered, oldest first. */
  private readonly ids = new Map<string, number>()

  constructor(name: string) {
    this.name = name
  }

  private now<A, E = never>(step: (now: number) => A | LeaseLost): Effect.Effect<A, E> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const answer = step(now)
      return (answer instanceof LeaseLost ? Effect.fail(answer) : Effect.succeed(answer)) as Effect.Effect<A, E>
    })
  }

  /** The only place where the state of a batch changes. */
  private become(stored: Stored, state: State): void {
    this.count(stored, -1)
    stored.state = state
    this.count(stored, 1)
    if (state._tag === "Ready") this.claimable.push(stored)
    else if (state._tag === "Leased" || state._tag === "Released") {
      this.returns.push({ atMillis: state.untilMillis, stored, state })
    } else if (state._tag === "Gone") this.all.delete(stored.sequence)
  }

  private count({ batch, state }: Stored, sign: 1 | -1): void {
    if (state._tag === "Gone") return
    const amount = state._tag === "Dead" ? this.dead : this.pending
    amount.batches += sign
    amount.items += sign * batch.items
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
    const sequence = this.nextSequence++
    const stored: Stored = { sequence, batch, state: gone, token: 0, deliveries: 0, failure: noFailure }
    this.all.set(sequence, stored)
    this.become(stored, ready)
  }

  private forgetIds(upToMillis: number): void {
    for (const [id, atMillis] of this.ids) {
      if (atMillis > upToMillis) return
      this.ids.delete(id)
    }
  }

  // --- out ----------------------------------------------------------------------------------------------------------

  claim({ leaseMillis, limit, settle = [] }: ClaimOptions): Effect.Effect<Claimed> {
    return this.now((now) => {
      const lost = this.forHeld(settle, (stored) => this.become(stored, gone))
      const batches: Array<ClaimedBatch> = []
      this.comeBack(now)
      while (batches.length < limit) {
        const stored = this.firstClaimable(now)
        if (stored === undefined) break
        this.claimable.pop()
        stored.token += 1
        stored.deliveries += 1
        this.become(stored, { _tag: "Leased", untilMillis: now + leaseMillis })
        batches.push(claimedOf(stored))
      }
      return { batches, lost, nextAtMillis: batches.length < limit ? this.nextReturn()?.atMillis : undefined }
    })
  }

  /**
   * Puts back what has been released until now. What was leased until now can be claimed as well, and settled as long as
   * nobody has.
   */
  private comeBack(now: number): void {
    for (let next = this.nextReturn(); next !== undefined && next.atMillis <= now; next = this.nextReturn()) {
      this.returns.pop()
      if (next.state._tag === "Leased") this.claimable.push(next.stored)
      else this.become(next.stored, ready)
    }
  }

  private nextReturn(): Return | undefined {
    for (let next = this.returns.first; next !== undefined; next = this.returns.first) {
      if (next.stored.state === next.state) return next
      this.returns.pop()
    }
    return undefined
  }

  private firstClaimable(now: number): Stored | undefined {
    for (let first = this.claimable.first; first !== undefined; first = this.claimable.first) {
      const { state } = first
      if (state._tag === "Ready" || state._tag === "Leased" && state.untilMillis <= now) return first
      this.claimable.pop()
    }
    return undefined
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
      : new LeaseLost({ queue: this.name, sequences: lost.map(({ sequence }) => sequence) })
  }

  extend(
    claims: ReadonlyArray<Claim>,
    { failure, leaseMillis }: { readonly leaseMillis: number; readonly failure?: Failure | undefined }
  ): Effect.Effect<void, LeaseLost> {
    return this.now((now) =>
      this.lostOr(
        this.forHeld(claims, (stored) => {
          if (failure !== undefined) stored.failure = failure
          this.become(stored, { _tag: "Leased", untilMillis: now + leaseMillis })
        }),
        undefined
      )
    )
  }

  settle(claims: ReadonlyArray<Claim>): Effect.Effect<void, LeaseLost> {
    return this.now(() => this.lostOr(this.forHeld(claims, (stored) => this.become(stored, gone)), undefined))
  }

  replace(claims: ReadonlyArray<Claim>, remainder: NewBatch): Effect.Effect<Claim, LeaseLost> {
    return this.now((): Claim | LeaseLost => {
      const lost = claims.filter((claim) => this.held(claim) === undefined)
      const [oldest, ...others] = [...claims].sort((a, b) => a.sequence - b.sequence)
      if (lost.length > 0) return this.lostOr(lost, oldest)
      this.forHeld(others, (stored) => this.become(stored, gone))
      this.forHeld([oldest], (stored) => {
        this.count(stored, -1)
        stored.batch = remainder
        this.count(stored, 1)
      })
      return oldest
    })
  }

  release(
    claims: ReadonlyArray<Claim>,
    options: {
      readonly readyAtMillis?: number | undefined
      readonly failure?: Failure | undefined
      readonly giveBack?: boolean | undefined
    }
  ): Effect.Effect<void, LeaseLost> {
    const { failure, giveBack = false, readyAtMillis = 0 } = options
    return this.now((now) =>
      this.lostOr(
        this.forHeld(claims, (stored) => {
          if (failure !== undefined) stored.failure = failure
          if (giveBack) stored.deliveries -= 1
          this.become(stored, readyAtMillis <= now ? ready : { _tag: "Released", untilMillis: readyAtMillis })
        }),
        undefined
      )
    )
  }

  // --- dead letters -------------------------------------------------------------------------------------------------

  deadLetter(
    claims: ReadonlyArray<Claim>,
    { failure, reason }: { readonly reason: string; readonly failure: Failure }
  ): Effect.Effect<void, LeaseLost> {
    return this.now((now) =>
      this.lostOr(
        this.forHeld(claims, (stored) => {
          stored.failure = failure
          this.become(stored, { _tag: "Dead", reason, atMillis: now })
        }),
        undefined
      )
    )
  }

  private deadBatches(): Array<Stored> {
    return Array.from(this.all.values())
      .filter(({ state }) => state._tag === "Dead")
      .sort((a, b) => a.sequence - b.sequence)
  }

  deadLetters(
    { after = 0, limit }: { readonly limit: number; readonly after?: number | undefined }
  ): Effect.Effect<ReadonlyArray<DeadLetter>> {
    return Effect.sync(() =>
      this.deadBatches().filter(({ sequence }) => sequence > after).slice(0, limit).map(deadLetterOf)
    )
  }

  inspect(id: number): Effect.Effect<Option.Option<DeadLetter & { readonly payload: Uint8Array }>> {
    return Effect.sync(() => {
      const stored = this.all.get(id)
      return stored?.state._tag === "Dead"
        ? Option.some({ ...deadLetterOf(stored), payload: stored.batch.payload })
        : Option.none()
    })
  }

  redrive(ids: ReadonlyArray<number> | "all"): Effect.Effect<Amount> {
    return this.forDead(ids, (stored) => {
      stored.deliveries = 0
      stored.failure = noFailure
      this.become(stored, ready)
    })
  }

  discard(ids: ReadonlyArray<number> | "all"): Effect.Effect<Amount> {
    return this.forDead(ids, (stored) => this.become(stored, gone))
  }

  private forDead(ids: ReadonlyArray<number> | "all", step: (stored: Stored) => void): Effect.Effect<Amount> {
    return Effect.sync(() => {
      const wanted = ids === "all" ? undefined : new Set(ids)
      const amount = { batches: 0, items: 0 }
      for (const stored of this.deadBatches()) {
        if (wanted !== undefined && !wanted.has(stored.sequence)) continue
        amount.batches += 1
        amount.items += stored.batch.items
        step(stored)
      }
      return amount
    })
  }

  // --- numbers ------------------------------------------------------------------------------------------------------

  readonly stats: QueueStore["stats"] = Effect.map(Clock.currentTimeMillis, (now) => {
    this.comeBack(now)
    return {
      pending: { ...this.pending },
      dead: { ...this.dead },
      oldestAtMillis: this.firstClaimable(now)?.batch.oldestAtMillis
    }
  })

  readonly transaction: QueueStore["transaction"] = Effect.succeed(Option.none())
}

const longestFitting = (batches: ReadonlyArray<NewBatch>, room: number): ReadonlyArray<NewBatch> => {
  let left = room
  const end = batches.findIndex(({ items }) => (left -= items) < 0)
  return end < 0 ? batches : batches.slice(0, end)
}

const claimedOf = ({ batch, deliveries, failure, sequence, token }: Stored): ClaimedBatch => ({
  sequence,
  token,
  payload: batch.payload,
  items: batch.items,
  oldestAtMillis: batch.oldestAtMillis,
  deliveries,
  ...failure
})

const deadLetterOf = ({ batch, deliveries, failure, sequence, state }: Stored): DeadLetter => ({
  id: sequence,
  items: batch.items,
  reason: state._tag === "Dead" ? state.reason : "",
  error: failure.error,
  deliveries,
  attempts: failure.attempts,
  oldestAtMillis: batch.oldestAtMillis,
  diedAtMillis: state._tag === "Dead" ? state.atMillis : 0
})

/** @internal */
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
