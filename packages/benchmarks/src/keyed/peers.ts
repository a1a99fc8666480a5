/** What else there is to do the work for a command and to answer who waits. */
import { dataLoader as withWindow } from "@effect/experimental/RequestResolver"
import DataLoader from "dataloader"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Request from "effect/Request"
import * as RequestResolver from "effect/RequestResolver"
import { type Contender, executing, inFibers, inOneFiber, inPromises } from "./callers.ts"
import type { Command, Totals } from "./commands.ts"

/**
 * The floor: an array of who waits, and one worker that runs what it finds there. A command that fails fails its caller
 * alone. There is no capacity, nobody takes back a command, and nothing is ever closed.
 */
export const floor: Contender = (totals) =>
  Effect.gen(function*() {
    const execute = executing(totals)
    let waiting: Array<{ readonly command: Command; readonly resume: (exit: Exit.Exit<number>) => void }> = []
    let wake: (() => void) | undefined
    const arrival = Effect.async<void>((resume) => {
      // The worker may have made way since it looked.
      if (waiting.length > 0) resume(Effect.void)
      else wake = () => resume(Effect.void)
    })
    const worker = Effect.gen(function*() {
      while (true) {
        if (waiting.length === 0) yield* arrival
        const taken = waiting
        waiting = []
        for (const { command, resume } of taken) resume(yield* Effect.exit(execute(command)))
      }
    })
    yield* Effect.forkScoped(worker)
    return inFibers((command) =>
      Effect.async<number>((resume) => {
        waiting.push({ command, resume })
        if (wake !== undefined) {
          const wakeUp = wake
          wake = undefined
          wakeUp()
        }
      })
    )
  })

/** As a pool has it, where it is not said otherwise. */
const capacity = 1_024

interface Asked {
  readonly command: Command
  readonly answer: Deferred.Deferred<number>
}

/** What one would write with what Effect has. Without generators, which would cost it a fifth more. */
export const queueAndDeferred: Contender = (totals) =>
  Effect.gen(function*() {
    const execute = executing(totals)
    const queue = yield* Queue.bounded<Asked>(capacity)
    const answerOne = ({ answer, command }: Asked) =>
      Effect.flatMap(Effect.exit(execute(command)), (exit) => Deferred.done(answer, exit))
    const takeAll = Queue.takeBetween(queue, 1, capacity)
    const worker = Effect.flatMap(takeAll, (taken) => Effect.forEach(taken, answerOne, { discard: true }))
    yield* Effect.forkScoped(Effect.forever(worker))
    return inFibers((command) =>
      Effect.flatMap(
        Deferred.make<number>(),
        (answer) => Effect.zipRight(Queue.offer(queue, { command, answer }), Deferred.await(answer))
      )
    )
  })

interface Add extends Request.Request<number> {
  readonly _tag: "Add"
  readonly command: Command
}
const Add = Request.tagged<Add>("Add")

const resolverOf = (totals: Totals) => {
  const execute = executing(totals)
  return RequestResolver.makeBatched((requests: ReadonlyArray<Add>) =>
    Effect.forEach(requests, (request) => Request.completeEffect(request, execute(request.command)), { discard: true })
  )
}

/** It puts together what one fiber asks for at a time. */
export const requestResolver: Contender = (totals) =>
  Effect.sync(() => {
    const resolver = resolverOf(totals)
    return inOneFiber((commands) =>
      Effect.forEach(commands, (command) => Effect.request(Add({ command }), resolver), {
        batching: true,
        concurrency: "unbounded"
      })
    )
  })

/**
 * It gathers across fibers: until all callers are there, so that its window, a timer of a millisecond, is not waited
 * for.
 */
export const requestResolverWithWindow: Contender = (totals, callers) =>
  Effect.map(
    withWindow(resolverOf(totals), { window: "1 millis", maxBatchSize: callers }),
    (resolver) => inFibers((command) => Effect.request(Add({ command }), resolver))
  )

/** It has no Effects: what it calls is a function, and its callers await promises. Answers are not remembered. */
export const dataLoader: Contender = (totals) =>
  Effect.sync(() => {
    const loader = new DataLoader<Command, number>(
      (commands) => Promise.resolve(commands.map((command) => totals.add(command))),
      { cache: false }
    )
    return inPromises((command) => loader.load(command))
  })
