/**
 * Holds the items of a queue: the interface of a backing queue, and ring buffers that implement it.
 *
 * Everything that a policy does at once when the queue is full (evicting, dropping, coalescing) happens here, in
 * `offer`. A strategy makes offers wait; an offer that must not wait never asks it. See `Strategy`.
 *
 * `offer` returns whether the item is in. If it is not, either this queue has reported it as dropped, or it has
 * reported nothing and the strategy decides.
 *
 * @since 0.1.0
 */
import { KeyIndex } from "./internal/intake/keyIndex.ts"
import { byKey, type Identity } from "./internal/intake/keys.ts"
import { Ring } from "./internal/shapes/ring.ts"
import { isWeight } from "./internal/intake/weight.ts"
import type { DropReason } from "./QueueEvent.ts"
import type { Key } from "./Sharding.ts"

/**
 * Receives the items that a backing queue or a strategy has dropped or coalesced. Call it once for each item, after the
 * state has changed, because the callback may offer again at once.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report<in A> {
  readonly dropped: (item: A, reason: DropReason) => void
  readonly coalesced: (replaced: A, item: A) => void
}

/**
 * Holds the items of a queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface BackingQueue<in out A> {
  /**
   * Offers an item, and returns whether it is in. If it is not, either it was reported as dropped, or the strategy
   * decides.
   */
  offer(item: A): boolean
  /** Offers items in order, and returns those that are not in. */
  offerAll(items: Iterable<A>): ReadonlyArray<A>
  /** Removes and returns the next item, or returns `whenEmpty`. */
  poll<Default>(whenEmpty: Default): A | Default
  /** Removes and returns up to `limit` items, in order. */
  pollUpTo(limit: number): ReadonlyArray<A>
  /** How much it can hold. */
  capacity(): number
  /** How many items it holds now. */
  length(): number
}

/**
 * The options of every backing queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<in A> {
  /** How much it holds, in items, or in weight where `weigh` is given. At least 1. */
  readonly capacity: number
  /** The weight of an item, an integer of at least 1. Asked when the item comes in, and remembered. Default: 1. */
  readonly weigh?: ((item: A) => number) | undefined
  readonly report: Report<A>
  /**
   * How many bytes an item has, where the batches of the queue are bounded by them. Asked when the item comes in, and
   * of what it is merged to, and remembered. It does not throw. Default: they are not counted.
   */
  readonly measure?: ((item: A) => number) | undefined
  /** While it answers true, items that need room are refused: others wait for that room already. Default: never. */
  readonly reserved?: (() => boolean) | undefined
}

/**
 * Whether there is room for several items at once: `"now"`, `"later"`, or `"never"` because they exceed the capacity.
 *
 * @internal
 */
export type Room = "now" | "later" | "never"

/** A ring that refuses what does not fit. The other queues differ in `whenFull`. */
class RingBackingQueue<in out A> implements BackingQueue<A> {
  protected readonly ring = new Ring<A>()
  /** The weights of the items in the ring, where they are weighed: an item may change while it waits. */
  private readonly weights: Ring<number> | undefined
  private readonly weigh: ((item: A) => number) | undefined
  private readonly reserved: (() => boolean) | undefined
  private readonly measure: ((item: A) => number) | undefined
  /** The bytes of the items in the ring, where they are measured. */
  private readonly sizes: Ring<number> | undefined
  protected readonly limit: number
  protected readonly report: Report<A>
  private used = 0
  private bytes = 0

  constructor(options: Options<A>) {
    this.limit = options.capacity
    this.report = options.report
    this.reserved = options.reserved
    this.weigh = options.weigh
    this.weights = options.weigh === undefined ? undefined : new Ring()
    this.measure = options.measure
    this.sizes = options.measure === undefined ? undefined : new Ring()
  }

  /**
   * Called when there is no room. Makes room and takes the item, or reports it as dropped, or leaves it to the
   * strategy.
   */
  protected whenFull(_item: A, _weight: number): boolean {
    return false
  }

  offer(item: A): boolean {
    const weight = this.weigh === undefined ? 1 : this.weigh(item)
    // No policy can make room for such a weight, and nothing may be dropped for it: NaN would evict forever.
    if (this.weigh !== undefined && !isWeight(weight, this.limit)) return false
    return this.fits(weight) ? this.push(item, weight) : this.whenFull(item, weight)
  }

  protected fits(weight: number): boolean {
    return this.used + weight <= this.limit && (this.reserved === undefined || !this.reserved())
  }

  /** Asked before several items are offered, all or none. Each has a weight that is valid. */
  roomFor(items: ReadonlyArray<A>): Room {
    const weigh = this.weigh
    return this.roomForWeight(weigh === undefined ? items.length : items.reduce((sum, item) => sum + weigh(item), 0))
  }

  protected roomForWeight(weight: number): Room {
    if (weight === 0 || this.fits(weight)) return "now"
    return weight > this.limit ? "never" : "later"
  }

  /** Adds to each of some items how often it waits. */
  countInto(counts: Map<A, number>): void {
    for (let at = this.ring.head; at < this.ring.tail; at++) countOne(this.ring.at(at), counts)
  }

  /** The bytes of all items; undefined where they are not measured. */
  unsafeBytes(): number | undefined {
    return this.sizes === undefined ? undefined : this.bytes
  }

  /** How many of the oldest items fit into `bytes` together: at least one, and at most `most`. */
  unsafeCountWithin(bytes: number, most: number): number {
    const sizes = this.sizes!
    const end = sizes.head + Math.min(most, sizes.length)
    let at = sizes.head
    for (let left = bytes; at < end; at++) {
      left -= sizes.at(at)
      if (left < 0) break
    }
    return Math.max(1, at - sizes.head)
  }

  /** Replaces the item at a position. */
  protected replace(position: number, item: A): void {
    if (this.sizes !== undefined) {
      const bytes = this.measure!(item)
      this.bytes += bytes - this.sizes.at(position)
      this.sizes.set(position, bytes)
    }
    this.ring.set(position, item)
  }

  protected push(item: A, weight: number): true {
    if (this.sizes !== undefined) {
      const bytes = this.measure!(item)
      this.sizes.push(bytes)
      this.bytes += bytes
    }
    this.ring.push(item)
    this.weights?.push(weight)
    this.used += weight
    return true
  }

  protected shift(): A {
    this.used -= this.weights === undefined ? 1 : this.weights.shift()
    if (this.sizes !== undefined) this.bytes -= this.sizes.shift()
    return this.ring.shift()
  }

  offerAll(items: Iterable<A>): ReadonlyArray<A> {
    const iterator = items[Symbol.iterator]()
    for (let next = iterator.next(); !next.done; next = iterator.next()) {
      if (this.offer(next.value)) continue
      const surplus = [next.value]
      for (next = iterator.next(); !next.done; next = iterator.next()) surplus.push(next.value)
      return surplus
    }
    return []
  }

  poll<Default>(whenEmpty: Default): A | Default {
    return this.ring.length === 0 ? whenEmpty : this.shift()
  }

  pollUpTo(limit: number): ReadonlyArray<A> {
    const count = Math.min(Math.ceil(limit), this.ring.length)
    // Not `count <= 0`, because of NaN.
    if (!(count > 0)) return []
    const items = new Array<A>(count)
    for (let i = 0; i < count; i++) items[i] = this.shift()
    return items
  }

  capacity(): number {
    return this.limit
  }

  length(): number {
    return this.ring.length
  }
}

class DroppingNewest<in out A> extends RingBackingQueue<A> {
  override roomFor(): Room {
    return "now"
  }

  protected override whenFull(item: A): boolean {
    this.report.dropped(item, "drop-newest")
    return false
  }

  // Each item of the surplus is dropped by itself: one that is lighter may still fit.
  override offerAll(items: Iterable<A>): ReadonlyArray<A> {
    const dropped: Array<A> = []
    for (const item of items) if (!this.offer(item)) dropped.push(item)
    return dropped
  }
}

class DroppingOldest<in out A> extends RingBackingQueue<A> {
  override roomFor(): Room {
    return "now"
  }

  protected override whenFull(item: A, weight: number): boolean {
    const evicted = this.shift()
    let more: Array<A> | undefined
    while (!this.fits(weight)) (more ??= []).push(this.shift())
    this.push(item, weight)
    this.report.dropped(evicted, "drop-oldest")
    if (more !== undefined) { for (const other of more) this.report.dropped(other, "drop-oldest") }
    return true
  }
}

/**
 * What a coalescing queue does with a new key when it is full.
 *
 * @since 0.1.0
 * @category models
 */
export type WhenFull = "refuse" | "drop-newest" | "drop-oldest"

/**
 * Holds one item per key, at the place where the key first arrived. The index maps a key to an absolute position, so it
 * stays valid when the head is taken or dropped.
 */
class Coalescing<in out A> extends RingBackingQueue<A> {
  private readonly index = new KeyIndex()
  private readonly identity: Identity<A>
  private readonly merge: ((queued: A, offered: A) => A) | undefined
  private readonly full: WhenFull

  constructor(
    options: Options<A>,
    identity: Identity<A>,
    merge: ((queued: A, offered: A) => A) | undefined,
    full: WhenFull
  ) {
    super(options)
    this.identity = identity
    this.merge = merge
    this.full = full
  }

  override offer(item: A): boolean {
    const key = this.identity.of(item)
    const position = this.index.get(key)
    if (position < 0) this.identity.check(key)
    if (position < this.ring.head) return this.fits(1) ? this.pushKey(key, item) : this.newKeyWhenFull(key, item)
    const queued = this.ring.at(position)
    this.replace(position, this.merge === undefined ? item : this.merge(queued, item))
    this.report.coalesced(queued, item)
    return true
  }

  override roomFor(items: ReadonlyArray<A>): Room {
    if (this.full !== "refuse") return "now"
    const keys = new Set(items.map(this.identity.of))
    // As many as that are in at once in the end.
    if (keys.size > this.limit) return "never"
    let fresh = 0
    for (const key of keys) if (this.index.get(key) < this.ring.head) fresh += 1
    return this.roomForWeight(fresh)
  }

  private newKeyWhenFull(key: unknown, item: A): boolean {
    switch (this.full) {
      case "refuse":
        return false
      case "drop-newest":
        this.report.dropped(item, "drop-newest")
        return false
      case "drop-oldest": {
        const evicted = this.shift()
        this.pushKey(key, item)
        this.report.dropped(evicted, "drop-oldest")
        return true
      }
    }
  }

  private pushKey(key: unknown, item: A): true {
    this.index.set(key, this.ring.tail, this.ring.head)
    return this.push(item, 1)
  }

  // A later item of the surplus may still coalesce, even if earlier ones did not get in, but only if those are not
  // waiting: an item must not overtake an older one of its key.
  override offerAll(items: Iterable<A>): ReadonlyArray<A> {
    if (this.full === "refuse") return super.offerAll(items)
    const dropped: Array<A> = []
    for (const item of items) if (!this.offer(item)) dropped.push(item)
    return dropped
  }
}

/**
 * Whether there is room for all of these items. Of a user's own backing queue, only the length and the capacity are
 * known.
 *
 * @internal
 */
export const roomFor = <A>(backing: BackingQueue<A>, items: ReadonlyArray<A>): Room => {
  if (backing instanceof RingBackingQueue) return backing.roomFor(items)
  if (items.length > backing.capacity()) return "never"
  return backing.length() + items.length <= backing.capacity() ? "now" : "later"
}

/**
 * The bytes of all items; undefined where they are not measured.
 *
 * @internal
 */
export const unsafeBytes = <A>(backing: BackingQueue<A>): number | undefined =>
  backing instanceof RingBackingQueue ? backing.unsafeBytes() : undefined

/**
 * How many of the oldest items fit into `bytes` together, at least one. The items must be measured.
 *
 * @internal
 */
export const unsafeCountWithin = <A>(backing: BackingQueue<A>, bytes: number, most: number): number =>
  (backing as RingBackingQueue<A>).unsafeCountWithin(bytes, most)

/**
 * Adds one to the count of an item, if the item is counted.
 *
 * @internal
 */
export const countOne = <A>(item: A, counts: Map<A, number>): void => {
  const count = counts.get(item)
  if (count !== undefined) counts.set(item, count + 1)
}

/**
 * Adds to each counted item how often it waits. The contents of a user's own backing queue are not known.
 *
 * @internal
 */
export const countInto = <A>(backing: BackingQueue<A>, counts: Map<A, number>): void => {
  if (backing instanceof RingBackingQueue) backing.countInto(counts)
}

/**
 * Refuses an item that does not fit, and leaves it to the strategy.
 *
 * @since 0.1.0
 * @category constructors
 */
export const refusing = <A>(options: Options<A>): BackingQueue<A> => new RingBackingQueue(options)

/**
 * Drops the new item when it does not fit.
 *
 * @since 0.1.0
 * @category constructors
 */
export const droppingNewest = <A>(options: Options<A>): BackingQueue<A> => new DroppingNewest(options)

/**
 * Drops the oldest items until the new one fits.
 *
 * @since 0.1.0
 * @category constructors
 */
export const droppingOldest = <A>(options: Options<A>): BackingQueue<A> => new DroppingOldest(options)

/**
 * Keeps the latest item of each key, in place. `whenFull` applies to a new key that does not fit. Items are not
 * weighed. Keys are those of `Sharding`; for anything else, `offer` throws `InvalidKey`.
 *
 * `merge` is called before anything changes: if it throws, the queue is unchanged.
 *
 * @since 0.1.0
 * @category constructors
 */
export const coalescing = <A>(
  options: Omit<Options<A>, "weigh"> & {
    readonly key: (item: A) => Key
    readonly merge?: ((queued: A, offered: A) => A) | undefined
    readonly whenFull: WhenFull
  }
): BackingQueue<A> => coalescingBy(options, byKey("queue", options.key))

/**
 * Keeps the latest item of each identity.
 *
 * @internal
 */
export const coalescingBy = <A>(
  options: Omit<Options<A>, "weigh"> & {
    readonly merge?: ((queued: A, offered: A) => A) | undefined
    readonly whenFull: WhenFull
  },
  identity: Identity<A>
): BackingQueue<A> => new Coalescing(options, identity, options.merge, options.whenFull)
