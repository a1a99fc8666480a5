/**
 * Checks exactly what a policy keeps: runs the same operations on its pair and on a model, and compares them step by
 * step.
 */
import type { PolicyModel } from "../PolicyModel.ts"
import { isDeath, nothing, PairDriver } from "./pairDriver.ts"
import type { Operation, Scenario, TrialSubject } from "./policyScenario.ts"

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
