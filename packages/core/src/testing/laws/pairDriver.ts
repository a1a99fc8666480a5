/**
 * Drives the pair of a policy by hand, one operation at a time.
 *
 * No time passes here. Offers that the strategy makes wait are fibers under a scheduler that runs them until all of
 * them are suspended, so that a sequence of operations always has the same ending.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as Scheduler from "effect/Scheduler"
import type { BackingQueue, Report } from "../../BackingQueue.ts"
import type { Strategy } from "../../Strategy.ts"
import * as VirtualClock from "../VirtualClock.ts"
import type { TrialSubject } from "./policyScenario.ts"

/** How the strategy answered for items that were not in at once. */
export type Answer = "waiting" | "in" | "refused" | "interrupted" | Cause.Cause<unknown>

export interface Call {
  readonly id: number
  readonly fiber: Fiber.RuntimeFiber<boolean>
  answer: Answer
}

export const isDeath = (answer: Answer): answer is Cause.Cause<unknown> => typeof answer === "object"

export class PairDriver<A> {
  readonly backing: BackingQueue<A>
  readonly strategy: Strategy<A>
  /** The calls that the strategy has not answered yet. */
  waiting: Array<Call> = []
  private calls = 0
  private readonly tasks: Array<() => void> = []
  private readonly scheduler: Scheduler.Scheduler = {
    shouldYield: () => false,
    scheduleTask: (task) => this.tasks.push(task)
  }
  private readonly clock = VirtualClock.make({ scheduler: this.scheduler })
  private isShutdown = false

  constructor({ capacity, policy, weigh }: TrialSubject<A>, report: Report<A>) {
    const pair = policy.pair<A>({ name: "laws", capacity, weigh, report })
    this.backing = pair.backing
    this.strategy = pair.strategy
  }

  /** Leaves items to the strategy, as Effect's Queue does with those that the backing queue did not take. */
  surplus(items: Iterable<A>): Call {
    const retry = (item: A) => this.isShutdown ? "closed" : this.backing.offer(item) ? "accepted" : "full"
    const call: Call = {
      id: this.calls++,
      fiber: this.fork(Effect.suspend(() => this.strategy.handleSurplus(items, retry))),
      answer: "waiting"
    }
    this.waiting.push(call)
    return call
  }

  /** Tells the strategy that there may be room, as Effect's Queue does after something was taken. */
  roomMade(): void {
    this.strategy.onRoom()
  }

  cancel(call: Call): void {
    call.fiber.unsafeInterruptAsFork(FiberId.none)
  }

  shutdown(): void {
    this.isShutdown = true
    this.fork(this.strategy.shutdown)
  }

  /** Runs fibers until all are suspended. Answers the calls that the strategy has answered now. */
  settle(): ReadonlyArray<Call> {
    for (let task = this.tasks.shift(); task !== undefined; task = this.tasks.shift()) task()
    const answered = this.waiting.filter((call) => {
      const exit = call.fiber.unsafePoll()
      if (exit !== null) call.answer = answerOf(exit)
      return exit !== null
    })
    if (answered.length > 0) this.waiting = this.waiting.filter((call) => call.answer === "waiting")
    return answered
  }

  /** Leaves no fiber behind. */
  dispose(): void {
    for (const call of this.waiting) this.cancel(call)
    this.settle()
  }

  private fork<B>(effect: Effect.Effect<B>): Fiber.RuntimeFiber<B> {
    return Effect.runFork(Effect.withClock(effect, this.clock), { scheduler: this.scheduler })
  }
}

const answerOf = (exit: Exit.Exit<boolean>): Answer =>
  Exit.match(exit, {
    onSuccess: (isIn): Answer => isIn ? "in" : "refused",
    onFailure: (cause): Answer => Exit.isInterrupted(exit) ? "interrupted" : cause
  })

/** No item. */
export const nothing: unique symbol = Symbol()
