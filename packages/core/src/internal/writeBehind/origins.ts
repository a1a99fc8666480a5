/**
 * Where offers came from (their spans, when tracing is on), until their items leave in a batch.
 */
import { Ring } from "../shapes/ring.ts"

/** How many different origins are kept for one batch. */
const limitOfBatch = 128
/** How many are kept in all: beyond it the newest are not kept. */
const limit = 4096

export class Origins {
  private readonly origins = new Ring<{ readonly sequence: number; readonly origin: unknown }>()

  add(sequence: number, origin: unknown): void {
    if (this.origins.length < limit) this.origins.push({ sequence, origin })
  }

  /** Removes the origins of items up to a sequence number, each once. */
  takeUpTo(last: number): ReadonlyArray<unknown> {
    if (this.origins.length === 0) return []
    const taken = new Set<unknown>()
    while (this.origins.length > 0 && this.origins.at(this.origins.head).sequence <= last) {
      const { origin } = this.origins.shift()
      if (taken.size < limitOfBatch) taken.add(origin)
    }
    return Array.from(taken)
  }
}
