/**
 * When batches have been open long enough, and when they have taken too long. All batches are given the same time, so
 * the one that began first is always the next.
 */
import type * as Clock from "effect/Clock"
import type { Resource } from "./keyedShard.ts"
import { monotonicMillis, Timekeeper } from "./timekeeper.ts"

/** @internal */
export class Deadlines<in out S> {
  readonly maxMillis: number
  private readonly minMillis: number
  private readonly clock: Clock.Clock
  private readonly timekeeper: Timekeeper
  /** Batches that are open, or will be; and batches that have not ended: by when they began. */
  private readonly gathering = new Set<Resource<S>>()
  private readonly bounded = new Set<Resource<S>>()

  constructor(clock: Clock.Clock, minMillis: number, maxMillis: number) {
    this.clock = clock
    this.minMillis = minMillis
    this.maxMillis = maxMillis
    this.timekeeper = new Timekeeper(clock, () => this.ring())
  }

  /** Keeps the time, until it is interrupted. */
  get run() {
    return this.timekeeper.run
  }

  /** A batch begins. */
  begin(resource: Resource<S>): void {
    resource.isDue = this.minMillis === 0
    if (this.maxMillis < Infinity) this.bound(resource)
    else if (this.minMillis > 0) resource.startedAt = monotonicMillis(this.clock)
    if (this.minMillis === 0) return
    this.gathering.add(resource)
    // Where there are others, it rings for them before.
    if (this.gathering.size === 1) this.timekeeper.within(this.minMillis)
  }

  /** From now on it may take so long. */
  bound(resource: Resource<S>): void {
    resource.startedAt = monotonicMillis(this.clock)
    resource.isOverdue = false
    this.bounded.add(resource)
    if (this.bounded.size === 1) this.timekeeper.within(this.maxMillis)
  }

  /** It takes no more operations. */
  close(resource: Resource<S>): void {
    this.gathering.delete(resource)
  }

  end(resource: Resource<S>): void {
    this.gathering.delete(resource)
    this.bounded.delete(resource)
    resource.isOverdue = false
  }

  private ring(): void {
    const now = monotonicMillis(this.clock)
    this.expire(this.gathering, this.minMillis, now, (resource) => {
      resource.isDue = true
    })
    this.expire(this.bounded, this.maxMillis, now, (resource) => {
      resource.isOverdue = true
    })
  }

  private expire(
    resources: Set<Resource<S>>,
    millis: number,
    now: number,
    mark: (resource: Resource<S>) => void
  ): void {
    for (const resource of resources) {
      const left = resource.startedAt + millis - now
      if (left > 0) return this.timekeeper.within(left)
      resources.delete(resource)
      mark(resource)
      resource.shard.schedule(resource)
    }
  }
}
