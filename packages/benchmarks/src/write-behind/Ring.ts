/**
 * The plain ring: the least that a queue in memory can cost. It grows, and forgets what has left, as the rings in the
 * library do; it has no capacity, no policy, no outcome and no count.
 */
export class Ring<A> {
  private head = 0
  private tail = 0
  private slots: Array<A | undefined> = new Array(16)
  private mask = 15

  push(item: A): void {
    if (this.tail - this.head > this.mask) this.grow()
    this.slots[this.tail & this.mask] = item
    this.tail += 1
  }

  takeUpTo(limit: number): Array<A> {
    const count = Math.min(limit, this.tail - this.head)
    const items = new Array<A>(count)
    for (let i = 0; i < count; i++) {
      const slot = this.head & this.mask
      items[i] = this.slots[slot] as A
      this.slots[slot] = undefined
      this.head += 1
    }
    return items
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
