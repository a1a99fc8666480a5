/**
 * Values on their way to PostgreSQL and back. Integers come back as text, or as whatever the app has its client make of
 * them, so each is converted where it is read.
 */
import type { Claim, Failure, NewBatch } from "@sluice/core/BatchStore"

/** When something is due that never is. Beyond, numbers are no longer exact. */
export const never = Number.MAX_SAFE_INTEGER

/** When something is due: an integer. */
export const due = (millis: number): number => Math.max(-never, Math.min(never, Math.ceil(millis)))

/** A payload as plain bytes. */
export const bytesOf = (payload: Uint8Array): Uint8Array =>
  new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength)

/** A number that may be NULL. */
export const numberOf = (value: unknown): number | undefined =>
  value === null || value === undefined ? undefined : Number(value)

const unknown: ReadonlyArray<unknown> = [null, null, null]

/** What is to be noted of an attempt, if anything. */
export const failureParams = (failure: Failure | undefined): ReadonlyArray<unknown> =>
  failure === undefined ? unknown : [failure.attempts, Math.floor(failure.failedAtMillis), failure.error]

/** No batch has the place that is answered for one that there cannot be. */
export const placeOf = (sequence: number): number => Number.isSafeInteger(sequence) && sequence > 0 ? sequence : -1

/** Claims as two arrays. */
export const claimParams = (claims: ReadonlyArray<Claim>): ReadonlyArray<unknown> => [
  claims.map(({ sequence }) => placeOf(sequence)),
  claims.map(({ token }) => placeOf(token))
]

/**
 * Batches as arrays, with all payloads in one piece: how many items each has, how old it is, where its payload begins,
 * counted from 1, and how long that is. An array of payloads would be sent as text, which is twice as long.
 */
export const batchParams = (batches: ReadonlyArray<NewBatch>): ReadonlyArray<unknown> => {
  const starts: Array<number> = []
  let end = 1
  for (const { payload } of batches) {
    starts.push(end)
    end += payload.byteLength
  }
  return [
    batches.map(({ items }) => items),
    batches.map(({ oldestAtMillis }) => Math.floor(oldestAtMillis)),
    starts,
    batches.map(({ payload }) => payload.byteLength),
    batches.length === 1 ? batches[0].payload : Buffer.concat(batches.map(({ payload }) => payload))
  ]
}

/** How many items there are in all. */
export const itemsOf = (batches: ReadonlyArray<{ readonly items: number }>): number =>
  batches.reduce((sum, { items }) => sum + items, 0)
