/**
 * The batches that a worker has claimed, and the batch that its handler gets.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import type { Batch } from "../../Batch.ts"
import type { Buffer } from "../../Buffer.ts"
import type { Codec, DecodedBatch } from "../../Codec.ts"
import type { ClaimedBatch } from "../../QueueStore.ts"
import * as Result from "../../Result.ts"

/** A claimed batch that could be read. */
export interface Readable<out A> extends DecodedBatch<A> {
  readonly claimed: ClaimedBatch
}

/** Batches that one call of the handler is for. */
export interface Group<out A> {
  readonly claims: Arr.NonEmptyReadonlyArray<ClaimedBatch>
  readonly readable: Arr.NonEmptyReadonlyArray<Readable<A>>
  readonly batch: Batch<A>
  /** When each item of the batch was offered. */
  readonly offeredAtMillis: ReadonlyArray<number>
  /** How many items are stored, before they were merged. */
  readonly stored: number
  /** Whether items of several batches may have become one. */
  readonly isMerged: boolean
  readonly failedAtMillis: number
  /** How far the retry schedule is, once it has been asked. */
  readonly scheduleState: unknown
  /** What the user's buffer threw. */
  readonly defect: Cause.Cause<never> | undefined
}

/** Makes one batch of several. Its attempt is that of the batch that has been tried most often. */
export const groupOf = <A>(
  readable: Arr.NonEmptyReadonlyArray<Readable<A>>,
  buffer: Buffer<A, any> | undefined
): Group<A> => {
  const isOne = readable.length === 1
  const items = isOne ? readable[0].items : readable.flatMap((each) => each.items)
  const { defect, merged } = merge(items, buffer)
  const claims = Arr.map(readable, ({ claimed }) => claimed)
  const oldestAt = isOne ? claims[0].oldestAtMillis : Math.min(...claims.map(({ oldestAtMillis }) => oldestAtMillis))
  const offered = isOne ? readable[0].offeredAtMillis : readable.flatMap((each) => each.offeredAtMillis)
  return {
    claims,
    readable,
    batch: {
      // Where the buffer has made nothing of them, the worker hands nothing over.
      items: merged as Arr.NonEmptyReadonlyArray<A>,
      trigger: readable[0].trigger,
      attempt: Math.max(...claims.map(({ attempts }) => attempts)) + 1,
      openedAt: Math.min(...readable.map(({ openedAtMillis }) => openedAtMillis)),
      oldestAt
    },
    // It is unknown which items a merged one was made from.
    offeredAtMillis: buffer === undefined ? offered : merged.map(() => oldestAt),
    stored: items.length,
    isMerged: buffer !== undefined && !isOne,
    failedAtMillis: Math.min(...claims.map(({ failedAtMillis }) => failedAtMillis || Infinity)),
    scheduleState: undefined,
    defect
  }
}

/**
 * The items of a group at some indexes, as the store keeps them: as they were stored, even if the handler has changed
 * those that it was given. Undefined where that cannot be told, because the user's buffer or schema answers otherwise
 * than before.
 */
export const encodedOf = <A>(
  group: Group<A>,
  indexes: ReadonlyArray<number>,
  codec: Codec<A>,
  buffer: Buffer<A, any> | undefined
): ReadonlyArray<unknown> | undefined => {
  const values = buffer === undefined ? storedValues(group, codec) : mergedValues(group, codec, buffer)
  return values?.length === group.batch.items.length ? indexes.map((index) => values[index]) : undefined
}

const storedValues = <A>({ claims }: Group<A>, codec: Codec<A>): ReadonlyArray<unknown> | undefined => {
  const read = Result.all(claims.map(({ payload }) => codec.readBatch(payload)))
  return Result.isSuccess(read) ? read.success.flatMap(({ values }) => values) : undefined
}

const mergedValues = <A>(
  { claims }: Group<A>,
  codec: Codec<A>,
  buffer: Buffer<A, any>
): ReadonlyArray<unknown> | undefined => {
  const read = Result.all(claims.map(({ payload }) => codec.decodeBatch(payload)))
  if (Result.isFailure(read)) return undefined
  const { defect, merged } = merge(read.success.flatMap(({ items }) => items), buffer)
  if (defect !== undefined) return undefined
  const encoded = Result.all(merged.map((item) => codec.encodeItem(item)))
  return Result.isSuccess(encoded) ? encoded.success.map(({ value }) => value) : undefined
}

/** Puts items through the user's buffer, so that it merges across batches. */
const merge = <A>(
  items: ReadonlyArray<A>,
  buffer: Buffer<A, any> | undefined
): { readonly merged: ReadonlyArray<A>; readonly defect: Cause.Cause<never> | undefined } => {
  if (buffer === undefined) return { merged: items, defect: undefined }
  try {
    let state = buffer.empty()
    for (const item of items) state = buffer.push(state, item)
    return { merged: buffer.items(state), defect: undefined }
  } catch (error) {
    // An attempt that has failed, so that it is retried and bounded like any other.
    return { merged: items, defect: Cause.die(error) }
  }
}
