/**
 * The laws of every policy: tracks every item while a pair is driven by hand.
 */
import type { DropReason } from "../../QueueEvent.ts"
import { identityOf } from "../../Sharding.ts"
import { type Call, isDeath, nothing, PairDriver } from "./pairDriver.ts"
import type { Operation, Scenario, TrialLaw, TrialSubject, Violation } from "./policyScenario.ts"

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

/** The place of an item in line: after the items that were in line before it was offered. */
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

  /** The queue is empty and no offer waits: items that did not come out were refused. */
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
