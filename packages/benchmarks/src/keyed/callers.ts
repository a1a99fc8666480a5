/** How callers call: each waits for its answer, and calls again, until all calls of a sample have been made. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { atOnce } from "../submitting.ts"
import type { Books, Command, Totals } from "./commands.ts"

/** So many callers call, and the time from the first call to the last answer is told, in milliseconds. */
export type Calling = (callers: number, books: Books) => Effect.Effect<number>

/** Sets somebody up who does the work for commands, and answers how to call. */
export type Contender = (totals: Totals, callers: number) => Effect.Effect<Calling, never, Scope.Scope>

/** What somebody who runs Effects is given to run for a command. */
export const executing = (totals: Totals) => (command: Command): Effect.Effect<number> =>
  Effect.sync(() => totals.add(command))

/**
 * Callers that are fibers. Nobody looks at the clock for each call: that would be a good part of a microsecond, and
 * callers who never stop wait as long as a call of each of them takes.
 */
export const inFibers = (call: (command: Command) => Effect.Effect<number, unknown>): Calling => (callers, books) =>
  Effect.gen(function*() {
    let endedAt = 0
    const caller = Effect.gen(function*() {
      for (let command = books.next(); command !== undefined; command = books.next()) {
        books.note(command, yield* call(command))
      }
      endedAt = performance.now()
    })
    const { openedAt } = yield* atOnce(callers, () => Effect.orDie(caller))
    return endedAt - openedAt
  })

/** For who has batches only of what one fiber asks for at a time: it asks for as much as there are callers. */
export const inOneFiber = (
  callAll: (commands: ReadonlyArray<Command>) => Effect.Effect<ReadonlyArray<number>>
): Calling =>
(callers, books) =>
  Effect.gen(function*() {
    const openedAt = performance.now()
    while (true) {
      const commands: Array<Command> = []
      while (commands.length < callers) {
        const command = books.next()
        if (command === undefined) break
        commands.push(command)
      }
      if (commands.length === 0) return performance.now() - openedAt
      const answers = yield* callAll(commands)
      for (let i = 0; i < commands.length; i++) books.note(commands[i], answers[i])
    }
  })

/** Callers that are asynchronous functions, without Effect. */
export const inPromises = (call: (command: Command) => Promise<number>): Calling => (callers, books) =>
  Effect.promise(async () => {
    let open = () => {}
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    const caller = async () => {
      await gate
      for (let command = books.next(); command !== undefined; command = books.next()) {
        books.note(command, await call(command))
      }
    }
    const done = Promise.all(Array.from({ length: callers }, caller))
    const openedAt = performance.now()
    open()
    await done
    return performance.now() - openedAt
  })
