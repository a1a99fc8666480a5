/**
 * Drives the pair of a policy by hand, one operation after the other, and watches what becomes of every item.
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
import type { BackingQueue, Report } from "../BackingQueue.ts"
import type { Policy } from "../Backpressure.ts"
import type { DropReason } from "../QueueEvent.ts"
import { identityOf, type Key } from "../Sharding.ts"
import type { Strategy } from "../Strategy.ts"
import type { PolicyModel } from "./PolicyModel.ts"
import * as VirtualClock from "./VirtualClock.ts"

/**
 * What is done to a queue.
 * @internal
 */
export type Operation<A> =
  | { readonly _tag: "offer"; readonly item: A }
  | { readonly _tag: "offerAll"; readonly items: ReadonlyArray<A> }
  | { readonly _tag: "poll" }
  | { readonly _tag: "pollUpTo"; readonly limit: number }
  /** Interrupts one of the offers that wait, if there are any. */
  | { readonly _tag: "cancel"; readonly pick: number }

/** @internal */
export interface Scenario<A> {
  readonly operations: ReadonlyArray<Operation<A>>
  /** Whether what is left is taken, or shut down. */
  readonly ending: "take" | "shutdown"
  /** Offered once everything has been taken. */
  readonly afterwards: ReadonlyArray<A>
}

/** @internal */
export interface TrialSubject<A> {
  readonly policy: Policy<A>
  readonly capacity: number
  readonly weigh?: ((item: A) => number) | undefined
  readonly key?: ((item: A) => Key) | undefined
  readonly merges?: boolean | undefined
}

/** @internal */
export type TrialLaw = "bounded" | "order" | "no-invention" | "conservation" | "weights"

/** @internal */
export interface Violation {
  readonly law: TrialLaw
  readonly reason: string
}

// -----------------------------------------------------------------------------
// the pair, driven by hand
// -----------------------------------------------------------------------------

/** How the strategy answered for items that were not in at once. */
type Answer = "waiting" | "in" | "refused" | "interrupted" | Cause.Cause<unknown>

interface Call {
  readonly id: number
  readonly fiber: Fiber.RuntimeFiber<boolean>
  answer: Answer
}

const isDeath = (answer: Answer): answer is Cause.Cause<unknown> => typeof answer === "object"

class PairDriver<A> {
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

const nothing: unique symbol = Symbol()

// -----------------------------------------------------------------------------
// laws of every policy
// -----------------------------------------------------------------------------

type Fate =
  /** Being offered in this step. */
  | "offered"
  /** Left to the strategy, which has not answered. */
  | "waiting"
  | "held"
  /** The strategy refused several items at once: some of them may be in. */
  | "unknown"
  | "refused"
  | "coalesced"
  | "dropped"
  | "taken"

/** Where an item stands: behind whatever was in line before it was offered. */
interface Place {
  readonly call: number
  readonly index: number
  /** From which step on it stood in line; infinite while it is not known to. */
  inLineAt: number
}

interface Tracked {
  fate: Fate
  place: Place
  readonly weight: number
}

interface PendingCall<A> {
  readonly items: ReadonlyArray<A>
}

class Trial<A> {
  readonly violations: Array<Violation> = []
  private readonly subject: TrialSubject<A>
  private readonly show: (item: unknown) => string
  private readonly driver: PairDriver<A>
  private readonly items = new Map<A, Tracked>()
  private readonly pending = new Map<Call, PendingCall<A>>()
  private step = 0
  private dropsInStep = 0
  private offered = 0
  private refused = 0
  private coalesced = 0
  private dropped = 0
  private taken = 0
  /** Items of calls about which the strategy said no more than that not all of them are in. */
  private unclear = 0
  private shuttingDown = false

  constructor(subject: TrialSubject<A>, show: (item: unknown) => string) {
    this.subject = subject
    this.show = show
    this.driver = new PairDriver<A>(subject, {
      dropped: (item, reason) => this.onDropped(item, reason),
      coalesced: (replaced, item) => this.onCoalesced(replaced, item)
    })
  }

  run({ afterwards, ending, operations }: Scenario<A>): void {
    try {
      for (const operation of operations) this.apply(operation)
      if (ending === "shutdown") return this.shutdown()
      this.takeAll()
      for (const item of afterwards) this.apply({ _tag: "offer", item })
      this.takeAll()
    } finally {
      this.driver.dispose()
    }
  }

  private violate(law: TrialLaw, reason: string): void {
    this.violations.push({ law, reason: `step ${this.step}: ${reason}` })
  }

  private apply(operation: Operation<A>): void {
    this.step += 1
    this.dropsInStep = 0
    switch (operation._tag) {
      case "offer":
        this.offer(operation.item)
        break
      case "offerAll":
        this.offerAll(operation.items)
        break
      case "poll":
        this.poll()
        break
      case "pollUpTo":
        this.pollUpTo(operation.limit)
        break
      case "cancel": {
        const { waiting } = this.driver
        if (waiting.length > 0) this.driver.cancel(waiting[operation.pick % waiting.length])
      }
    }
    this.settle()
  }

  private settle(): void {
    for (const call of this.driver.settle()) this.answered(call)
    this.checkBound()
    this.checkCounts()
  }

  // --- offering -----------------------------------------------------------------------------------------------------

  /** Counts an item as offered. The same one twice, or one that the queue could never hold, is left out. */
  private begin(item: A, index: number): Tracked | undefined {
    const weight = this.subject.weigh?.(item) ?? 1
    const isWeight = Number.isSafeInteger(weight) && weight >= 1 && weight <= this.subject.capacity
    if (this.items.has(item) || !isWeight) return undefined
    const place = { call: this.step, index, inLineAt: Infinity }
    const tracked: Tracked = { fate: "offered", place, weight }
    this.items.set(item, tracked)
    this.offered += 1
    return tracked
  }

  private offer(item: A): void {
    const tracked = this.begin(item, 0)
    if (tracked === undefined) return
    const hadRoom = this.hasRoomFor(tracked.weight)
    const isIn = this.driver.backing.offer(item)
    if (isIn) this.isInAtOnce(tracked)
    else if (tracked.fate === "offered") this.leaveToStrategy([item])
    else if (tracked.fate !== "dropped") this.violate("conservation", `${this.show(item)} was coalesced, but not in`)
    if (isIn && tracked.fate === "dropped") {
      this.violate("conservation", `${this.show(item)} is said to be in, but was dropped`)
    }
    if (hadRoom && (!isIn || tracked.fate === "dropped")) {
      this.violate("weights", `there was room for ${this.show(item)}, but it was not taken`)
    } else if (hadRoom && this.dropsInStep > 0) {
      this.violate("weights", `there was room for ${this.show(item)}, but something was dropped for it`)
    }
  }

  private offerAll(items: ReadonlyArray<A>): void {
    const fresh = items.filter((item, index) => this.begin(item, index) !== undefined)
    if (fresh.length === 0) return
    const surplus = this.driver.backing.offerAll(fresh)
    const isSurplus = new Set(surplus)
    for (const item of surplus) {
      if (!fresh.includes(item)) this.violate("no-invention", `${this.show(item)} is left over, but was never offered`)
    }
    for (const item of fresh) {
      const tracked = this.items.get(item)!
      // It may have been dropped for one after it.
      if (!isSurplus.has(item)) this.isInAtOnce(tracked)
      else if (tracked.fate === "held") {
        this.violate("conservation", `${this.show(item)} was coalesced, but is left over`)
      }
    }
    const left = surplus.filter((item) => this.items.get(item)?.fate === "offered")
    // Effect's Queue leaves dropped items to the strategy as well, which answers false.
    if (left.length > 0) this.leaveToStrategy(left)
  }

  private isInAtOnce(tracked: Tracked): void {
    if (tracked.fate === "offered") tracked.fate = "held"
    tracked.place.inLineAt = Math.min(tracked.place.inLineAt, this.step)
  }

  private leaveToStrategy(items: ReadonlyArray<A>): void {
    for (const item of items) this.items.get(item)!.fate = "waiting"
    // Those behind it are not in line until it is in.
    this.items.get(items[0])!.place.inLineAt = this.step
    this.pending.set(this.driver.surplus(items), { items })
  }

  private answered(call: Call): void {
    const { items } = this.pending.get(call)!
    this.pending.delete(call)
    const waiting = items.filter((item) => this.items.get(item)!.fate === "waiting")
    if (isDeath(call.answer)) this.violate("conservation", `the strategy died: ${String(call.answer)}`)
    else if (call.answer === "in") {
      for (const item of waiting) {
        const tracked = this.items.get(item)!
        tracked.fate = "held"
        tracked.place.inLineAt = Math.min(tracked.place.inLineAt, this.step)
      }
    } else if (items.length === 1) {
      if (waiting.length === 0 && this.items.get(items[0])!.fate !== "dropped") {
        this.violate("conservation", `${this.show(items[0])} was refused after it had been in`)
      }
      for (const item of waiting) this.refuse(this.items.get(item)!)
    } else {
      for (const item of waiting) this.items.get(item)!.fate = "unknown"
      this.unclear += items.length
    }
  }

  private refuse(tracked: Tracked): void {
    tracked.fate = "refused"
    this.refused += 1
  }

  // --- taking -------------------------------------------------------------------------------------------------------

  private poll(): void {
    const length = this.driver.backing.length()
    const item = this.driver.backing.poll<typeof nothing>(nothing)
    if ((item === nothing) !== (length === 0)) {
      this.violate(
        "conservation",
        `the queue says that it holds ${length}, but gave ${item === nothing ? "none" : "one"}`
      )
    }
    if (item !== nothing) this.take(item)
    this.driver.roomMade()
  }

  private pollUpTo(limit: number): void {
    const length = this.driver.backing.length()
    const items = this.driver.backing.pollUpTo(limit)
    if (items.length !== Math.min(length, limit)) {
      this.violate("conservation", `the queue says that it holds ${length}, but gave ${items.length} of ${limit}`)
    }
    for (const item of items) this.take(item)
    this.driver.roomMade()
  }

  private take(item: A): void {
    this.taken += 1
    const tracked = this.items.get(item)
    if (tracked === undefined) {
      if (this.subject.merges !== true) this.violate("no-invention", `${this.show(item)} came out, but never went in`)
      return
    }
    switch (tracked.fate) {
      case "held":
      case "waiting":
      case "unknown":
        this.checkOrder(item, tracked.place)
        tracked.fate = "taken"
        break
      case "taken":
        this.violate("no-invention", `${this.show(item)} came out twice`)
        break
      default:
        this.violate("conservation", `${this.show(item)} was ${tracked.fate}, but came out`)
    }
  }

  /** Takes everything, and with it lets everything in that waits. */
  private takeAll(): void {
    for (let left = this.items.size + 1; this.driver.backing.length() > 0 && left > 0; left--) {
      this.apply({ _tag: "poll" })
    }
    this.step += 1
    if (this.driver.backing.length() > 0) {
      this.violate("no-invention", "more came out than went in")
    }
    if (this.pending.size > 0) this.violate("conservation", "an offer waits although the queue is empty")
    this.mustBeGone("never came out")
    this.clear()
  }

  /** Nothing is in the queue and nobody waits: what did not come out was refused. */
  private clear(): void {
    for (const tracked of this.items.values()) if (tracked.fate === "unknown") this.refuse(tracked)
    this.unclear = 0
  }

  private shutdown(): void {
    this.step += 1
    this.shuttingDown = true
    this.driver.shutdown()
    this.settle()
    if (this.driver.backing.length() > 0) this.violate("conservation", "something is left after the shutdown")
    if (this.pending.size > 0) this.violate("conservation", "an offer waits after the shutdown")
    this.mustBeGone("was not reported at the shutdown")
  }

  private mustBeGone(otherwise: string): void {
    for (const [item, { fate }] of this.items) {
      // What was merged is gone, and what it was merged into has left under another name.
      if (fate === "held" && this.subject.merges !== true) {
        this.violate("conservation", `${this.show(item)} is in, but ${otherwise}`)
      }
    }
  }

  // --- reports ------------------------------------------------------------------------------------------------------

  private onDropped(item: A, reason: DropReason): void {
    this.dropped += 1
    this.dropsInStep += 1
    if (typeof reason !== "string" || reason === "") {
      this.violate("conservation", `${this.show(item)} has no drop reason`)
    }
    if ((reason === "shutdown") !== this.shuttingDown) {
      this.violate("conservation", `${this.show(item)} was dropped with reason "${reason}"`)
    }
    this.gone(item, "dropped")
  }

  private onCoalesced(replaced: A, item: A): void {
    this.coalesced += 1
    const tracked = this.items.get(item)
    if (tracked === undefined) this.violate("conservation", `${this.show(item)} was coalesced, but never offered`)
    else if (tracked.fate !== "offered" && tracked.fate !== "waiting" && tracked.fate !== "unknown") {
      this.violate("conservation", `${this.show(item)} was coalesced, after it was ${tracked.fate}`)
    } else tracked.fate = this.subject.merges === true ? "coalesced" : "held"
    const { key } = this.subject
    if (key !== undefined && identityOf(key(replaced)) !== identityOf(key(item))) {
      this.violate("conservation", `${this.show(item)} replaced ${this.show(replaced)}, which has another key`)
    }
    const place = this.items.get(replaced)?.place
    if (tracked !== undefined && place !== undefined) tracked.place = place
    this.gone(replaced, "coalesced")
  }

  /** A held item has left otherwise than by being taken. */
  private gone(item: A, how: "coalesced" | "dropped"): void {
    const tracked = this.items.get(item)
    if (tracked === undefined) {
      if (this.subject.merges !== true) {
        this.violate("conservation", `${this.show(item)} was ${how}, but never went in`)
      }
      return
    }
    switch (tracked.fate) {
      case "offered":
      case "waiting":
      case "unknown":
      case "held":
        tracked.fate = how
        break
      default:
        this.violate("conservation", `${this.show(item)} was ${how}, after it was ${tracked.fate}`)
    }
  }

  // --- the laws -----------------------------------------------------------------------------------------------------

  private get used(): number {
    if (this.subject.weigh === undefined) return this.driver.backing.length()
    let used = 0
    for (const { fate, weight } of this.items.values()) if (fate === "held") used += weight
    return used
  }

  private hasRoomFor(weight: number): boolean {
    return this.pending.size === 0 && this.unclear === 0 && this.used + weight <= this.subject.capacity
  }

  private checkBound(): void {
    const { capacity } = this.subject
    const length = this.driver.backing.length()
    if (!Number.isSafeInteger(length) || length < 0) this.violate("bounded", `the length is ${length}`)
    if (this.driver.backing.capacity() !== capacity) {
      this.violate("bounded", `the capacity is ${this.driver.backing.capacity()}, but should be ${capacity}`)
    }
    if (length > capacity) this.violate("bounded", `${length} items are held, but the capacity is ${capacity}`)
    if (this.used > capacity) {
      this.violate("bounded", `a weight of ${this.used} is held, but the capacity is ${capacity}`)
    }
  }

  private checkCounts(): void {
    const length = this.driver.backing.length()
    const known = this.refused + this.coalesced + this.dropped + this.taken + length
    let least = this.unclear > 0 ? 1 : 0
    let most = this.unclear
    for (const { items } of this.pending.values()) {
      least += 1
      most += items.length
    }
    const rest = this.offered - known
    if (rest >= least && rest <= most) return
    this.violate(
      "conservation",
      `offered ${this.offered} is not refused ${this.refused} + coalesced ${this.coalesced} + dropped ${this.dropped}`
        + ` + taken ${this.taken} + held ${length} + waiting ${least === most ? least : `${least} to ${most}`}`
    )
  }

  private checkOrder(item: A, place: Place): void {
    for (const [other, { fate, place: before }] of this.items) {
      if (fate !== "held" && fate !== "waiting") continue
      const isBefore = before.call === place.call ? before.index < place.index : before.inLineAt < place.call
      if (isBefore) return this.violate("order", `${this.show(item)} came out before ${this.show(other)}`)
    }
  }
}

/**
 * Runs one sequence of operations, and answers what was violated.
 * @internal
 */
export const violations = <A>(
  subject: TrialSubject<A>,
  scenario: Scenario<A>,
  show: (item: unknown) => string
): ReadonlyArray<Violation> => {
  const trial = new Trial(subject, show)
  trial.run(scenario)
  return trial.violations
}

// -----------------------------------------------------------------------------
// what exactly is kept
// -----------------------------------------------------------------------------

const isAnswer = (line: string): boolean => line.startsWith("call ")

interface ModelCall<A> {
  readonly id: number
  rest: ReadonlyArray<A>
}

/** The queue as the model has it, with those who wait. */
class ModelQueue<A> {
  held: ReadonlyArray<A> = []
  readonly log: Array<string> = []
  readonly waiting: Array<ModelCall<A>> = []
  /** Calls that go on with their next item once the step is over. */
  private readonly ready: Array<ModelCall<A>> = []
  private calls = 0
  private readonly model: PolicyModel<A>
  private readonly show: (item: unknown) => string

  constructor(model: PolicyModel<A>, show: (item: unknown) => string) {
    this.model = model
    this.show = show
  }

  offerAll(items: ReadonlyArray<A>): void {
    let dropped = 0
    for (const [index, item] of items.entries()) {
      const outcome = this.tryOne(item)
      if (outcome === "dropped") dropped += 1
      if (outcome === "full") return this.surplus(items.slice(index))
    }
    if (dropped > 0) this.log.push("not all are in")
  }

  take(limit: number): void {
    const taken = this.held.slice(0, limit)
    this.held = this.held.slice(limit)
    for (const item of taken) this.log.push(`taken ${this.show(item)}`)
    this.admit()
  }

  cancel(pick: number): void {
    if (this.waiting.length === 0) return
    // Calls are picked by age, and wait in the order of their current items.
    const id = this.waiting.map((call) => call.id).sort((a, b) => a - b)[pick % this.waiting.length]
    this.waiting.splice(this.waiting.findIndex((call) => call.id === id), 1)
    this.log.push(`call ${id} interrupted`)
    this.admit()
  }

  /** Lets those go on whose item is in. */
  settle(): void {
    for (let call = this.ready.shift(); call !== undefined; call = this.ready.shift()) this.goOn(call)
  }

  private surplus(rest: ReadonlyArray<A>): void {
    const call = { id: this.calls++, rest }
    if (this.model.waits) this.goOn(call)
    else this.log.push(`call ${call.id} refused`)
  }

  private goOn(call: ModelCall<A>): void {
    while (call.rest.length > 0) {
      if (this.tryOne(call.rest[0]) === "full") {
        this.waiting.push(call)
        return
      }
      call.rest = call.rest.slice(1)
    }
    this.log.push(`call ${call.id} in`)
  }

  private tryOne(item: A) {
    const step = this.model.offer(this.held, item)
    // Room belongs to those who wait already; what coalesces needs none.
    if (step.outcome === "full" || (this.waiting.length > 0 && step.outcome !== "coalesced")) return "full"
    return this.become(step)
  }

  private become({ coalesced, dropped = [], held, outcome }: ReturnType<PolicyModel<A>["offer"]>) {
    this.held = held
    for (const [item, reason] of dropped) this.log.push(`dropped ${this.show(item)} ${reason}`)
    if (coalesced !== undefined) this.log.push(`coalesced ${this.show(coalesced[0])} ${this.show(coalesced[1])}`)
    return outcome
  }

  private admit(): void {
    while (this.waiting.length > 0) {
      const step = this.model.offer(this.held, this.waiting[0].rest[0])
      if (step.outcome === "full") return
      this.letIn(0, step)
      this.admitCoalescing()
    }
  }

  /** Whose key is in the queue now need not wait any longer. */
  private admitCoalescing(): void {
    for (let i = 0; i < this.waiting.length;) {
      const step = this.model.offer(this.held, this.waiting[i].rest[0])
      if (step.outcome === "coalesced") this.letIn(i, step)
      else i++
    }
  }

  private letIn(index: number, step: ReturnType<PolicyModel<A>["offer"]>): void {
    this.become(step)
    const [call] = this.waiting.splice(index, 1)
    call.rest = call.rest.slice(1)
    this.ready.push(call)
  }
}

/**
 * Runs one sequence of operations on the policy and on the model, and answers the first difference.
 * @internal
 */
export const difference = <A>(
  subject: TrialSubject<A>,
  model: PolicyModel<A>,
  { afterwards, ending, operations }: Scenario<A>,
  show: (item: unknown) => string
): string | undefined => {
  const expected = new ModelQueue(model, show)
  const log: Array<string> = []
  let dropped: Array<A> = []
  const driver = new PairDriver<A>(subject, {
    dropped: (item, reason) => {
      dropped.push(item)
      log.push(`dropped ${show(item)} ${reason}`)
    },
    coalesced: (replaced, item) => log.push(`coalesced ${show(replaced)} ${show(item)}`)
  })
  const fitsEver = (item: A) => (subject.weigh?.(item) ?? 1) <= subject.capacity

  const offerAll = (items: ReadonlyArray<A>) => {
    expected.offerAll(items)
    dropped = []
    leave(driver.backing.offerAll(items))
  }
  const offer = (item: A) => {
    expected.offerAll([item])
    dropped = []
    if (!driver.backing.offer(item)) leave([item])
  }
  const leave = (items: ReadonlyArray<A>) => {
    const surplus = items.filter((item) => !dropped.includes(item))
    if (surplus.length > 0) driver.surplus(surplus)
    else if (items.length > 0) log.push("not all are in")
  }
  const apply = (operation: Operation<A>) => {
    switch (operation._tag) {
      case "offer":
        return fitsEver(operation.item) ? offer(operation.item) : undefined
      case "offerAll":
        return offerAll(operation.items.filter(fitsEver))
      case "poll": {
        expected.take(1)
        const item = driver.backing.poll<typeof nothing>(nothing)
        if (item !== nothing) log.push(`taken ${show(item)}`)
        return driver.roomMade()
      }
      case "pollUpTo": {
        expected.take(operation.limit)
        for (const item of driver.backing.pollUpTo(operation.limit)) log.push(`taken ${show(item)}`)
        return driver.roomMade()
      }
      case "cancel": {
        expected.cancel(operation.pick)
        if (driver.waiting.length > 0) driver.cancel(driver.waiting[operation.pick % driver.waiting.length])
      }
    }
  }
  let step = 0
  const compare = (): string | undefined => {
    step += 1
    expected.settle()
    for (const { answer, id } of driver.settle()) log.push(`call ${id} ${isDeath(answer) ? String(answer) : answer}`)
    // Who hears of an answer first is no part of the law.
    const [is, shouldBe] = [log.splice(0), expected.log.splice(0)].map((lines) =>
      [...lines.filter((line) => !isAnswer(line)), ...lines.filter(isAnswer).sort()].join("; ")
    )
    if (is !== shouldBe) return `step ${step}: "${is}" instead of "${shouldBe}"`
    const lengths = `${driver.backing.length()} held, ${driver.strategy.surplusSize()} waiting`
    const expectedLengths = `${expected.held.length} held, ${expected.waiting.length} waiting`
    return lengths === expectedLengths ? undefined : `step ${step}: ${lengths} instead of ${expectedLengths}`
  }
  try {
    const more = ending === "take" ? afterwards.map((item): Operation<A> => ({ _tag: "offer", item })) : []
    const takeAll: Operation<A> = { _tag: "pollUpTo", limit: Infinity }
    for (const operation of [...operations, takeAll, ...more, takeAll]) {
      apply(operation)
      const found = compare()
      if (found !== undefined) return found
    }
    return undefined
  } finally {
    driver.dispose()
  }
}
