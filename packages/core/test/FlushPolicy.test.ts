import { type Batch, FlushPolicy } from "@sluice/core"
import * as Duration from "effect/Duration"
import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"

type Limits = Parameters<typeof FlushPolicy.make>[0]

const opened: FlushPolicy.State = { size: 3, pushes: 5, bytes: 70, openedAt: 1000 }
const due = (trigger: Batch.Trigger): FlushPolicy.Decision => ({ _tag: "Due", trigger })
const wait = (until: number): FlushPolicy.Decision => ({ _tag: "Wait", until })

describe("an open batch of 3 items, 5 pushes and 70 bytes, opened at 1000", () => {
  it.each<readonly [name: string, Limits, now: number, FlushPolicy.Decision]>([
    ["no limit at all", {}, 1e9, wait(Infinity)],
    ["size below", { size: 4 }, 1e9, wait(Infinity)],
    ["size reached", { size: 3 }, 1000, due("size")],
    ["size exceeded", { size: 2 }, 1000, due("size")],
    ["size 0, which is no limit", { size: 0 }, 1e9, wait(Infinity)],
    ["pushes below", { pushes: 6 }, 1e9, wait(Infinity)],
    ["pushes reached", { pushes: 5 }, 1000, due("pushes")],
    ["pushes 0, which is no limit", { pushes: 0 }, 1e9, wait(Infinity)],
    ["bytes below", { bytes: 71 }, 1e9, wait(Infinity)],
    ["bytes reached", { bytes: 70 }, 1000, due("bytes")],
    ["bytes 0, which is no limit", { bytes: 0 }, 1e9, wait(Infinity)],
    ["linger not over", { linger: 500 }, 1499, wait(1500)],
    ["linger over at this very moment", { linger: 500 }, 1500, due("linger")],
    ["linger long over", { linger: 500 }, 9999, due("linger")],
    ["linger when the clock went back", { linger: 500 }, 0, wait(1500)],
    ["linger 0, which is no limit", { linger: 0 }, 1e9, wait(Infinity)],
    ["infinite linger", { linger: Duration.infinity }, 1e9, wait(Infinity)],
    ["linger as text", { linger: "2 seconds" }, 1000, wait(3000)],
    ["everything reached at once: size comes first", { size: 3, pushes: 5, bytes: 70, linger: 1 }, 2000, due("size")],
    ["pushes before bytes", { pushes: 5, bytes: 70, linger: 1 }, 2000, due("pushes")],
    ["bytes before linger", { bytes: 70, linger: 1 }, 2000, due("bytes")],
    ["one reached, the others not", { size: 9, pushes: 9, bytes: 99, linger: 1 }, 2000, due("linger")],
    ["none reached, and linger says when", { size: 9, pushes: 9, bytes: 99, linger: 500 }, 1000, wait(1500)]
  ])("%s", (_, limits, now, decision) => {
    expect(FlushPolicy.decide(FlushPolicy.make(limits), opened, now)).toEqual(decision)
  })
})

describe("an empty batch", () => {
  it("is never due", () => {
    const policy = FlushPolicy.make({ size: 1, pushes: 1, bytes: 1, linger: 1 })
    const empty: FlushPolicy.State = { size: 0, pushes: 9, bytes: 9, openedAt: 0 }
    expect(FlushPolicy.decide(policy, empty, 1e9)).toEqual(wait(Infinity))
  })
})

describe("a decision", () => {
  it("to wait is right: it is not due just before, and due at that time", () => {
    const limits = FastCheck.record({
      size: FastCheck.nat(5),
      pushes: FastCheck.nat(5),
      bytes: FastCheck.nat(5),
      linger: FastCheck.nat(50)
    })
    const state = FastCheck.record({
      size: FastCheck.nat(6),
      pushes: FastCheck.nat(6),
      bytes: FastCheck.nat(6),
      openedAt: FastCheck.nat(100)
    })
    FastCheck.assert(FastCheck.property(limits, state, FastCheck.nat(200), (limits, state, now) => {
      const policy = FlushPolicy.make(limits)
      const decision = FlushPolicy.decide(policy, state, now)
      if (decision._tag === "Due") return
      expect(decision.until).toBeGreaterThan(now)
      if (decision.until === Infinity) return
      expect(FlushPolicy.decide(policy, state, decision.until - 1)).toEqual(decision)
      expect(FlushPolicy.decide(policy, state, decision.until)).toEqual(due("linger"))
    }))
  })

  it("changes nothing", () => {
    const policy = Object.freeze(FlushPolicy.make({ size: 3 }))
    const state = Object.freeze({ ...opened })
    expect(FlushPolicy.decide(policy, state, 0)).toEqual(FlushPolicy.decide(policy, state, 0))
  })
})

describe("make", () => {
  it("leaves every limit off by default", () => {
    expect(FlushPolicy.make({})).toEqual({ size: 0, pushes: 0, bytes: 0, lingerMillis: 0 })
    expect(FlushPolicy.make({ size: undefined, linger: undefined })).toEqual(FlushPolicy.make({}))
  })
})
