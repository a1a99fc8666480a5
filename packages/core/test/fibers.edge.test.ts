/**
 * What the ground floor promises of Effect's fibers, whatever major of Effect is below it. See decision 12.
 */
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Exit, FiberRef, Scope } from "effect"
import {
  awaitEnd,
  interrupt,
  observe,
  pollExit,
  readRef,
  type Running,
  withFiber
} from "../src/internal/fibers/fiber.ts"
import {
  forkChild,
  forkIn,
  forkInterruptible,
  forkScoped,
  forkUninterruptible,
  inFiberOfItsOwn,
  leavingChildren,
  makeFork,
  type Refs,
  refsOf,
  runAs
} from "../src/internal/fibers/forking.ts"
import { forkLoop } from "../src/internal/fibers/lifecycle.ts"
import { park } from "../src/internal/fibers/parking.ts"

/** Lets all other fibers run until they are suspended. */
const settle = Effect.yieldNow({ priority: 1 })

describe("a fiber that is forked", () => {
  type Forked = Effect.Effect<Running<never>, never, Scope.Scope>

  it.scoped.each<readonly [name: string, fork: (effect: Effect.Effect<never>) => Forked]>([
    ["forkInterruptible", forkInterruptible],
    ["forkChild", forkChild],
    ["forkScoped", forkScoped],
    ["forkIn", (effect) => Effect.flatMap(Effect.scope, (scope) => forkIn(effect, scope))]
  ])(
    "by %s can be interrupted, also where it is forked in an uninterruptible region",
    ([, fork]) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.uninterruptible(fork(Effect.never))
        yield* settle
        expect(Exit.isInterrupted(yield* interrupt(fiber))).toBe(true)
      })
  )

  it.effect("by forkUninterruptible goes on to its end, also where it is forked in an interruptible region", () =>
    Effect.gen(function*() {
      const latch = Effect.unsafeMakeLatch()
      let isDone = false
      const effect = Effect.zipRight(latch.await, Effect.sync(() => void (isDone = true)))
      const fiber = yield* Effect.interruptible(forkUninterruptible(effect))
      yield* settle
      const interrupting = yield* forkInterruptible(interrupt(fiber))
      yield* settle
      expect(pollExit(fiber)).toBeUndefined()
      latch.unsafeOpen()
      yield* awaitEnd(interrupting)
      expect(isDone).toBe(true)
    }))

  it.effect("by forkLoop can be interrupted, but what is done of a defect cannot", () =>
    Effect.gen(function*() {
      const loop = yield* Effect.uninterruptible(forkLoop(Effect.never, Context.empty(), () => Effect.void))
      yield* settle
      expect(Exit.isInterrupted(yield* interrupt(loop))).toBe(true)

      const latch = Effect.unsafeMakeLatch()
      let told = false
      const onDied = () => Effect.andThen(latch.await, () => void (told = true))
      const died = yield* Effect.interruptible(forkLoop(Effect.die("a bug"), Context.empty(), onDied))
      yield* settle
      const interrupting = yield* forkInterruptible(interrupt(died))
      yield* settle
      latch.unsafeOpen()
      yield* awaitEnd(interrupting)
      expect(told).toBe(true)
    }))

  it.effect("by forkChild ends with who forked it, unless that leaves its children", () =>
    Effect.gen(function*() {
      const ends: Array<string> = []
      const child = (name: string) =>
        forkChild(Effect.onInterrupt(Effect.never, () => Effect.sync(() => ends.push(name))))
      yield* Effect.flatMap(forkInterruptible(Effect.zipRight(child("child"), settle)), awaitEnd)
      const left = yield* Effect.flatMap(
        forkInterruptible(leavingChildren(Effect.zipLeft(child("left"), settle))),
        awaitEnd
      )
      yield* settle
      expect(ends).toEqual(["child"])
      yield* interrupt(yield* left)
      expect(ends).toEqual(["child", "left"])
    }))

  it.effect("by forkScoped ends with its scope", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const fiber = yield* Scope.extend(forkScoped(Effect.never), scope)
      yield* settle
      yield* Scope.close(scope, Exit.void)
      expect(Exit.isInterrupted(yield* awaitEnd(fiber))).toBe(true)
    }))

  it.effect("for the user's code runs at once, interruptible, and has ended if it waits for nothing", () =>
    Effect.gen(function*() {
      const fork = yield* Effect.uninterruptible(makeFork<never>())
      expect(pollExit(fork(Effect.succeed(1)))).toEqual(Exit.succeed(1))
      const waiting = fork(Effect.never)
      expect(pollExit(waiting)).toBeUndefined()
      expect(Exit.isInterrupted(yield* interrupt(waiting))).toBe(true)
    }))
})

describe("a fiber that runs as another", () => {
  const ref = FiberRef.unsafeMake("default")
  class Name extends Context.Tag("test/Name")<Name, string>() {}

  it.effect("has its references, the given context, and runs at once", () =>
    Effect.gen(function*() {
      const refs = yield* Effect.locally(withFiber<Refs>((fiber) => Effect.succeed(refsOf(fiber))), ref, "of another")
      const both = Effect.zip(readRef(ref), Name)
      expect(pollExit(runAs(both, Context.make(Name, "given"), refs))).toEqual(Exit.succeed(["of another", "given"]))
    }))

  it.effect("in a fiber of its own hands on what it has set, and what it has forked", () =>
    Effect.gen(function*() {
      let hasEnded = false
      const inside = Effect.zipRight(
        FiberRef.set(ref, "set inside"),
        forkChild(Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (hasEnded = true))))
      )
      const outer = Effect.gen(function*() {
        yield* Effect.uninterruptibleMask((restore) => inFiberOfItsOwn(restore, inside))
        yield* settle
        return [yield* readRef(ref), hasEnded]
      })
      const fiber = yield* forkInterruptible(outer)
      expect(yield* awaitEnd(fiber)).toEqual(Exit.succeed(["set inside", false]))
      yield* settle
      expect(hasEnded).toBe(true)
    }))
})

describe("a fiber that is parked", () => {
  it.effect("goes on in a step of its own, after the step of who resumes it", () =>
    Effect.gen(function*() {
      const steps: Array<string> = []
      let resume = () => {}
      const parked = yield* forkInterruptible(
        Effect.zipRight(
          park<void>((go) => {
            resume = () => go(Effect.void)
          }),
          Effect.sync(() => steps.push("woken"))
        )
      )
      yield* settle
      resume()
      steps.push("resumed")
      yield* awaitEnd(parked)
      expect(steps).toEqual(["resumed", "woken"])
    }))

  it.effect("is resumed once, and cleans up where it is interrupted", () =>
    Effect.gen(function*() {
      expect(
        yield* park<number>((go) => {
          go(Effect.succeed(1))
          go(Effect.succeed(2))
        })
      ).toBe(1)
      let cleanedUp = 0
      const fiber = yield* forkInterruptible(park<void>(() => Effect.sync(() => void (cleanedUp += 1))))
      const ends: Array<boolean> = []
      observe(fiber, (exit) => void ends.push(Exit.isInterrupted(exit)))
      yield* settle
      yield* interrupt(fiber)
      expect([cleanedUp, ends]).toEqual([1, [true]])
    }))
})
