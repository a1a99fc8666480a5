/**
 * A batch in the memory of the process: its place, when it is due, and what callers see of it.
 */
import type { ClaimedBatch, DeadLetter, Failure, NewBatch } from "../../QueueStore.ts"
import { Heap } from "./heap.ts"

/**
 * A time that something ends at, and how long before that it was given: a clock that is set back must not make it
 * later.
 */
export interface Until {
  readonly untilMillis: number
  readonly spanMillis: number
}

/** Where a batch stands. */
export type State =
  /** It was never claimed, or it was put back unchanged. */
  | { readonly _tag: "Fresh" }
  | { readonly _tag: "Leased" } & Until
  /** It comes back, from that time on, for those who can read its version. */
  | { readonly _tag: "Returned"; readonly version: number | undefined } & Until
  | { readonly _tag: "Dead"; readonly reason: string; readonly atMillis: number }
  /** It has been settled, replaced or discarded. */
  | { readonly _tag: "Gone" }

export const fresh: State = { _tag: "Fresh" }
export const gone: State = { _tag: "Gone" }

export interface Stored {
  readonly sequence: number
  batch: NewBatch
  state: State
  token: number
  deliveries: number
  failure: Failure
}

/** When a batch comes back, if it is still in the state that it was in when this was noted. */
interface Return {
  readonly atMillis: number
  readonly stored: Stored
  readonly state: State
}

export const noFailure: Failure = { attempts: 0, failedAtMillis: 0, error: "" }

export const until = (now: number, spanMillis: number): Until => ({ untilMillis: now + spanMillis, spanMillis })

/** The version of what everybody can read. */
export const forEverybody = -Infinity

/** What has been due for longer comes first, then what has the older place. */
const isBefore = (a: Return, b: Return): boolean =>
  a.atMillis < b.atMillis || a.atMillis === b.atMillis && a.stored.sequence < b.stored.sequence

/** Those that come back at some time, and some that no longer will, by the version that one must be able to read. */
export class Returns {
  private readonly byVersion = new Map<number, Heap<Return>>()

  add(version: number, entry: Return): void {
    let heap = this.byVersion.get(version)
    if (heap === undefined) this.byVersion.set(version, heap = new Heap(isBefore))
    heap.push(entry)
  }

  /** What has been due for longest, of what can be read. */
  next(version: number): Return | undefined {
    let next: Return | undefined
    for (const [ofVersion, heap] of this.byVersion) {
      const first = ofVersion > version ? undefined : firstOf(heap)
      if (first !== undefined && (next === undefined || isBefore(first, next))) next = first
    }
    return next
  }

  clear(): void {
    this.byVersion.clear()
  }
}

const firstOf = (heap: Heap<Return>): Return | undefined => {
  for (let first = heap.first; first !== undefined; first = heap.first) {
    if (first.stored.state === first.state) return first
    heap.pop()
  }
  return undefined
}

export const claimedOf = ({ batch, deliveries, failure, sequence, token }: Stored): ClaimedBatch => ({
  sequence,
  token,
  payload: batch.payload,
  items: batch.items,
  oldestAtMillis: batch.oldestAtMillis,
  deliveries,
  ...failure
})

export const deadLetterOf = ({ batch, deliveries, failure, sequence, state }: Stored): DeadLetter => ({
  id: sequence,
  items: batch.items,
  reason: state._tag === "Dead" ? state.reason : "",
  error: failure.error,
  deliveries,
  attempts: failure.attempts,
  oldestAtMillis: batch.oldestAtMillis,
  diedAtMillis: state._tag === "Dead" ? state.atMillis : 0
})
