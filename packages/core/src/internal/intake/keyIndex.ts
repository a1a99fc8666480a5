/**
 * Finds the waiting item of a key by its absolute position in a ring.
 *
 * The position of an entry shows whether it is still valid: an item before the head has left. So no entry is ever
 * deleted, which is the most expensive operation of a Map. Entries are forgotten many at a time, by generation.
 */

/** A generation is at least so large, so that a queue that is often empty keeps its index warm. */
const generationSize = 1024

export class KeyIndex {
  private young = new Map<unknown, number>()
  private old = new Map<unknown, number>()
  /** Every position in `old` is before this one. */
  private oldEnd = 0

  /** The last known position of the key, or -1. If it is before the head, the item has left. */
  get(key: unknown): number {
    return this.young.get(key) ?? this.old.get(key) ?? -1
  }

  /** Positions must grow from one call to the next. */
  set(key: unknown, position: number, head: number): void {
    if (this.young.size >= generationSize && head >= this.oldEnd) {
      this.old = this.young
      this.young = new Map()
      this.oldEnd = position
    }
    this.young.set(key, position)
  }
}
