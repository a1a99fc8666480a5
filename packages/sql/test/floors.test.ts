import { describe, expect, it } from "@effect/vitest"
import { Effect, TestClock } from "effect"
import { Floor } from "../src/internal/postgres/floors.ts"

/** Where a scan begins at this time. */
const start = (floor: Floor, now: number, takes = 0) =>
  floor.scan(now, (from) => takes === 0 ? Effect.succeed(from) : Effect.as(TestClock.adjust(takes), from))

describe("the floor of an index", () => {
  it.effect("is what was found, once that is a while ago", () =>
    Effect.gen(function*() {
      const floor = new Floor()
      yield* start(floor, 0)
      floor.found(50, 0)
      expect(yield* start(floor, 0)).toBe(0)
      floor.found(60, 99)
      expect(yield* start(floor, 99)).toBe(0)
      floor.found(70, 100)
      expect(yield* start(floor, 150)).toBe(50)
      floor.found(80, 199)
      expect(yield* start(floor, 199)).toBe(50)
      floor.found(90, 200)
      expect(yield* start(floor, 200)).toBe(70)
    }))

  it.effect("is never above what is there", () =>
    Effect.gen(function*() {
      const floor = new Floor()
      yield* start(floor, 0)
      for (let now = 0; now <= 500; now += 100) floor.found(1000 + now, now)
      expect(yield* start(floor, 500)).toBe(1400)
      floor.lower(700)
      expect(yield* start(floor, 500)).toBe(700)
      floor.found(2000, 600)
      // What will count next was lowered as well.
      expect(yield* start(floor, 600)).toBe(700)
      floor.found(300, 601)
      expect(yield* start(floor, 601)).toBe(300)
    }))

  it.effect("is passed over once a second, and seldom where that takes long", () =>
    Effect.gen(function*() {
      const floor = new Floor()
      const fromHead: Array<number> = []
      for (let now = 0; now < 30_000; now += 100) {
        if ((yield* start(floor, now, now === 5000 ? 200 : 0)) === 0) fromHead.push(now)
        floor.found(10, now)
      }
      // At first, nothing counts yet. After the long one, a fiftieth of the time.
      expect(fromHead).toEqual(
        [0, 100, 1000, 2000, 3000, 4000, 5000, 15_000, 16_000, 17_000, 18_000, 19_000, 20_000, 21_000]
          .concat([22_000, 23_000, 24_000, 25_000, 26_000, 27_000, 28_000, 29_000])
      )
    }))

  it.effect("goes on where the clock was set back", () =>
    Effect.gen(function*() {
      const floor = new Floor()
      yield* start(floor, 1_000_000)
      for (let n = 0; n < 3; n++) floor.found(10, 1_000_000 + n * 100)
      expect(yield* start(floor, 5000)).toBe(10)
      floor.found(20, 5000)
      floor.found(30, 5100)
      expect(yield* start(floor, 5999)).toBe(20)
      expect(yield* start(floor, 6000)).toBe(0)
    }))
})
