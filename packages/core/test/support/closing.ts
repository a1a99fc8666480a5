/**
 * Closes a system in every way in which a test of a user does, while its TestClock stands still, and says what was told.
 */
import { describe, expect, it, layer } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, type Scope } from "effect"

export type Note = (what: string) => void

/** Makes a system in the scope of a test, and leaves it something to do. */
export type Use = (note: Note) => Effect.Effect<unknown, unknown, Scope.Scope>

/** Notes how a call ends, whose caller outlives the test. */
export const noting = <A, E, R>(note: Note, call: Effect.Effect<A, E, R>) =>
  Effect.forkDaemon(Effect.onExit(call, (exit) =>
    Effect.sync(() => {
      const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : "success"
      note(typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : String(error))
    })))

/** What was told is known once everything has ended: after the test, or after all that share a layer. */
export const closesUnderTestClock = (name: string, use: Use, outcome: ReadonlyArray<string>): void => {
  describe(`${name}`, () => {
    const closing = () => {
      const notes: Array<string> = []
      return { notes, used: Effect.orDie(use((what) => notes.push(what))) }
    }

    const inside = closing()
    it.effect("with a scope that a test closes", () =>
      Effect.gen(function*() {
        yield* Effect.scoped(inside.used)
        expect(inside.notes).toEqual(outcome)
      }))

    const scoped = closing()
    it.scoped("with the scope of a test", () => scoped.used)
    it("with the scope of a test, and tells what was left", () => {
      expect(scoped.notes).toEqual(outcome)
    })

    const shared = closing()
    layer(Layer.scopedDiscard(shared.used))("with a layer of tests", (it) => {
      it.effect("which begin", () => Effect.yieldNow())
      it.scoped("and end", () => Effect.sync(() => expect(shared.notes.length).toBeLessThanOrEqual(outcome.length)))
    })
    it("with a layer of tests, and tells what was left", () => {
      expect(shared.notes).toEqual(outcome)
    })
  })
}
