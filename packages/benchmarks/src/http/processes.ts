/**
 * Processes of their own, which are asked things and answer. They run what has been compiled, wherever this runs from: a
 * test runs the sources, which Node cannot.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"

/** What is asked of a process, by number, and what it says to that. */
interface Question<Q> {
  readonly number: number
  readonly question: Q
}
type Answer<A> =
  | { readonly number: number; readonly answer: A }
  | { readonly number: number; readonly error: string }

/** The side of who asks. */
export interface Asking<Q, A> {
  readonly ask: (question: Q) => Effect.Effect<A>
}

const fileOf = (program: string) => fileURLToPath(new URL(`../../dist/http/${program}.js`, import.meta.url))

const ended = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null

/** How long a process has to end by itself. */
const graceMillis = 5_000

const stop = (child: ChildProcess) =>
  Effect.async<void>((resume) => {
    if (ended(child)) return resume(Effect.void)
    const timer = setTimeout(() => child.kill("SIGKILL"), graceMillis)
    child.once("exit", () => {
      clearTimeout(timer)
      resume(Effect.void)
    })
    // It ends where nobody can ask it anything any more.
    if (child.connected) child.disconnect()
  })

/** Starts a program of this directory, which ends with the scope. Asking one that has ended is a defect. */
export const start = <Q, A>(
  program: string,
  args: ReadonlyArray<string> = [],
  execArgv: ReadonlyArray<string> = []
): Effect.Effect<Asking<Q, A>, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const child = fork(fileOf(program), [...args], {
          execArgv: [...execArgv],
          serialization: "advanced",
          // What is on stdout is the report and nothing else.
          stdio: ["ignore", 2, 2, "ipc"]
        })
        return child
      }),
      stop
    ),
    (child) => {
      const waiting = new Map<number, (effect: Effect.Effect<A>) => void>()
      let asked = 0
      child.on("message", (message) => {
        const answer = message as Answer<A>
        const resume = waiting.get(answer.number)
        waiting.delete(answer.number)
        resume?.("error" in answer ? Effect.die(new Error(answer.error)) : Effect.succeed(answer.answer))
      })
      const gone = () =>
        Effect.die(new Error(`${[program, ...args].join(" ")} has ended: ${child.signalCode ?? child.exitCode}`))
      child.on("exit", () => {
        for (const resume of waiting.values()) resume(gone())
        waiting.clear()
      })
      return {
        ask: (question: Q) =>
          Effect.async<A>((resume) => {
            if (ended(child)) return resume(gone())
            const number = asked++
            waiting.set(number, resume)
            child.send({ number, question } satisfies Question<Q>)
          })
      }
    }
  )

/** The side of who answers: all that the program of a process does. */
export const answerWith = <Q, A>(answer: (question: Q) => Promise<A>): void => {
  process.on("message", (message) => {
    const { number, question } = message as Question<Q>
    answer(question).then(
      (answer): Answer<A> => ({ number, answer }),
      (error): Answer<A> => ({ number, error: error instanceof Error ? error.stack ?? error.message : String(error) })
    ).then((said) => process.send!(said))
  })
  process.on("disconnect", () => process.exit(0))
}
