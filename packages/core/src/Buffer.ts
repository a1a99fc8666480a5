/**
 * How an open batch holds its items: it appends them, or merges them by key. A buffer is pure data and functions, and
 * you can supply your own.
 *
 * @since 0.1.0
 */
import { identityOf, type Key } from "./Sharding.ts"

/**
 * How an open batch holds its items. `S` is its state; `push` may change it in place and returns it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Buffer<in out A, in out S> {
  /** A new, empty state. */
  readonly empty: () => S
  /** The state with one more item. */
  readonly push: (state: S, item: A) => S
  /** The number of items in the buffer. */
  readonly size: (state: S) => number
  /** The number of pushes since the buffer was empty. */
  readonly pushes: (state: S) => number
  /** The items, in the order in which they (or their keys) first arrived. */
  readonly items: (state: S) => ReadonlyArray<A>
}

/**
 * Keeps every item.
 *
 * @since 0.1.0
 * @category constructors
 */
export const appending = <A>(): Buffer<A, Array<A>> => ({
  empty: () => [],
  push: (state, item) => {
    state.push(item)
    return state
  },
  size: (state) => state.length,
  pushes: (state) => state.length,
  items: (state) => state
})

/**
 * The state of a merging buffer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Merging<A> {
  /** The position of each key in `items`. A Map, because a record cannot have a key such as `__proto__`. */
  readonly index: Map<string, number>
  readonly items: Array<A>
  readonly pushes: number
}

/**
 * A buffer that merges.
 *
 * @since 0.1.0
 * @category models
 */
export interface MergingBuffer<in out A> extends Buffer<A, Merging<A>> {
  readonly key: (item: A) => Key
  readonly merge: (held: A, next: A) => A
}

/**
 * Merges an item into the one of the same key. Keys keep the order in which they first arrived. They are those of
 * `Sharding`: `1` and `"1"` are the same.
 *
 * @example
 * ```ts
 * import { Buffer } from "@sluice/core"
 *
 * const totals = Buffer.merging(
 *   (item: { readonly route: string; readonly count: number }) => item.route,
 *   (held, next) => ({ route: held.route, count: held.count + next.count })
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const merging = <A>(
  key: (item: A) => Key,
  merge: (held: A, next: A) => A
): MergingBuffer<A> => ({
  key,
  merge,
  empty: () => ({ index: new Map(), items: [], pushes: 0 }),
  push: ({ index, items, pushes }, item) => {
    const k = identityOf(key(item))
    const position = index.get(k)
    if (position === undefined) index.set(k, items.push(item) - 1)
    else items[position] = merge(items[position], item)
    return { index, items, pushes: pushes + 1 }
  },
  size: (state) => state.items.length,
  pushes: (state) => state.pushes,
  items: (state) => state.items
})
