/**
 * The part of a SQL store that belongs to one queue: it decides on which connection an operation runs, and with which
 * time.
 */
import { SafeIntegers } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type {
  Amount,
  Append,
  Appended,
  Claim,
  Claimed,
  ClaimOptions,
  DeadLetter,
  Failure,
  NewBatch,
  QueueStore,
  Stats
} from "@sluice/core/BatchStore"
import { LeaseLost, StoreUnavailable } from "@sluice/core/QueueError"
import type * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Changed, Claims, Operations, Which } from "../BatchStoreDialect.ts"
import { type GroupCommit, toUnavailable } from "./groupCommit.ts"
import { isStorable, kept } from "./storableText.ts"
import type { Transactions } from "./transactions.ts"

/** How many dead letters one transaction puts back or deletes, where it is all of them. */
const atOnce = 1000

type Step<A> = (connection: Connection, id: number, now: number) => Effect.Effect<A, SqlError>

type HeldStep = (connection: Connection, id: number, now: number, claims: Claims) => Effect.Effect<
  ReadonlyArray<Claim>,
  SqlError
>

const noClaims: ReadonlyArray<Claim> = []

const isSome = (claims: ReadonlyArray<Claim>): claims is Claims => claims.length > 0

const keptFailure = (failure: Failure): Failure => ({ ...failure, error: kept(failure.error) })

/** @internal */
export class SqlQueue implements QueueStore {
  private readonly name: string
  private readonly transactions: Transactions
  private readonly group: GroupCommit
  private readonly operations: Operations
  /** Known once its row is committed: a transaction that is rolled back takes the row with it. */
  private id: number | undefined

  constructor(name: string, transactions: Transactions, group: GroupCommit, operations: Operations) {
    this.name = name
    this.transactions = transactions
    this.group = group
    this.operations = operations
  }

  // --- where an operation runs --------------------------------------------------------------------------------------

  /** Answers the key of the queue, which is made where there is none. */
  readonly open: Effect.Effect<number, StoreUnavailable> = Effect.withFiberRuntime((fiber) => {
    if (!isStorable(this.name)) return Effect.fail(this.unstorable("the name of a queue"))
    const run = (connection: Connection) => this.operations.queueId(connection, this.name)
    const current = this.transactions.currentIn(fiber.currentContext)
    if (current !== undefined) return this.group.join(current, { single: false, run })
    return Effect.map(this.group.submit({ single: false, run }), (id) => this.id = id)
  })

  private write<A>(single: boolean, step: Step<A>, first = false): Effect.Effect<A, StoreUnavailable> {
    return this.id === undefined
      ? Effect.flatMap(this.open, (id) => this.writeAs(id, single, step, first))
      : this.writeAs(this.id, single, step, first)
  }

  private writeAs<A>(id: number, single: boolean, step: Step<A>, first: boolean): Effect.Effect<A, StoreUnavailable> {
    return Effect.withFiberRuntime((fiber) => {
      // The time is that of the moment when it is done, which may be long after the call.
      const clock = Context.get(fiber.currentDefaultServices, Clock.Clock)
      const run = (connection: Connection) => step(connection, id, Math.floor(clock.unsafeCurrentTimeMillis()))
      const current = this.transactions.currentIn(fiber.currentContext)
      if (current !== undefined) return this.group.join(current, { single, run })
      return first ? this.group.submitFirst({ single, run }) : this.group.submit({ single, run })
    })
  }

  /** Reads what is committed, past the writers, and in a transaction what that has written. */
  private read<A>(step: Step<A>): Effect.Effect<A, StoreUnavailable> {
    const { database } = this.transactions
    return Effect.flatMap(
      this.id === undefined ? this.open : Effect.succeed(this.id),
      (id) =>
        Effect.withFiberRuntime((fiber) => {
          const clock = Context.get(fiber.currentDefaultServices, Clock.Clock)
          const run = (connection: Connection) => step(connection, id, Math.floor(clock.unsafeCurrentTimeMillis()))
          const current = this.transactions.currentIn(fiber.currentContext)
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
    )
  }

  private held(
    claims: ReadonlyArray<Claim>,
    single: boolean,
    step: HeldStep,
    first = false
  ): Effect.Effect<void, StoreUnavailable | LeaseLost> {
    if (!isSome(claims)) return Effect.void
    const lost = this.write(single, (connection, id, now) => step(connection, id, now, claims), first)
    // Only now: the others are committed.
    return Effect.flatMap(lost, (lost) =>
      lost.length === 0
        ? Effect.void
        : Effect.fail(new LeaseLost({ queue: this.name, sequences: lost.map(({ sequence }) => sequence) })))
  }

  private unstorable(what: string): StoreUnavailable {
    const cause = new Error(`${what} must be well-formed text without NUL`)
    return new StoreUnavailable({ store: this.transactions.database.store, reason: "failed", cause })
  }

  // --- in and out ---------------------------------------------------------------------------------------------------

  append(append: Append): Effect.Effect<Appended, StoreUnavailable> {
    if (append.batches.some(({ ids }) => ids !== undefined && !ids.every(isStorable))) {
      return Effect.fail(this.unstorable("an id"))
    }
    return this.write(
      this.operations.isSingle(append),
      (connection, id, now) => this.operations.append(connection, id, append, now)
    )
  }

  claim({ leaseMillis, limit, settle = noClaims }: ClaimOptions): Effect.Effect<Claimed, StoreUnavailable> {
    const { operations } = this
    const claim = (connection: Connection, id: number, now: number, lost: ReadonlyArray<Claim>) =>
      Effect.map(
        operations.claim(connection, id, { limit, leaseUntil: now + leaseMillis }, now),
        ({ batches, nextAtMillis }): Claimed => ({ batches, lost, nextAtMillis })
      )
    return isSome(settle)
      ? this.write(false, (connection, id, now) =>
        Effect.flatMap(
          operations.settle(connection, id, settle),
          (lost) => claim(connection, id, now, lost)
        ))
      : this.write(true, (connection, id, now) => claim(connection, id, now, noClaims))
  }

  settle(claims: ReadonlyArray<Claim>): Effect.Effect<void, StoreUnavailable | LeaseLost> {
    return this.held(claims, true, (connection, id, _, claims) => this.operations.settle(connection, id, claims))
  }

  extend(
    claims: ReadonlyArray<Claim>,
    options: { readonly leaseMillis: number; readonly failure?: Failure | undefined }
  ): Effect.Effect<void, StoreUnavailable | LeaseLost> {
    const failure = options.failure && keptFailure(options.failure)
    return this.held(
      claims,
      true,
      (connection, id, now, claims) =>
        this.operations.extend(connection, id, claims, { leaseUntil: now + options.leaseMillis, failure }),
      // Or a claim that waits longer would take what is held here.
      true
    )
  }

  release(
    claims: ReadonlyArray<Claim>,
    options: {
      readonly readyAtMillis?: number | undefined
      readonly failure?: Failure | undefined
      readonly giveBack?: boolean | undefined
    }
  ): Effect.Effect<void, StoreUnavailable | LeaseLost> {
    const { giveBack = false, readyAtMillis } = options
    const failure = options.failure && keptFailure(options.failure)
    return this.held(claims, true, (connection, id, now, claims) => {
      const readyAt = readyAtMillis === undefined || readyAtMillis <= now ? undefined : readyAtMillis
      return this.operations.release(connection, id, claims, { readyAt, failure, giveBack })
    })
  }

  replace(
    claims: Arr.NonEmptyReadonlyArray<Claim>,
    remainder: NewBatch
  ): Effect.Effect<Claim, StoreUnavailable | LeaseLost> {
    const { sequence, token } = claims.reduce((one, other) => other.sequence < one.sequence ? other : one)
    return Effect.as(
      this.held(
        claims,
        false,
        (connection, id, _, claims) => this.operations.replace(connection, id, claims, remainder)
      ),
      { sequence, token }
    )
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
      true,
      (connection, id, now, claims) =>
        this.operations.deadLetter(connection, id, claims, { failure, reason, diedAt: now })
    )
  }

  deadLetters(
    { after = 0, limit }: { readonly limit: number; readonly after?: number | undefined }
  ): Effect.Effect<ReadonlyArray<DeadLetter>, StoreUnavailable> {
    const from = Math.max(0, after)
    return this.read((connection, id) => this.operations.deadLetters(connection, id, { after: from, limit }))
  }

  inspect(
    letter: number
  ): Effect.Effect<Option.Option<DeadLetter & { readonly payload: Uint8Array }>, StoreUnavailable> {
    return this.read((connection, id) => this.operations.inspect(connection, id, letter))
  }

  redrive(ids: ReadonlyArray<number> | "all"): Effect.Effect<Amount, StoreUnavailable> {
    return this.change(ids, (connection, id, which) => this.operations.redrive(connection, id, which))
  }

  discard(ids: ReadonlyArray<number> | "all"): Effect.Effect<Amount, StoreUnavailable> {
    return this.change(ids, (connection, id, which) => this.operations.discard(connection, id, which))
  }

  private change(
    ids: ReadonlyArray<number> | "all",
    step: (connection: Connection, id: number, which: Which) => Effect.Effect<Changed, SqlError>
  ): Effect.Effect<Amount, StoreUnavailable> {
    const change = (which: Which) => this.write(true, (connection, id) => step(connection, id, which))
    if (ids !== "all") return Effect.map(change(ids), ({ batches, items }) => ({ batches, items }))
    // In portions, so that others get their turn. Upwards, or what dies again meanwhile would be put back without end.
    const loop = (amount: Amount, after: number): Effect.Effect<Amount, StoreUnavailable> =>
      Effect.flatMap(change({ after, limit: atOnce }), ({ batches, items, last }) => {
        const sum = { batches: amount.batches + batches, items: amount.items + items }
        return batches < atOnce ? Effect.succeed(sum) : loop(sum, last)
      })
    return loop({ batches: 0, items: 0 }, 0)
  }

  // --- numbers ------------------------------------------------------------------------------------------------------

  readonly stats: Effect.Effect<Stats, StoreUnavailable> = Effect.suspend(() =>
    this.read((connection, id, now) => this.operations.stats(connection, id, now))
  )

  // Asked for each offer that waits until it is stored.
  readonly transaction: QueueStore["transaction"] = Effect.withFiberRuntime((fiber) => {
    const current = this.transactions.currentIn(fiber.currentContext)
    return current === undefined || current.isOver
      ? outside
      : Effect.succeed(Option.some({
        unsafeOnEnd: (listener) => current.unsafeOnEnd(listener),
        unsafeOnOver: (listener) => current.unsafeOnOver(listener)
      }))
  })
}

const outside = Effect.succeed(Option.none())
