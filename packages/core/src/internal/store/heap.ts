/**
 * A binary heap: its least member is available at once. Pushing the greatest member is O(1).
 */

export class Heap<in out A> {
  private readonly members: Array<A> = []
  private readonly isBefore: (a: A, b: A) => boolean

  constructor(isBefore: (a: A, b: A) => boolean) {
    this.isBefore = isBefore
  }

  get first(): A | undefined {
    return this.members[0]
  }

  push(member: A): void {
    const { members } = this
    let at = members.length
    while (at > 0) {
      const parent = (at - 1) >>> 1
      if (!this.isBefore(member, members[parent])) break
      members[at] = members[parent]
      at = parent
    }
    members[at] = member
  }

  /** Takes the least out. There must be one. */
  pop(): A {
    const { members } = this
    const [first] = members
    const last = members.pop()!
    if (members.length > 0) this.sink(last)
    return first
  }

  /** Puts a member in at the top, and lets it find its place. */
  private sink(member: A): void {
    const { isBefore, members } = this
    const half = members.length >>> 1
    let at = 0
    while (at < half) {
      let child = 2 * at + 1
      if (child + 1 < members.length && isBefore(members[child + 1], members[child])) child += 1
      if (!isBefore(members[child], member)) break
      members[at] = members[child]
      at = child
    }
    members[at] = member
  }
}
