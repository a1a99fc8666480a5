/**
 * The options of a write, and the change that is announced once it is committed.
 *
 * @since 0.1.0
 */
import type { Stamp } from "@sluice/core/QueueEvent"

/**
 * The options of a write.
 *
 * @since 0.1.0
 * @category models
 */
export interface WriteOptions {
  /** For `topic`, for events and for errors. */
  readonly name: string
  /** What the `WriteChange` carries. Default: nothing. */
  readonly payload?: unknown
  /** The keys of the queries that run again once the write is committed, as `Reactivity` takes them. Default: none. */
  readonly reactivityKeys?: ReadonlyArray<unknown> | Readonly<Record<string, ReadonlyArray<unknown>>> | undefined
  /**
   * Whether it may run a second time, in a transaction of its own, after the group that it was in was rolled back
   * through no fault of its own: the first run leaves nothing in the database, but its other effects have happened.
   * Default: false.
   */
  readonly retryable?: boolean | undefined
}

/**
 * A write that has been committed, at `atMillis`. `queue` is the name of the coordinator.
 *
 * @since 0.1.0
 * @category models
 */
export interface WriteChange extends Stamp {
  readonly topic: string
  /** The name of the write. */
  readonly name: string
  readonly payload: unknown
  /** 1, 2, 3, ... in the order of the commits, over all topics of this coordinator. */
  readonly sequence: number
}
