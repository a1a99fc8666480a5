/**
 * Makes an Effect Queue from a pair. The only file that knows Effect's two interfaces for that.
 */
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as MutableQueue from "effect/MutableQueue"
import * as MutableRef from "effect/MutableRef"
import * as Queue from "effect/Queue"
import type { BackingQueue } from "../../BackingQueue.ts"
import type { Retried, Strategy } from "../../Strategy.ts"

/** Effect's Queue. */
export type EffectQueue<A> = Queue.Queue<A>

/** The side of it that is taken from. */
export type EffectDequeue<A> = Queue.Dequeue<A>

const variance = { _A: (_: any) => _ }

type Takers<A> = MutableQueue.MutableQueue<Deferred.Deferred<A>>

class EffectBackingQueue<in out A> implements Queue.BackingQueue<A> {
  readonly [Queue.BackingQueueTypeId] = variance
  private readonly own: BackingQueue<A>

  constructor(own: BackingQueue<A>) {
    this.own = own
  }

  offer(item: A): boolean {
    return this.own.offer(item)
  }

  offerAll(items: Iterable<A>): Chunk.Chunk<A> {
    return Chunk.unsafeFromArray(this.own.offerAll(items))
  }

  poll<Default>(whenEmpty: Default): A | Default {
    return this.own.poll(whenEmpty)
  }

  pollUpTo(limit: number): Chunk.Chunk<A> {
    return Chunk.unsafeFromArray(this.own.pollUpTo(limit))
  }

  capacity(): number {
    return this.own.capacity()
  }

  length(): number {
    return this.own.length()
  }
}

class EffectStrategy<in out A> implements Queue.Strategy<A> {
  readonly [Queue.QueueStrategyTypeId] = variance
  readonly shutdown: Effect.Effect<void>
  private readonly own: Strategy<A>
  private readonly backing: BackingQueue<A>

  constructor({ backing, strategy }: Halves<A>) {
    this.own = strategy
    this.backing = backing
    this.shutdown = strategy.shutdown
  }

  surplusSize(): number {
    return this.own.surplusSize()
  }

  handleSurplus(
    items: Iterable<A>,
    _backing: unknown,
    takers: Takers<A>,
    isShutdown: MutableRef.MutableRef<boolean>
  ): Effect.Effect<boolean> {
    return this.own.handleSurplus(items, (item): Retried => {
      if (MutableRef.get(isShutdown)) return "closed"
      if (!this.backing.offer(item)) return "full"
      this.completeTakers(takers)
      return "accepted"
    })
  }

  onCompleteTakersWithEmptyQueue(): void {}

  unsafeOnQueueEmptySpace(_backing: unknown, takers: Takers<A>): void {
    this.own.onRoom()
    this.completeTakers(takers)
  }

  /** Hands items to takers that wait, as Effect's own strategies do after they have changed the backing queue. */
  private completeTakers(takers: Takers<A>): void {
    while (this.backing.length() > 0) {
      const taker = MutableQueue.poll(takers, undefined)
      if (taker === undefined) return
      Deferred.unsafeDone(taker, Effect.succeed(this.backing.poll(undefined) as A))
    }
  }
}

interface Halves<in out A> {
  readonly backing: BackingQueue<A>
  readonly strategy: Strategy<A>
}

export const makeQueue = <A>(pair: Halves<A>): Effect.Effect<EffectQueue<A>> =>
  Queue.make(new EffectBackingQueue(pair.backing), new EffectStrategy(pair))

export const shutdownQueue = <A>(queue: EffectQueue<A>): Effect.Effect<void> => Queue.shutdown(queue)
