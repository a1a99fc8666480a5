/**
 * A growable ring buffer whose items have absolute positions: an item keeps its position from `push` to `shift`,
 * however many items leave before it. An index of positions therefore never goes stale when the head moves.
 */

const initialSlots = 16

export class Ring<A> {
  /** Position of the oldest item. */
  head = 0
  /** Position that the next item will get. */
  tail = 0
  private slots: Array<A | undefined> = new Array(initialSlots)
  private mask = initialSlots - 1

  get length(): number {
    return this.tail - this.head
  }

  /** Appends an item and returns its position. */
  push(item: A): number {
    if (this.tail - this.head > this.mask) this.grow()
    const position = this.tail
    this.slots[position & this.mask] = item
    this.tail = position + 1
    return position
  }

  /** Removes the oldest item. The ring must not be empty. */
  shift(): A {
    const slot = this.head & this.mask
    const item = this.slots[slot] as A
    // The slot must not keep the item alive once it has left.
    this.slots[slot] = undefined
    this.head += 1
    return item
  }

  /** Removes up to `limit` of the oldest items, in order. */
  shiftUpTo(limit: number): Array<A> {
    const count = Math.min(limit, this.length)
    const items = new Array<A>(count)
    for (let i = 0; i < count; i++) items[i] = this.shift()
    return items
  }

  /** The item at a position in `[head, tail)`. */
  at(position: number): A {
    return this.slots[position & this.mask] as A
  }

  /** Replaces the item at a position in `[head, tail)`. */
  set(position: number, item: A): void {
    this.slots[position & this.mask] = item
  }

  private grow(): void {
    const mask = this.mask * 2 + 1
    const slots = new Array<A | undefined>(mask + 1)
    for (let position = this.head; position < this.tail; position++) {
      slots[position & mask] = this.slots[position & this.mask]
    }
    this.slots = slots
    this.mask = mask
  }
}
