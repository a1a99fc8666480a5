import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { Ring } from "../src/internal/shapes/ring.ts"

describe("a ring", () => {
  it("is a queue, and an item keeps its position from push to shift", () => {
    const operation = FastCheck.oneof(
      {
        arbitrary: FastCheck.record({ _tag: FastCheck.constant("push" as const), count: FastCheck.nat(20) }),
        weight: 2
      },
      {
        arbitrary: FastCheck.record({ _tag: FastCheck.constant("shift" as const), count: FastCheck.nat(20) }),
        weight: 2
      },
      {
        arbitrary: FastCheck.record({ _tag: FastCheck.constant("shiftUpTo" as const), count: FastCheck.nat(60) }),
        weight: 1
      },
      { arbitrary: FastCheck.record({ _tag: FastCheck.constant("set" as const), count: FastCheck.nat(60) }), weight: 1 }
    )
    FastCheck.assert(
      FastCheck.property(FastCheck.array(operation, { maxLength: 60, size: "max" }), (operations) => {
        const ring = new Ring<number>()
        const model: Array<{ item: number; readonly position: number }> = []
        let next = 0
        for (const { _tag, count } of operations) {
          switch (_tag) {
            case "push":
              for (let i = 0; i < count; i++) model.push({ item: next, position: ring.push(next++) })
              break
            case "shift":
              for (let i = 0; i < count && model.length > 0; i++) expect(ring.shift()).toBe(model.shift()!.item)
              break
            case "shiftUpTo":
              expect(ring.shiftUpTo(count)).toEqual(model.splice(0, count).map(({ item }) => item))
              break
            case "set": {
              const entry = model[count % Math.max(1, model.length)]
              if (entry !== undefined) {
                entry.item = -next++
                ring.set(entry.position, entry.item)
              }
            }
          }
          expect(ring.length).toBe(model.length)
          for (const { item, position } of model) expect(ring.at(position)).toBe(item)
        }
      }),
      { numRuns: 200 }
    )
  })

  it("keeps its items when it grows while they are wrapped around its end", () => {
    const ring = new Ring<number>()
    for (let i = 0; i < 12; i++) ring.push(i)
    for (let i = 0; i < 10; i++) ring.shift()
    for (let i = 12; i < 50; i++) ring.push(i)
    expect(ring.shiftUpTo(Infinity)).toEqual(Array.from({ length: 40 }, (_, index) => index + 10))
    expect(ring.length).toBe(0)
  })

  it("does not keep alive what has left", () => {
    const ring = new Ring<object>()
    for (let i = 0; i < 40; i++) ring.push({ i })
    ring.shift()
    ring.shiftUpTo(Infinity)
    const { slots } = ring as unknown as { readonly slots: ReadonlyArray<unknown> }
    expect(slots.filter((slot) => slot !== undefined)).toEqual([])
  })
})
