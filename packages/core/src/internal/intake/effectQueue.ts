/**
 * Makes an Effect Queue from a pair, and views of our queues that Effect's producers offer to. The only file that knows
 * Effect's interfaces for that.
 */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as MutableQueue from "effect/MutableQueue"
import * as MutableRef from "effect/MutableRef"
import * as Option from "effect/Option"
import { pipeArguments } from "effect/Pipeable"
import * as Queue from "effect/Queue"
import * as Take from "effect/Take"
import type { BackingQueue } from "../../BackingQueue.ts"
import type { Outcome } from "../../QueueEvent.ts"
import { park } from "../fibers/parking.ts"
import type { Lifecycle } from "../fibers/lifecycle.ts"
import type { Retried, Strategy } from "../../Strategy.ts"

/** Effect's Queue. */
export type EffectQueue<A> = Queue.Queue<A>

/** The side of it that is taken from. */
export type EffectDequeue<A> = Queue.Dequeue<A>

/** The side of it that is offered to. */
export type EffectEnqueue<A> = Queue.Enqueue<A>

/** What a stream offers where it is run into an Effect Queue: a chunk, a defect, or its end. */
export type EffectTake<A> = Take.Take<A>

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

/** What views need of a queue. */
export interface Viewed<in A> {
  readonly offer: (item: A) => Effect.Effect<Outcome, { readonly _tag: string }>
  readonly unsafeOffer: (item: A) => string
  readonly capacity: number
  /** How many items are in its intake, or wait to get in. */
  readonly unsafeSize: () => number
  readonly lifecycle: Lifecycle
}

/** How a view offers what it is given. It answers whether all of it was taken. */
interface Offering<in T> {
  readonly offer: (value: T) => Effect.Effect<boolean>
  readonly unsafeOffer: (value: T) => boolean
}

/** A view has an end of its own, so that shutting it down ends nothing for others. */
class Enqueue<in T> implements Queue.Enqueue<T> {
  readonly [Queue.EnqueueTypeId] = { _In: (_: unknown) => _ }
  private readonly viewed: Viewed<never>
  private readonly offering: Offering<T>
  private readonly watchers = new Set<() => void>()
  private isOver = false

  constructor(viewed: Viewed<never>, offering: Offering<T>) {
    this.viewed = viewed
    this.offering = offering
  }

  pipe() {
    return pipeArguments(this, arguments)
  }

  /** Where the queue is closed, it is asked nevertheless: it counts what it refuses. */
  offer(value: T): Effect.Effect<boolean> {
    return Effect.suspend(() => this.isOver ? Effect.interrupt : this.offering.offer(value))
  }

  offerAll(values: Iterable<T>): Effect.Effect<boolean> {
    return every(values, (value) => this.offer(value))
  }

  unsafeOffer(value: T): boolean {
    return !this.isOver && this.offering.unsafeOffer(value)
  }

  capacity(): number {
    return this.viewed.capacity
  }

  isActive(): boolean {
    return !this.isOver && this.viewed.lifecycle.isOpen
  }

  unsafeSize(): Option.Option<number> {
    return this.isActive() ? Option.some(this.viewed.unsafeSize()) : Option.none()
  }

  get size(): Effect.Effect<number> {
    return Effect.suspend(() =>
      Option.match(this.unsafeSize(), { onNone: () => Effect.interrupt, onSome: Effect.succeed })
    )
  }

  get isEmpty(): Effect.Effect<boolean> {
    return Effect.map(this.size, (size) => size === 0)
  }

  get isFull(): Effect.Effect<boolean> {
    return Effect.map(this.size, (size) => size >= this.capacity())
  }

  get shutdown(): Effect.Effect<void> {
    return Effect.sync(() => {
      this.isOver = true
      for (const watcher of this.watchers) watcher()
    })
  }

  get isShutdown(): Effect.Effect<boolean> {
    return Effect.sync(() => !this.isActive())
  }

  get awaitShutdown(): Effect.Effect<void> {
    return park((resume) => {
      if (!this.isActive()) return resume(Effect.void)
      const { lifecycle } = this.viewed
      const watcher = () => {
        forget()
        resume(Effect.void)
      }
      const forget = () => {
        this.watchers.delete(watcher)
        lifecycle.watchers.delete(watcher)
      }
      this.watchers.add(watcher)
      lifecycle.watchers.add(watcher)
      return Effect.sync(forget)
    })
  }
}

/** Offers one after the other, also after one was refused. */
const every = <A>(values: Iterable<A>, offer: (value: A) => Effect.Effect<boolean>): Effect.Effect<boolean> =>
  Effect.reduce(values, true, (all, value) => Effect.map(offer(value), (isIn) => all && isIn))

/** A queue that is closed ends its producers as an Effect Queue does that was shut down: it interrupts them. */
const offeringItems = <A>(viewed: Viewed<A>): Offering<A> => ({
  offer: (item) =>
    Effect.matchEffect(viewed.offer(item), {
      onSuccess: (outcome) => Effect.succeed(outcome !== "dropped"),
      onFailure: ({ _tag }) => _tag === "QueueClosed" ? Effect.interrupt : Effect.succeed(false)
    }),
  unsafeOffer: (item) => ["accepted", "coalesced"].includes(viewed.unsafeOffer(item))
})

/** The end of a stream is not that of the queue. A defect of it has nobody else to tell: the offer dies of it. */
const offeringTakes = <A>({ offer, unsafeOffer }: Offering<A>): Offering<EffectTake<A>> => ({
  offer: Take.matchEffect({
    onEnd: Effect.succeed(true),
    onFailure: (cause) => Effect.failCause(cause),
    onSuccess: (items) => every(items, offer)
  }),
  unsafeOffer: Take.match({
    onEnd: () => true,
    onFailure: (cause) => {
      throw Cause.squash(cause)
    },
    onSuccess: (items) => Array.from(items, unsafeOffer).every((isIn) => isIn)
  })
})

/** A view whose producers offer items. */
export const enqueueOf = <A>(viewed: Viewed<A>): EffectEnqueue<A> => new Enqueue(viewed, offeringItems(viewed))

/** A view that a stream is run into. */
export const enqueueTakesOf = <A>(viewed: Viewed<A>): EffectEnqueue<EffectTake<A>> =>
  new Enqueue(viewed, offeringTakes(offeringItems(viewed)))
