/**
 * A list in order of arrival. A member can leave from the middle in constant time.
 */

/** A member of one chain at a time. */
export interface Link<A> {
  previous: A | undefined
  next: A | undefined
}

export class Chain<A extends Link<A>> {
  size = 0
  first: A | undefined = undefined
  private last: A | undefined = undefined

  push(member: A): void {
    member.previous = this.last
    if (this.last === undefined) this.first = member
    else this.last.next = member
    this.last = member
    this.size += 1
  }

  /** The member must be in this chain. */
  remove(member: A): void {
    const { next, previous } = member
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.last = previous
    else next.previous = previous
    member.previous = member.next = undefined
    this.size -= 1
  }
}
