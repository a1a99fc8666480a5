/**
 * The offers to a durable queue that wait until items are stored, or store them in the caller's transaction.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Codec from "../../Codec.ts"
import {
  type BatchOfferError,
  ItemDropped,
  type QueueClosed,
  type QueueFull,
  type StoreUnavailable
} from "../../QueueError.ts"
import { queueClosed, tooManyItems } from "../intake/refusals.ts"
import * as Result from "../../Result.ts"
import { isText } from "./options.ts"
import { type Ending, Entry } from "./entry.ts"
import type { BatchAllOrNoneError, Entering, Options } from "./entering.ts"
import { withFiber } from "../fibers/fiber.ts"
import { park } from "../fibers/parking.ts"

const malformedId: Codec.Fault = {
  reason: "text",
  path: "",
  detail: "its id must be well-formed text of 1 to 512 bytes, without NUL"
}

/**
 * What became of items that were to be stored.
 *
 * @since 0.1.0
 * @category models
 */
export interface Storing {
  readonly stored: number
  /** Those whose id was remembered: they had been stored before. */
  readonly duplicates: number
  readonly dropped: number
  readonly droppedByReason: Readonly<Record<string, number>>
}

const stored = Effect.succeed("stored" as const)
const duplicate = Effect.succeed("duplicate" as const)

export class StoredOffers<in out A> {
  private readonly entering: Entering<A>
  private readonly options: Options<A>

  constructor(entering: Entering<A>) {
    this.entering = entering
    this.options = entering.options
  }

  readonly offerStoredAllOrNone = (
    items: ReadonlyArray<A>,
    options?: { readonly ids?: ReadonlyArray<string> | undefined }
  ): Effect.Effect<Storing, BatchAllOrNoneError<A> | StoreUnavailable> =>
    withFiber((fiber) =>
      Effect.flatMap(this.options.store.transaction, (transaction): ReturnType<typeof this.offerStoredAllOrNone> => {
        const ids = options?.ids
        // The fiber that stores would wait for the end of that transaction.
        if (Option.isSome(transaction)) {
          return this.offerEachStoredWithin(
            items,
            ids,
            transaction.value.unsafeOnEnd,
            this.entering.isBoundedWithin(fiber)
          )
        }
        return Effect.flatMap(
          this.entering.entriesOf(items, (item, index) => this.entryWithId(item, ids, index)),
          (entries) => {
            const put = this.entering.putAllOrNone(items, entries, this.entering.mustNotWaitForStore(fiber))
            return Result.isFailure(put) ? Effect.fail(put.failure) : this.allEnded(put.success.entries)
          }
        )
      })
    )

  private entryWithId(
    item: A,
    ids: ReadonlyArray<string> | undefined,
    index: number
  ): Entry<A> | Codec.Fault {
    if (ids === undefined) return this.entering.entryOf(item, {})
    return isText(ids[index]) ? this.entering.entryOf(item, { id: ids[index] }) : malformedId
  }

  /** Stores items as a part of the transaction that the caller is in; where it fails, that is to be rolled back. */
  private offerEachStoredWithin(
    items: ReadonlyArray<A>,
    ids: ReadonlyArray<string> | undefined,
    unsafeOnEnd: (listener: (committed: boolean) => void) => void,
    isBounded: boolean
  ): Effect.Effect<Storing, BatchAllOrNoneError<A> | StoreUnavailable> {
    const { maxPending, name, tally } = this.options
    const at = (taken: number) => ({ queue: name, item: items[taken], taken, notTaken: items.slice(taken) })
    const refuse = (error: BatchAllOrNoneError<A>) => {
      tally.refusedAside(items.length)
      return Effect.fail(error)
    }
    const none: Storing = { stored: 0, duplicates: 0, dropped: 0, droppedByReason: {} }
    const storeAll = (entries: ReadonlyArray<Entry<A>>) =>
      Effect.reduce(
        entries,
        none,
        (sum, entry, index) =>
          Effect.matchEffect(Effect.uninterruptible(this.offerWithin(entry, unsafeOnEnd, isBounded)), {
            onFailure: (error): Effect.Effect<Storing, BatchAllOrNoneError<A> | StoreUnavailable> => {
              // This one is counted; those after it are not taken either.
              if (error._tag !== "ItemDropped") tally.refusedAside(items.length - index - 1)
              if (error._tag === "QueueFull") return Effect.fail(this.entering.backlogFull(at(index)))
              if (error._tag === "QueueClosed") return Effect.fail(queueClosed<A>(name, index, items.slice(index)))
              if (error._tag !== "ItemDropped") return Effect.fail(error)
              const { [error.reason]: before = 0 } = sum.droppedByReason
              const droppedByReason = { ...sum.droppedByReason, [error.reason]: before + 1 }
              return Effect.succeed({ ...sum, dropped: sum.dropped + 1, droppedByReason })
            },
            onSuccess: (ending) =>
              Effect.succeed(
                ending === "stored" ? { ...sum, stored: sum.stored + 1 } : { ...sum, duplicates: sum.duplicates + 1 }
              )
          })
      )
    return Effect.flatMap(
      this.entering.entriesOf(items, (item, index) => this.entryWithId(item, ids, index)),
      (entries) => this.entering.areTooMany(items) ? refuse(tooManyItems(at(0), maxPending!.items)) : storeAll(entries)
    )
  }

  /** Waits until each of several entries is stored, or will not be. Nothing is to be cleaned up. */
  private allEnded(entries: ReadonlyArray<Entry<A>>): Effect.Effect<Storing> {
    return park((resume) => {
      const counts = { stored: 0, duplicates: 0, dropped: 0 }
      const droppedByReason: Record<string, number> = Object.create(null)
      let missing = entries.length
      const onEnd = (ending: Ending) => {
        if (ending._tag === "Stored") counts.stored += 1
        else if (ending._tag === "Duplicate") counts.duplicates += 1
        else {
          counts.dropped += 1
          droppedByReason[ending.reason] = (droppedByReason[ending.reason] ?? 0) + 1
        }
        missing -= 1
        if (missing === 0) resume(Effect.succeed({ ...counts, droppedByReason: { ...droppedByReason } }))
      }
      if (missing === 0) return resume(Effect.succeed({ ...counts, droppedByReason: {} }))
      for (const entry of entries) {
        if (entry.ending === undefined) entry.onEnd = onEnd
        else onEnd(entry.ending)
      }
    })
  }

  readonly offerStored = (
    item: A,
    options?: { readonly id?: string | undefined }
  ): Effect.Effect<"stored" | "duplicate", BatchOfferError<A> | ItemDropped<A> | StoreUnavailable> =>
    withFiber((fiber) =>
      Effect.flatMap(this.options.store.transaction, (transaction): ReturnType<typeof this.offerStored> => {
        const id = options?.id
        if (id !== undefined && !isText(id)) {
          this.options.tally.refusedAside()
          return this.entering.malformed(item, malformedId)
        }
        const entry = this.entering.entryOf(item, id === undefined ? {} : { id })
        if (Option.isSome(transaction) && entry instanceof Entry) {
          const { unsafeOnEnd } = transaction.value
          return Effect.uninterruptible(this.offerWithin(entry, unsafeOnEnd, this.entering.isBoundedWithin(fiber)))
        }
        if (entry instanceof Entry && this.entering.mustNotWaitForStore(fiber) && !this.entering.isBacklogFull()) {
          return Effect.zipRight(this.entering.putPast(entry), this.ended(entry))
        }
        const offered = this.entering.offerEntry(entry, item)
        // Once it is in, an interruption ends only the waiting: there is nothing to be cleaned up.
        const ended = this.ended(entry as Entry<A>)
        return typeof offered === "string" ? ended : Effect.zipRight(offered, ended)
      })
    )

  /** Waits until an entry is stored. */
  private ended(entry: Entry<A>): Effect.Effect<"stored" | "duplicate", ItemDropped<A>> {
    const exit = (ending: Ending) =>
      ending._tag === "Dropped"
        ? Effect.fail(new ItemDropped<A>({ queue: this.options.name, item: entry.offered, reason: ending.reason }))
        : ending._tag === "Stored"
        ? stored
        : duplicate
    return park((resume) => {
      if (entry.ending !== undefined) return resume(exit(entry.ending))
      entry.onEnd = (ending) => resume(exit(ending))
    })
  }

  /** Stores an item as a part of the transaction that the caller is in. */
  private offerWithin(
    { encoded, id, item, offered, offeredAt }: Entry<A>,
    unsafeOnEnd: (listener: (committed: boolean) => void) => void,
    isBounded: boolean
  ): Effect.Effect<"stored" | "duplicate", QueueClosed<A> | QueueFull<A> | ItemDropped<A> | StoreUnavailable> {
    return Effect.suspend((): ReturnType<typeof this.offerWithin> => {
      const { backlog, codec, idWindowMillis, maxPending, store, tally } = this.options
      if (!this.entering.isOpen) {
        tally.refusedAside()
        return Effect.fail(queueClosed(this.options.name, 0, [offered]))
      }
      let payload: Uint8Array
      try {
        // Opened by its one item, in the moment of its offer.
        payload = codec.encodeBatch([encoded!.value], { trigger: "manual", openedAtMillis: offeredAt })
      } catch (error) {
        // The user's format. Outside of a transaction the fiber that stores drops what it throws at.
        tally.offeredAside()
        tally.dropped(item, "malformed", Cause.die(error))
        return Effect.fail(new ItemDropped<A>({ queue: this.options.name, item: offered, reason: "malformed" }))
      }
      const ids = id === undefined ? undefined : [id]
      const appended = store.append({
        batches: [{ payload, items: 1, oldestAtMillis: offeredAt, ids }],
        maxPendingItems: isBounded ? maxPending?.items : undefined,
        idWindowMillis
      })
      return Effect.flatMap(
        Effect.tapErrorCause(appended, () => Effect.sync(() => tally.refusedAside())),
        ({ appended, duplicates }) => {
          if (duplicates.length > 0) {
            tally.offeredAside()
            tally.duplicate()
            return Effect.succeed("duplicate" as const)
          }
          if (appended === 0) {
            tally.refusedAside()
            return Effect.fail(
              this.entering.backlogFull({ queue: this.options.name, item: offered, taken: 0, notTaken: [offered] })
            )
          }
          tally.offeredAside()
          unsafeOnEnd((committed) => {
            if (!committed) return tally.tookBack()
            backlog.stored(1)
            tally.stored(1, "manual")
            backlog.claimable(1)
          })
          return Effect.succeed("stored" as const)
        }
      )
    })
  }

  readonly flush: Effect.Effect<void, QueueClosed | StoreUnavailable> = withFiber((fiber) => {
    const { appender, store } = this.options
    return Effect.flatMap(store.transaction, (transaction): Effect.Effect<void, QueueClosed | StoreUnavailable> => {
      if (!this.entering.isOpen) return this.entering.whenNotOpen
      if (Option.isSome(transaction)) return appender.flushWithin(transaction.value.unsafeOnEnd)
      const stored = Effect.unsafeMakeLatch()
      const forget = appender.unsafeFlush(() => stored.unsafeOpen(), this.entering.mustNotWaitForStore(fiber))
      return Effect.onInterrupt(
        Effect.zipRight(
          stored.await,
          Effect.suspend(() => this.entering.isOver ? this.entering.whenNotOpen : Effect.void)
        ),
        () => Effect.sync(forget)
      )
    })
  })
}
