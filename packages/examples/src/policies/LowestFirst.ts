/**
 * A binary heap that gives the lowest entry, and among equals the newest. Each entry knows its place in it, so that any
 * of them can be removed in O(log n).
 */

export interface Ranked {
  readonly priority: number
  /** Higher for what came later. */
  readonly sequence: number
  /** Where the heap keeps it. The heap's own. */
  place: number
}

const isBefore = (a: Ranked, b: Ranked): boolean =>
  a.priority < b.priority || (a.priority === b.priority && a.sequence > b.sequence)

export class LowestFirst<E extends Ranked> {
  private readonly entries: Array<E> = []

  get size(): number {
    return this.entries.length
  }

  get first(): E | undefined {
    return this.entries[0]
  }

  add(entry: E): void {
    this.entries.push(entry)
    this.rise(entry, this.entries.length - 1)
  }

  /** The entry must be in the heap. */
  remove(entry: E): void {
    const last = this.entries.pop()!
    if (last === entry) return
    // The last one takes the place. It may be too low for it or too high.
    this.sink(last, entry.place)
    this.rise(last, last.place)
  }

  private put(entry: E, place: number): void {
    this.entries[place] = entry
    entry.place = place
  }

  private rise(entry: E, from: number): void {
    let place = from
    while (place > 0) {
      const parent = this.entries[(place - 1) >> 1]
      if (!isBefore(entry, parent)) break
      this.put(parent, place)
      place = (place - 1) >> 1
    }
    this.put(entry, place)
  }

  private sink(entry: E, from: number): void {
    let place = from
    for (;;) {
      const left = 2 * place + 1
      if (left >= this.entries.length) break
      const right = left + 1
      const child = right < this.entries.length && isBefore(this.entries[right], this.entries[left]) ? right : left
      if (!isBefore(this.entries[child], entry)) break
      this.put(this.entries[child], place)
      place = child
    }
    this.put(entry, place)
  }
}
