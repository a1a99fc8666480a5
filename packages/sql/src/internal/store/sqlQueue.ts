/**
 * The part of a SQL store that belongs to one queue. It decides on which connection an operation runs, and at which
 * time.
 */
import { SafeIntegers } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type {
  Append,
  Appended,
  Claim,
  Claimed,
  ClaimOptions,
  DeadLetter,
  DeadLetterFilter,
  Failure,
  Part,
  Portion,
  Portioned,
  QueueStore,
  ReleaseOptions,
  Stats
} from "@sluice/core/BatchStore"
import { LeaseLost, StoreUnavailable } from "@sluice/core/QueueError"
import { clockOf, contextOf, withFiber } from "@sluice/core/unstable/Fibers"
import type * as Arr from "effect/Array"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ChangeDead, Claims, ClipMark, HeldOperations, Operations } from "../../BatchStoreDialect.ts"
import { QueueDamage } from "./damage.ts"
import { type GroupCommit, toUnavailable } from "./groupCommit.ts"
import { isStorable, kept } from "./storableText.ts"
import type { Transactions } from "../writer/transactions.ts"

type Step<A> = (connection: Connection, id: number, now: number) => Effect.Effect<A, SqlError>

type HeldStep = (
  operations: HeldOperations,
  connection: Connection,
  id: number,
  claims: Claims,
  now: number
) => Effect.Effect<ReadonlyArray<Claim>, SqlError>

/** What an operation locks until its transaction ends, if it makes others wait. */
type LockOf = (id: number) => number | undefined

/** How far something is clipped. */
interface Clipped {
  /** Everything is clipped, for this many times that the clock was set back. */
  upTo: number
  /** For which of them it is under way, and where the next part begins. */
  underWay: number
  from: ClipMark | undefined
}

const never = () => false
const nothingLocked: LockOf = () => undefined
const notYet = Effect.succeed(undefined)

const noClaims: ReadonlyArray<Claim> = []

const isSome = (claims: ReadonlyArray<Claim>): claims is Claims => claims.length > 0

const nothing = () => noClaims

/** The contents of a queue that was never written to. */
const none: Portioned = { batches: 0, items: 0, last: undefined }
const noLetters = { letters: [], last: undefined }
const noStats: Stats = {
  pending: { batches: 0, items: 0 },
  dead: { batches: 0, items: 0 },
  newer: { batches: 0, items: 0 },
  oldestAtMillis: undefined,
  heldUntilMillis: undefined
}

const keptFailure = (failure: Failure): Failure => ({ ...failure, error: kept(failure.error) })

const keptRelease = (options: ReleaseOptions): ReleaseOptions => ({
  ...options,
  failure: options.failure && keptFailure(options.failure)
})

const keptPart = (part: Part): Part => {
  const { becomes } = part
  switch (becomes._tag) {
    case "Kept":
      return { ...part, becomes: { ...becomes, failure: keptFailure(becomes.failure) } }
    case "Released":
      return { ...part, becomes: { ...becomes, ...keptRelease(becomes) } }
    case "Dead":
      return { ...part, becomes: { ...becomes, reason: kept(becomes.reason), failure: keptFailure(becomes.failure) } }
  }
}

/** What is stored of a text is what is looked for. */
const keptPortion = ({ after, filter, limit }: Portion): Portion => ({
  after,
  limit,
  filter: {
    ...filter,
    reason: filter.reason === undefined ? undefined : kept(filter.reason),
    error: filter.error === undefined ? undefined : kept(filter.error)
  }
})

const unclipped = (): Clipped => ({ upTo: 0, underWay: 0, from: undefined })

/** How many ids are looked for at once. */
const idsAtOnce = 1000

/** The filter for as many ids at a time, rising. */
const inParts = (filter: DeadLetterFilter): ReadonlyArray<DeadLetterFilter> => {
  const { ids } = filter
  if (ids === undefined || ids.length <= idsAtOnce) return [filter]
  const rising = Float64Array.from(new Set(ids)).sort()
  return Array.from({ length: Math.ceil(rising.length / idsAtOnce) }, (_, i) => ({
    ...filter,
    ids: Array.from(rising.subarray(i * idsAtOnce, (i + 1) * idsAtOnce))
  }))
}

export class SqlQueue implements QueueStore {
  private readonly name: string
  private readonly transactions: Transactions
  private readonly group: GroupCommit
  private readonly operations: Operations
  /** Known once its row is committed: a transaction that is rolled back takes the row with it. */
  private id: number | undefined
  private lastNow = -Infinity
  /** How often the clock was set back: at first it may have been. */
  private setBack = 1
  private readonly clipped = { due: unclipped(), ids: unclipped() }
  private readonly clipping = { due: Effect.unsafeMakeSemaphore(1), ids: Effect.unsafeMakeSemaphore(1) }
  private readonly damage = new QueueDamage()
  private readonly past: HeldOperations

  constructor(name: string, transactions: Transactions, group: GroupCommit, operations: Operations) {
    this.name = name
    this.transactions = transactions
    this.group = group
    this.operations = operations
    this.past = operations.past(this.damage)
  }

  // --- where an operation runs --------------------------------------------------------------------------------------

  /** Returns the key of the queue; undefined if it was never written to. A query must not create it. */
  readonly find: Effect.Effect<number | undefined, StoreUnavailable> = Effect.suspend(() => {
    if (!isStorable(this.name)) return Effect.fail(this.unstorable("the name of a queue"))
    return this.read<number | undefined>(undefined, (_, id) => Effect.succeed(id))
  })

  /** Answers the key of the queue, which is made where there is none. */
  private readonly open: Effect.Effect<number, StoreUnavailable> = withFiber((fiber) => {
    const run = (connection: Connection) => this.operations.queueId(connection, this.name)
    const current = this.transactions.currentIn(contextOf(fiber))
    if (current !== undefined) return this.group.join(current, { single: false, run })
    // No queue has the key 0.
    return Effect.map(this.group.submit({ single: false, lock: 0, run }), (id) => this.id = id)
  })

  private write<A>(
    single: boolean,
    step: Step<A>,
    first = false,
    lockOf: LockOf = nothingLocked
  ): Effect.Effect<A, StoreUnavailable> {
    return this.id === undefined
      ? Effect.flatMap(this.open, (id) => this.writeAs(id, single, step, first, lockOf))
      : this.writeAs(this.id, single, step, first, lockOf)
  }

  private writeAs<A>(
    id: number,
    single: boolean,
    step: Step<A>,
    first: boolean,
    lockOf: LockOf
  ): Effect.Effect<A, StoreUnavailable> {
    return withFiber((fiber) => {
      // The time is that of the moment when it is done, which may be long after the call.
      const clock = clockOf(fiber)
      const run = (connection: Connection) => step(connection, id, this.look(clock))
      const current = this.transactions.currentIn(contextOf(fiber))
      if (current !== undefined) return this.group.join(current, { single, run })
      return first ? this.group.submitFirst({ single, run }) : this.group.submit({ single, lock: lockOf(id), run })
    })
  }

  /** The time that the store goes by. */
  private timeOf(clock: Clock.Clock): number {
    return Math.floor(clock.unsafeCurrentTimeMillis() + this.offset)
  }

  /** How far that is ahead of ours. */
  private get offset(): number {
    return this.transactions.database.offsetMillis?.() ?? 0
  }

  /** A time of the store as it is here. */
  private here(millis: number | undefined): number | undefined {
    return millis === undefined ? undefined : millis - this.offset
  }

  /** What time it is, and whether the clock was set back. */
  private look(clock: Clock.Clock): number {
    const now = this.timeOf(clock)
    if (now < this.lastNow) this.setBack += 1
    this.lastNow = now
    return now
  }

  /**
   * Clips first what may be later than it can be, where the clock has been set back, and where the step answers nothing
   * before that is done.
   */
  private writeClipped<A extends {}>(
    kind: "due" | "ids",
    single: boolean,
    step: Step<A | undefined>,
    lockOf?: LockOf
  ): Effect.Effect<A, StoreUnavailable> {
    return this.withClipped(kind, (clipped, clip) => {
      const isClipped = () => clipped.upTo === this.setBack
      const written = this.write<A | undefined>(
        single,
        (connection, id, now) => isClipped() ? step(connection, id, now) : notYet,
        false,
        lockOf
      )
      const go: Effect.Effect<A, StoreUnavailable> = Effect.flatMap(
        written,
        (answer) => {
          if (answer !== undefined) return Effect.succeed(answer)
          clipped.upTo = 0
          return Effect.zipRight(clip, go)
        }
      )
      return isClipped() ? go : Effect.zipRight(clip, go)
    })
  }

  /** Part by part, so that others get their turn. Where several want it, one does it, and the others wait. */
  private withClipped<A>(
    kind: "due" | "ids",
    use: (clipped: Clipped, clip: Effect.Effect<void, StoreUnavailable>) => Effect.Effect<A, StoreUnavailable>
  ): Effect.Effect<A, StoreUnavailable> {
    return withFiber((fiber) => {
      const isInside = this.transactions.currentIn(contextOf(fiber)) !== undefined
      // A transaction may still be rolled back, and that with it.
      const clipped = isInside ? { ...this.clipped[kind] } : this.clipped[kind]
      const clip = Effect.whileLoop({
        while: () => clipped.upTo !== this.setBack,
        body: () => this.clipPart(kind, clipped),
        step: ({ from, setBack }) => {
          clipped.underWay = setBack
          clipped.from = from
          if (from === undefined) clipped.upTo = setBack
        }
      })
      // Waiting inside a transaction would block the operation that it waits for.
      return use(clipped, isInside ? clip : this.clipping[kind].withPermits(1)(clip))
    })
  }

  private clipPart(kind: "due" | "ids", clipped: Clipped) {
    const clip = kind === "due" ? this.operations.clip : this.operations.clipIds
    return this.write(kind === "due", (connection, id, now) => {
      const { setBack } = this
      const from = clipped.underWay === setBack ? clipped.from : undefined
      return Effect.map(clip(connection, id, from, now), (from) => ({ from, setBack }))
    })
  }

  /**
   * Reads what is committed, past the writers, and in a transaction what that has written. Answers `absent` where there
   * is no such queue.
   */
  private read<A>(absent: A, step: Step<A>): Effect.Effect<A, StoreUnavailable> {
    const { database } = this.transactions
    return withFiber((fiber) => {
      const clock = clockOf(fiber)
      const current = this.transactions.currentIn(contextOf(fiber))
      const run = (connection: Connection) =>
        Effect.flatMap(
          this.id === undefined ? this.operations.findQueue(connection, this.name) : Effect.succeed(this.id),
          (id) => {
            if (id === undefined) return Effect.succeed(absent)
            if (current === undefined) this.id = id
            return step(connection, id, this.timeOf(clock))
          }
        )
      const rows = current !== undefined
        ? run(current.connection)
        : database.reader === undefined
        ? this.transactions.autocommit(run)
        : this.transactions.read(Effect.suspend(() => run(database.reader!)))
      return Effect.provideService(
        Effect.mapError(rows, (error) => toUnavailable(database, error)),
        SafeIntegers,
        false
      )
    })
  }

  private held(
    claims: ReadonlyArray<Claim>,
    single: boolean,
    step: HeldStep,
    first = false
  ): Effect.Effect<void, StoreUnavailable | LeaseLost> {
    if (!isSome(claims)) return Effect.void
    const lost = this.pastDamage(
      (damage) => {
        const operations = damage === undefined ? this.operations : this.past
        return this.write(
          single && damage === undefined,
          (connection, id, now) => step(operations, connection, id, claims, now),
          first
        )
      },
      never
    )
    // Only now: the others are committed.
    return Effect.flatMap(lost, (lost) => lost.length === 0 ? Effect.void : this.lost(lost))
  }

  private lost(claims: ReadonlyArray<Claim>): Effect.Effect<never, LeaseLost> {
    return Effect.fail(new LeaseLost({ queue: this.name, claims }))
  }

  private unstorable(what: string): StoreUnavailable {
    const cause = new Error(`${what} must be well-formed text without NUL`)
    return new StoreUnavailable({ store: this.transactions.database.store, reason: "failed", cause })
  }

  // --- in and out ---------------------------------------------------------------------------------------------------

  append(append: Append): Effect.Effect<Appended, StoreUnavailable> {
    const { operations } = this
    if (append.batches.some(({ ids }) => ids !== undefined && !ids.every(isStorable))) {
      return Effect.fail(this.unstorable("an id"))
    }
    const lockOf: LockOf = (id) => operations.lockOf?.(id, append)
    if (!append.batches.some(({ ids }) => ids !== undefined && ids.length > 0)) {
      return this.write(
        operations.isSingle(append),
        (connection, id) => operations.append(connection, id, append),
        false,
        lockOf
      )
    }
    return this.writeClipped(
      "ids",
      false,
      (connection, id, now) => operations.appendWithIds(connection, id, append, now),
      lockOf
    )
  }

  claim(options: ClaimOptions): Effect.Effect<Claimed, StoreUnavailable> {
    return this.pastDamage((damage) => this.claimPast(options, damage), () => this.damage.isInTheWay)
  }

  private claimPast(
    { leaseMillis, limit, renew = nothing, settle = noClaims, turn = "fresh", version = Infinity }: ClaimOptions,
    damage: QueueDamage | undefined
  ): Effect.Effect<Claimed, StoreUnavailable> {
    const { operations } = this
    const held = damage === undefined ? operations : this.past
    const claiming = { leaseMillis, limit, turn, version }
    const claim = (connection: Connection, id: number, now: number, lost: ReadonlyArray<Claim>) => {
      const claimed = Effect.map(
        damage === undefined
          ? operations.claim(connection, id, claiming, now)
          : operations.claimPast(connection, id, claiming, now, damage),
        ({ batches, nextAtMillis, turn }): Claimed => ({ batches, turn, lost, nextAtMillis: this.here(nextAtMillis) })
      )
      // Only now: this may have waited for its turn for long.
      const renewed = renew()
      return isSome(renewed)
        ? Effect.zipRight(held.extend(connection, id, renewed, { leaseMillis, failure: undefined }, now), claimed)
        : claimed
    }
    const step: Step<Claimed> = (connection, id, now) =>
      isSome(settle)
        ? Effect.flatMap(held.settle(connection, id, settle), (lost) => claim(connection, id, now, lost))
        : claim(connection, id, now, noClaims)
    const single = !isSome(settle)
    if (damage === undefined) return this.writeClipped("due", single, step)
    // By itself: a transaction in which something has come upon a broken page can write nothing any more.
    return Effect.zipRight(
      Effect.ignore(this.withClipped("due", (_, clip) => clip)),
      this.write(single, step)
    )
  }

  /**
   * Does something, and where it comes upon a page that is broken does it once more, past what cannot be read. Says once
   * what that is.
   */
  private pastDamage<A>(
    run: (damage: QueueDamage | undefined) => Effect.Effect<A, StoreUnavailable>,
    isInTheWay: () => boolean
  ): Effect.Effect<A, StoreUnavailable> {
    const { damage } = this
    const past: Effect.Effect<A, StoreUnavailable> = Effect.suspend(() => {
      const { learned } = damage
      return Effect.catchAll(
        Effect.tap(run(damage), () => this.tellDamage),
        (error) => error.reason === "corrupt" && damage.learned > learned ? past : Effect.fail(error)
      )
    })
    return Effect.suspend(() =>
      isInTheWay()
        ? past
        : Effect.catchAll(run(undefined), (error) => error.reason === "corrupt" ? past : Effect.fail(error))
    )
  }

  private readonly tellDamage: Effect.Effect<void> = Effect.suspend(() => {
    const news = this.damage.takeNews()
    return news.length === 0 ? Effect.void : Effect.logWarning(
      `queue "${this.name}": what is broken in ${JSON.stringify(this.transactions.database.store)} is passed over`,
      ...news
    )
  })

  settle(claims: ReadonlyArray<Claim>): Effect.Effect<void, StoreUnavailable | LeaseLost> {
    const single = claims.length === 1
    return this.held(claims, single, (operations, connection, id, claims) => operations.settle(connection, id, claims))
  }

  extend(
    claims: ReadonlyArray<Claim>,
    { failure, leaseMillis }: { readonly leaseMillis: number; readonly failure?: Failure | undefined }
  ): Effect.Effect<void, StoreUnavailable | LeaseLost> {
    const options = { leaseMillis, failure: failure && keptFailure(failure) }
    return this.held(
      claims,
      true,
      (operations, connection, id, claims, now) => operations.extend(connection, id, claims, options, now),
      // Or a claim that waits longer would take what is held here.
      true
    )
  }

  release(
    claims: ReadonlyArray<Claim>,
    options: ReleaseOptions
  ): Effect.Effect<void, StoreUnavailable | LeaseLost> {
    const released = keptRelease(options)
    return this.held(
      claims,
      false,
      (operations, connection, id, claims, now) => operations.release(connection, id, claims, released, now)
    )
  }

  divide(
    claims: Arr.NonEmptyReadonlyArray<Claim>,
    parts: ReadonlyArray<Part>
  ): Effect.Effect<ReadonlyArray<Claim>, StoreUnavailable | LeaseLost> {
    const kept = parts.map(keptPart)
    const divided = this.pastDamage((damage) => {
      const operations = damage === undefined ? this.operations : this.past
      return this.write(false, (connection, id, now) => operations.divide(connection, id, claims, kept, now))
    }, never)
    return Effect.flatMap(divided, ({ lost, parts }) => lost.length === 0 ? Effect.succeed(parts) : this.lost(lost))
  }

  forgive(claims: ReadonlyArray<Claim>): Effect.Effect<void, StoreUnavailable> {
    return isSome(claims)
      ? this.write(false, (connection, id) => this.operations.forgive(connection, id, claims))
      : Effect.void
  }

  hold(millis: number): Effect.Effect<void, StoreUnavailable> {
    return this.write(true, (connection, id, now) => this.operations.hold(connection, id, millis, now))
  }

  // --- dead letters -------------------------------------------------------------------------------------------------

  deadLetter(
    claims: ReadonlyArray<Claim>,
    options: { readonly reason: string; readonly failure: Failure }
  ): Effect.Effect<void, StoreUnavailable | LeaseLost> {
    const failure = keptFailure(options.failure)
    const reason = kept(options.reason)
    return this.held(
      claims,
      false,
      (operations, connection, id, claims, now) =>
        operations.deadLetter(connection, id, claims, { failure, reason }, now)
    )
  }

  deadLetters(portion: Portion): Effect.Effect<ReadonlyArray<DeadLetter>, StoreUnavailable> {
    const { filter, ...asked } = keptPortion(portion)
    return Effect.suspend(() => {
      const found: Array<DeadLetter> = []
      const filters = inParts(filter)
      let part = 0
      let { after } = asked
      // Slice by slice, so that others get their turn.
      return Effect.as(
        Effect.whileLoop({
          while: () => part < filters.length && found.length < asked.limit,
          body: () => this.listSlice({ filter: filters[part], after, limit: asked.limit - found.length }),
          step: ({ last, letters }) => {
            for (const letter of letters) found.push(letter)
            after = last ?? asked.after
            if (last === undefined) part += 1
          }
        }),
        found
      )
    })
  }

  private listSlice(slice: Portion) {
    return this.pastDamage(
      (damage) =>
        this.read(
          noLetters,
          (connection, id, now) => this.operations.deadLetters(connection, id, slice, now, damage)
        ),
      this.isDeadDamaged
    )
  }

  inspect(
    letter: number
  ): Effect.Effect<Option.Option<DeadLetter & { readonly payload: Uint8Array }>, StoreUnavailable> {
    return this.read(
      Option.none<DeadLetter & { readonly payload: Uint8Array }>(),
      (connection, id) => this.operations.inspect(connection, id, letter)
    )
  }

  redrive(portion: Portion): Effect.Effect<Portioned, StoreUnavailable> {
    return this.changeDead(portion, this.operations.redrive)
  }

  discard(portion: Portion): Effect.Effect<Portioned, StoreUnavailable> {
    return this.changeDead(portion, this.operations.discard)
  }

  countDead(portion: Portion): Effect.Effect<Portioned, StoreUnavailable> {
    const asked = keptPortion(portion)
    return this.pastDamage(
      (damage) =>
        this.read(none, (connection, id, now) => this.operations.countDead(connection, id, asked, now, damage)),
      this.isDeadDamaged
    )
  }

  private changeDead(portion: Portion, change: ChangeDead): Effect.Effect<Portioned, StoreUnavailable> {
    const asked = keptPortion(portion)
    const changed = this.pastDamage(
      (damage) => this.write(false, (connection, id, now) => change(connection, id, asked, now, damage)),
      this.isDeadDamaged
    )
    return this.id !== undefined
      ? changed
      : Effect.flatMap(this.find, (id) => id === undefined ? Effect.succeed(none) : changed)
  }

  private readonly isDeadDamaged = () => this.damage.hasDead

  // --- numbers ------------------------------------------------------------------------------------------------------

  readonly stats: Effect.Effect<Stats, StoreUnavailable> = Effect.suspend(() =>
    Effect.map(
      Effect.catchIf(
        this.read(noStats, (connection, id, now) => this.operations.stats(connection, id, now)),
        ({ reason }) => reason === "corrupt",
        () => this.read(noStats, (connection, id, now) => this.operations.counters(connection, id, now))
      ),
      (stats) => ({ ...stats, heldUntilMillis: this.here(stats.heldUntilMillis) })
    )
  )

  // Asked for each offer that waits until it is stored.
  readonly transaction: QueueStore["transaction"] = withFiber((fiber) => {
    const current = this.transactions.currentIn(contextOf(fiber))
    return current === undefined || current.isOver
      ? outside
      : Effect.succeed(Option.some({
        unsafeOnEnd: (listener) => current.unsafeOnEnd(listener),
        unsafeOnOver: (listener) => current.unsafeOnOver(listener)
      }))
  })
}

const outside = Effect.succeed(Option.none())
