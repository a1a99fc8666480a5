/**
 * What a worker has in hand: claimed batches, and what the handler is given of them.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import type { Batch } from "../Batch.ts"
import type { Buffer } from "../Buffer.ts"
import type { DecodedBatch } from "../Codec.ts"
import type { Claim, ClaimedBatch } from "../QueueStore.ts"

/**
 * One claimed batch, without its bytes.
 * @internal
 */
export interface InHand extends Claim {
  readonly items: number
  readonly deliveries: number
}

/** @internal */
export interface Group<out A> {
  readonly claims: Arr.NonEmptyReadonlyArray<InHand>
  readonly batch: Batch<A>
  /** How many items are stored, before they were merged. */
  readonly stored: number
  readonly failedAtMillis: number
  /** How far the retry schedule is, once it has been asked. */
  readonly scheduleState: unknown
  /** What the user's buffer threw. */
  readonly defect: Cause.Cause<never> | undefined
}

/**
 * A claimed batch that could be read.
 * @internal
 */
export interface Readable<out A> extends DecodedBatch<A> {
  readonly claimed: ClaimedBatch
}

/**
 * Makes one batch of several. Its attempt is that of the batch that has been tried most often.
 * @internal
 */
export const groupOf = <A>(
  readable: Arr.NonEmptyReadonlyArray<Readable<A>>,
  buffer: Buffer<A, any> | undefined
): Group<A> => {
  const items = readable.length === 1 ? readable[0].items : readable.flatMap((each) => each.items)
  const { defect, merged } = merge(items, buffer)
  const claimed = readable.map((each) => each.claimed)
  return {
    claims: Arr.map(readable, ({ claimed: { deliveries, items, sequence, token } }) => ({
      sequence,
      token,
      items,
      deliveries
    })),
    batch: {
      // Where the buffer has made nothing of them, the worker hands nothing over.
      items: merged as Arr.NonEmptyReadonlyArray<A>,
      trigger: readable[0].trigger,
      attempt: Math.max(...claimed.map(({ attempts }) => attempts)) + 1,
      openedAt: Math.min(...readable.map(({ openedAtMillis }) => openedAtMillis)),
      oldestAt: Math.min(...claimed.map(({ oldestAtMillis }) => oldestAtMillis))
    },
    stored: items.length,
    failedAtMillis: Math.min(...claimed.map(({ failedAtMillis }) => failedAtMillis || Infinity)),
    scheduleState: undefined,
    defect
  }
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
