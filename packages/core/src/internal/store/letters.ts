/**
 * The dead letters in the memory of the process, and how they are selected.
 */
import type { DeadLetter, DeadLetterFilter } from "../../QueueStore.ts"

/** The ids of dead letters, in order, and of some that are none any more. */
export class Letters {
  private ids: Array<number> = []
  private isSorted = true

  add(id: number): void {
    this.isSorted &&= id > (this.ids.at(-1) ?? 0)
    this.ids.push(id)
  }

  /** Those after an id. Of the others, no more are kept than there are dead letters, `count`. */
  *after(id: number, isAlive: (id: number) => boolean, count: number): Iterable<number> {
    if (!this.isSorted || this.ids.length > 2 * count) {
      // One that was redriven and has died again is here twice.
      this.ids = Array.from(new Set(this.ids)).filter(isAlive).sort((a, b) => a - b)
      this.isSorted = true
    }
    const { ids } = this
    let from = 0
    for (let to = ids.length; from < to;) {
      const middle = (from + to) >>> 1
      if (ids[middle] > id) to = middle
      else from = middle + 1
    }
    for (let at = from; at < ids.length; at++) if (isAlive(ids[at])) yield ids[at]
  }
}

/** Ids behind one of them, in order and once each. */
export const idsAfter = (after: number, ids: ReadonlyArray<number>): ReadonlyArray<number> =>
  Array.from(new Set(ids)).filter((id) => id > after).sort((a, b) => a - b)

export const isMeant = (
  letter: DeadLetter,
  { error, olderThanMillis, reason }: DeadLetterFilter,
  now: number
): boolean =>
  (reason === undefined || letter.reason === reason)
  && (error === undefined || letter.error.includes(error))
  && (olderThanMillis === undefined || letter.diedAtMillis <= now - olderThanMillis)
