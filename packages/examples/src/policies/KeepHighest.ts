/**
 * A backpressure policy of one's own: when the queue is full, the items of highest priority are kept.
 *
 * What it decides, and why:
 *
 * - **Who goes.** The waiting item of lowest priority makes room for a new one of a higher priority. Among equals the
 *   newest goes, and a new item that is no higher than all that wait is itself dropped: first come, first served.
 * - **In what order they leave.** In the order in which they came, whatever their priority. A `WriteBehind` counts on
 *   that: `flushNow`, for one, waits until what was offered before it is done.
 * - **What it costs.** O(log n) for each offer and each take: a heap finds the lowest, a linked list keeps the order.
 *
 * A policy is a pair. What happens at once (evicting) belongs in `BackingQueue.offer`, because an offer that must not
 * wait never asks the strategy. The strategy answers what is left: here nothing, because nobody ever waits, so
 * `Strategy.answering` does.
 */
import { type BackingQueue, type Backpressure, QueueError, Strategy } from "@sluice/core"
import { LowestFirst, type Ranked } from "./LowestFirst.ts"

/** An item that waits, between the one that came before it and the one after. */
interface Entry<A> extends Ranked {
  readonly item: A
  older: Entry<A> | undefined
  newer: Entry<A> | undefined
}

class KeepHighestQueue<in out A> implements BackingQueue.BackingQueue<A> {
  private readonly limit: number
  private readonly report: BackingQueue.Report<A>
  private readonly priority: (item: A) => number
  private readonly lowestFirst = new LowestFirst<Entry<A>>()
  private oldest: Entry<A> | undefined
  private newest: Entry<A> | undefined
  private offered = 0

  constructor({ capacity, report }: Backpressure.PairOptions<A>, priority: (item: A) => number) {
    this.limit = capacity
    this.report = report
    this.priority = priority
  }

  offer(item: A): boolean {
    const priority = this.priority(item)
    if (this.length() < this.limit) return this.add(item, priority)
    const lowest = this.lowestFirst.first!
    // `!(a > b)` and not `a <= b`: a priority that is no number at all is never the higher one.
    if (!(priority > lowest.priority)) {
      // The reason says that the item has never been in. A `WriteBehind` takes an item that was dropped for any other
      // reason for one that was waiting.
      this.report.dropped(item, "drop-newest")
      return false
    }
    this.remove(lowest)
    this.add(item, priority)
    // Only now: whoever is told of the drop may offer again, and must find the queue as it will be.
    this.report.dropped(lowest.item, "drop-lowest")
    return true
  }

  private add(item: A, priority: number): true {
    // The priority is asked once and kept: that of the item may change while it waits.
    const entry: Entry<A> = {
      item,
      priority: Number.isNaN(priority) ? -Infinity : priority,
      sequence: this.offered++,
      place: 0,
      older: this.newest,
      newer: undefined
    }
    if (this.newest === undefined) this.oldest = entry
    else this.newest.newer = entry
    this.newest = entry
    this.lowestFirst.add(entry)
    return true
  }

  private remove(entry: Entry<A>): void {
    if (entry.older === undefined) this.oldest = entry.newer
    else entry.older.newer = entry.newer
    if (entry.newer === undefined) this.newest = entry.older
    else entry.newer.older = entry.older
    this.lowestFirst.remove(entry)
  }

  /** Answers what is not in. Each of it has been reported: nothing is left for the strategy to wait with. */
  offerAll(items: Iterable<A>): ReadonlyArray<A> {
    return Array.from(items).filter((item) => !this.offer(item))
  }

  poll<Default>(whenEmpty: Default): A | Default {
    const entry = this.oldest
    if (entry === undefined) return whenEmpty
    this.remove(entry)
    return entry.item
  }

  pollUpTo(limit: number): ReadonlyArray<A> {
    const items: Array<A> = []
    while (items.length < limit && this.oldest !== undefined) {
      items.push(this.oldest.item)
      this.remove(this.oldest)
    }
    return items
  }

  capacity(): number {
    return this.limit
  }

  length(): number {
    return this.lowestFirst.size
  }
}

/** Keeps the items for which `priority` is highest. A priority that is `NaN` counts as the lowest. */
export const keepHighest = <A>(priority: (item: A) => number): Backpressure.Policy<A> => ({
  _tag: "keepHighest",
  pair: (options) => {
    if (options.weigh !== undefined) {
      // One heavy item may need the room of several: this policy does not say which. It is said when the queue is made.
      throw new QueueError.InvalidOption({
        queue: options.name,
        field: "weigh",
        value: options.weigh,
        limit: "absent with keepHighest, which counts items"
      })
    }
    const backing = new KeepHighestQueue(options, priority)
    return { backing, strategy: Strategy.answering({ backing, report: options.report }) }
  }
})
