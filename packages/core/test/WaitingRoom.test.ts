import { describe, expect, it } from "vitest"
import { Died, type Ending, type Waiter, WaitingRoom } from "../src/internal/intake/waitingRoom.ts"

/** A room before a queue with so much room; items are written as key and value, such as "a1". */
const make = (options?: { readonly keyed?: boolean }) => {
  const state = { room: 0, queued: [] as Array<string>, coalesced: [] as Array<string>, refused: 0 }
  const room: WaitingRoom<string> = new WaitingRoom<string>((item) => {
    if (item.startsWith("!")) throw new Error(item)
    const place = state.queued.findIndex((queued) => queued[0] === item[0])
    if (options?.keyed === true && place !== -1) {
      state.queued[place] = item
      return "coalesced"
    }
    if (state.room === 0) return "full"
    state.room -= 1
    state.queued.push(item)
    return "accepted"
  }, options?.keyed === true ? (item) => item[0] : undefined)
  room.onRefused = () => {
    state.refused += 1
  }
  return { room, state }
}

const endings = (waiters: ReadonlyArray<Waiter<string>>): ReadonlyArray<Ending | undefined> =>
  waiters.map((waiter) => waiter.ending)

describe("a waiting room", () => {
  it("lets in first come first served, as many as there is room for", () => {
    const { room, state } = make()
    const waiters = ["a", "b", "c"].map((item) => room.enter(item))
    expect(room.size).toBe(3)
    state.room = 2
    room.admit()
    expect(endings(waiters)).toEqual(["accepted", "accepted", undefined])
    expect(state.queued).toEqual(["a", "b"])
    expect(room.size).toBe(1)
  })

  it("holds the room for those who wait", () => {
    const { room } = make()
    expect(room.reserved).toBe(false)
    const waiter = room.enter("a")
    expect(room.reserved).toBe(true)
    room.leave(waiter, "interrupted")
    expect(room.reserved).toBe(false)
  })

  it("decides a wait once: whatever comes later is told that it is too late", () => {
    const { room, state } = make()
    const waiter = room.enter("a")
    expect(room.leave(waiter, "timeout")).toBe(true)
    expect(room.leave(waiter, "interrupted")).toBe(false)
    state.room = 1
    room.admit()
    room.close()
    expect(waiter.ending).toBe("timeout")
    expect(state).toMatchObject({ queued: [], refused: 1 })
    expect(room.size).toBe(0)
  })

  it("lets in those behind one who leaves", () => {
    const { room, state } = make()
    const [first, second] = [room.enter("a"), room.enter("b")]
    state.room = 1
    room.leave(first, "interrupted")
    expect(second.ending).toBe("accepted")
  })

  it("forgets one who leaves from the middle", () => {
    const { room, state } = make()
    const waiters = ["a", "b", "c", "d"].map((item) => room.enter(item))
    room.leave(waiters[1], "interrupted")
    room.leave(waiters[3], "interrupted")
    state.room = 9
    room.admit()
    expect(state.queued).toEqual(["a", "c"])
    room.enter("e")
    room.admit()
    expect(state.queued).toEqual(["a", "c", "e"])
  })

  it("ends every wait when it closes, and every later one at once", () => {
    const { room, state } = make()
    const heard: Array<Ending> = []
    const waiters = ["a", "b"].map((item) => room.enter(item))
    waiters[0].onEnd = (ending) => heard.push(ending)
    room.close()
    room.close()
    expect(endings(waiters)).toEqual(["closed", "closed"])
    expect(heard).toEqual(["closed"])
    expect(room.enter("c").ending).toBe("closed")
    expect(state.refused).toBe(3)
    expect(room.size).toBe(0)
  })

  it("tells of each admission after it, with the offer's origin", () => {
    const { room, state } = make()
    const heard: Array<unknown> = []
    room.onAccepted = (origin) => heard.push([origin, state.queued.length])
    room.enter("a", "from a")
    room.enter("b", "from b")
    state.room = 2
    room.admit()
    expect(heard).toEqual([["from a", 1], ["from b", 2]])
  })

  it("lets in for whoever is told and makes room at once", () => {
    const { room, state } = make()
    room.onAccepted = () => {
      // Somebody takes the item, and says so.
      state.queued.pop()
      state.room += 1
      room.admit()
    }
    // So many that one call inside the other would overflow the stack.
    const waiters = Array.from({ length: 50_000 }, () => room.enter("a"))
    state.room = 1
    room.admit()
    expect(waiters.every(({ ending }) => ending === "accepted")).toBe(true)
  })

  it("holds the room also while it tells of an admission", () => {
    const { room, state } = make()
    const reserved: Array<boolean> = []
    room.onAccepted = () => reserved.push(room.reserved)
    room.enter("a")
    room.enter("b")
    state.room = 2
    room.admit()
    expect(reserved).toEqual([true, false])
  })

  it("ends the wait of an item that cannot be let in because of what the user's code throws", () => {
    const { room, state } = make()
    const waiters = ["!", "b"].map((item) => room.enter(item))
    state.room = 1
    room.admit()
    expect(waiters[0].ending).toEqual(new Died(new Error("!")))
    expect(waiters[1].ending).toBe("accepted")
    expect(state.refused).toBe(1)
    expect(room.reserved).toBe(false)
  })
})

describe("a waiting room with keys", () => {
  it("lets in every item of a key with the first of them, in order", () => {
    const { room, state } = make({ keyed: true })
    const waiters = ["k0", "b0", "k1", "k2"].map((item) => room.enter(item))
    state.room = 1
    room.admit()
    expect(endings(waiters)).toEqual(["accepted", undefined, "coalesced", "coalesced"])
    expect(state.queued).toEqual(["k2"])
    expect(room.size).toBe(1)
  })

  it("tells of what has been let in only when no other of its key waits", () => {
    const { room, state } = make({ keyed: true })
    const heard: Array<number> = []
    room.onAdmitted = () => heard.push(room.size)
    for (const item of ["k0", "k1", "b0"]) room.enter(item)
    state.room = 2
    room.admit()
    expect(heard).toEqual([1, 0])
  })

  it("forgets the keys of those who have left", () => {
    const { room } = make({ keyed: true })
    for (let i = 0; i < 100; i++) room.leave(room.enter(`${i % 10}`), "interrupted")
    const { byKey } = room as unknown as { readonly byKey: ReadonlyMap<unknown, unknown> }
    expect(byKey.size).toBe(0)
  })
})
