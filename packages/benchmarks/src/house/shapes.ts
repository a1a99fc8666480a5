/** The heap of the store in memory, and the list that a member leaves from the middle. */
import * as Option from "effect/Option"
import * as RedBlackTree from "effect/RedBlackTree"
import { Heap } from "../../../core/dist/internal/store/heap.js"
import { Chain, type Link } from "../../../core/dist/internal/shapes/chain.js"
import { type Plan, timedSync, timesAsFast } from "../Benchmark.ts"

const items = 1_000
const rounds = 40

/** Times at which batches are due: in no order, and none twice. */
const times = Array.from({ length: items }, (_, i) => i * 7_919 % items)

const expectNext = (time: number, next: number): void => {
  if (time !== next) throw new Error(`${time} instead of ${next}`)
}

const repeat = (run: () => void) => () => {
  for (let round = 0; round < rounds; round++) run()
}

const heap = timedSync(
  "Heap",
  items * rounds,
  repeat(() => {
    const heap = new Heap<number>((a, b) => a < b)
    for (const time of times) heap.push(time)
    for (let next = 0; next < items; next++) expectNext(heap.pop(), next)
  })
)

const tree = timedSync(
  "RedBlackTree",
  items * rounds,
  repeat(() => {
    let tree = RedBlackTree.empty<number, undefined>((a, b) => a < b ? -1 : a > b ? 1 : 0)
    for (const time of times) tree = RedBlackTree.insert(tree, time, undefined)
    for (let next = 0; next < items; next++) {
      const [time] = Option.getOrThrow(RedBlackTree.first(tree))
      expectNext(time, next)
      tree = RedBlackTree.removeFirst(tree, time)
    }
  })
)

/** Somebody who waits. */
class Waiter implements Link<Waiter> {
  previous: Waiter | undefined = undefined
  next: Waiter | undefined = undefined
  readonly number: number
  constructor(number: number) {
    this.number = number
  }
}

const waiters = Array.from({ length: items }, (_, number) => new Waiter(number))

const expectEmpty = (size: number): void => {
  if (size !== 0) throw new Error(`${size} are left`)
}

const chain = timedSync(
  "Chain",
  items * rounds,
  repeat(() => {
    const chain = new Chain<Waiter>()
    for (const waiter of waiters) chain.push(waiter)
    for (const time of times) chain.remove(waiters[time])
    expectEmpty(chain.size)
  })
)

const set = timedSync(
  "Set",
  items * rounds,
  repeat(() => {
    const set = new Set<Waiter>()
    for (const waiter of waiters) set.add(waiter)
    for (const time of times) set.delete(waiters[time])
    expectEmpty(set.size)
  })
)

export const shapes: Plan = {
  cases: [heap, tree, chain, set],
  ratios: [
    timesAsFast("heap, push and pop, against RedBlackTree", heap.name, tree.name),
    timesAsFast("list that members leave from the middle, against Set", chain.name, set.name)
  ]
}
