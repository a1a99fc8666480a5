/**
 * What an offer does when its item is not in and was not dropped: `Queue.Strategy` for Effect's Queue.
 *
 * Everything that happens at once belongs in the backing queue (see `BackingQueue`). A strategy answers what is left,
 * or makes the offer wait; and when the queue is shut down it reports what is still in it.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as MutableQueue from "effect/MutableQueue"
import * as MutableRef from "effect/MutableRef"
import * as Queue from "effect/Queue"
import type { Report } from "./BackingQueue.ts"
import { inStretches, makeBreaks } from "./internal/fibers/breaks.ts"
import { wait, type WaitingRoom } from "./internal/intake/waitingRoom.ts"

const variance = { _A: (_: any) => _ }

type Takers<A> = MutableQueue.MutableQueue<Deferred.Deferred<A>>

/**
 * Reports everything that is still in the queue as dropped, one after the other: who is told may look at the counts.
 * Where it is much, others get their turn in between.
 */
const reportLeft = <A>(backing: Queue.BackingQueue<A>, report: Report<A>): Effect.Effect<void> =>
  Effect.flatMap(
    makeBreaks,
    (breaks) => inStretches(polled(backing), breaks.stretches(fewItems), (item) => report.dropped(item, "shutdown"))
  )

/** So many are reported without a look at the clock. */
const fewItems = 128

function* polled<A>(backing: Queue.BackingQueue<A>): Generator<A> {
  while (backing.length() > 0) yield backing.poll(undefined) as A
}

class Answering<in out A> implements Queue.Strategy<A> {
  readonly [Queue.QueueStrategyTypeId] = variance
  readonly shutdown: Effect.Effect<void>

  constructor(backing: Queue.BackingQueue<A>, report: Report<A>) {
    this.shutdown = reportLeft(backing, report)
  }

  surplusSize(): number {
    return 0
  }

  handleSurplus(): Effect.Effect<boolean> {
    return Effect.succeed(false)
  }

  onCompleteTakersWithEmptyQueue(): void {}

  unsafeOnQueueEmptySpace(): void {}
}

/** Hands items to takers that wait, as Effect's own strategies do after they have changed the backing queue. */
const completeTakers = <A>(backing: Queue.BackingQueue<A>, takers: Takers<A>): void => {
  while (backing.length() > 0) {
    const taker = MutableQueue.poll(takers, undefined)
    if (taker === undefined) return
    Deferred.unsafeDone(taker, Effect.succeed(backing.poll(undefined) as A))
  }
}

class Waiting<in out A> implements Queue.Strategy<A> {
  readonly [Queue.QueueStrategyTypeId] = variance
  readonly shutdown: Effect.Effect<void>
  private readonly options: WaitingOptions<A>

  constructor(options: WaitingOptions<A>) {
    this.options = options
    this.shutdown = Effect.zipRight(
      Effect.sync(() => options.room.close()),
      reportLeft(options.backing, options.report)
    )
  }

  surplusSize(): number {
    return this.options.room.size
  }

  /** Waits with one item after the other. Answers false where one can never fit, or was not in within the timeout. */
  handleSurplus(
    items: Iterable<A>,
    backing: Queue.BackingQueue<A>,
    takers: Takers<A>,
    isShutdown: MutableRef.MutableRef<boolean>
  ): Effect.Effect<boolean> {
    const { fitsEver, room, timeoutMillis } = this.options
    const waitWith = (item: A) => {
      const retry = () => {
        if (MutableRef.get(isShutdown)) return "closed"
        if (!backing.offer(item)) return "full"
        completeTakers(backing, takers)
        return "accepted"
      }
      return Effect.flatMap(wait(room, item, timeoutMillis, retry), (ending) =>
        // Like Effect's own strategies: a shutdown interrupts those who wait.
        ending === "closed" ? Effect.interrupt : Effect.succeed(ending !== "timeout"))
    }
    return Effect.suspend(() => {
      const surplus = Array.from(items)
      return surplus.every(fitsEver) ? Effect.every(surplus, waitWith) : Effect.succeed(false)
    })
  }

  onCompleteTakersWithEmptyQueue(): void {}

  unsafeOnQueueEmptySpace(backing: Queue.BackingQueue<A>, takers: Takers<A>): void {
    this.options.room.admit()
    completeTakers(backing, takers)
  }
}

interface WaitingOptions<in out A> {
  readonly backing: Queue.BackingQueue<A>
  readonly report: Report<A>
  readonly room: WaitingRoom<A>
  /** How long one item waits; without it, for ever. */
  readonly timeoutMillis: number | undefined
  /** Whether the item could be taken by an empty queue. */
  readonly fitsEver: (item: A) => boolean
}

/**
 * Answers false at once: for `reject`, and for policies that never refuse.
 *
 * @since 0.1.0
 * @category constructors
 */
export const answering = <A>(options: {
  readonly backing: Queue.BackingQueue<A>
  readonly report: Report<A>
}): Queue.Strategy<A> => new Answering(options.backing, options.report)

/**
 * Whether a strategy never makes an offer wait, so that there is no need to ask it.
 *
 * @internal
 */
export const isAnswering = <A>(strategy: Queue.Strategy<A>): boolean => strategy instanceof Answering

/**
 * Makes offers wait in a room, first come first served.
 *
 * @internal
 */
export const waiting = <A>(options: WaitingOptions<A>): Queue.Strategy<A> => new Waiting(options)
