/**
 * What happens to an offered item that is neither in nor dropped.
 *
 * Everything that happens at once belongs in the backing queue (see `BackingQueue`). A strategy refuses the remaining
 * items or makes their offers wait. When the queue is shut down, it reports the items that are still in it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { BackingQueue, Report } from "./BackingQueue.ts"
import { inStretches, makeBreaks } from "./internal/fibers/breaks.ts"
import { wait, type WaitingRoom } from "./internal/intake/waitingRoom.ts"

/**
 * The result of offering an item again: it is in now, there is still no room, or the queue is shut down.
 *
 * @since 0.1.0
 * @category models
 */
export type Retried = "accepted" | "full" | "closed"

/**
 * Handles the items that a backing queue has neither taken nor reported as dropped.
 *
 * @since 0.1.0
 * @category models
 */
export interface Strategy<in out A> {
  /** How many items wait. */
  surplusSize(): number
  /**
   * Handles the remaining items, in order: returns true once all of them are in, false if one is refused. `retry`
   * offers one of them again; call it first, because other items may have left since. An interruption withdraws a
   * waiting item. If the queue is shut down meanwhile, it interrupts.
   */
  handleSurplus(items: Iterable<A>, retry: (item: A) => Retried): Effect.Effect<boolean>
  /** Called after items were taken, when there may be room. Moves the waiting items that fit into the backing queue. */
  onRoom(): void
  /** Ends every wait, and reports every remaining item as dropped, with reason `"shutdown"`. */
  readonly shutdown: Effect.Effect<void>
}

/**
 * Reports every item that is still in the queue as dropped, one by one, because the callback may look at the counts. If
 * there are many, other fibers run in between.
 */
const reportLeft = <A>(backing: BackingQueue<A>, report: Report<A>): Effect.Effect<void> =>
  Effect.flatMap(
    makeBreaks,
    (breaks) => inStretches(polled(backing), breaks.stretches(fewItems), (item) => report.dropped(item, "shutdown"))
  )

/** How many are reported without a look at the clock. */
const fewItems = 128

function* polled<A>(backing: BackingQueue<A>): Generator<A> {
  while (backing.length() > 0) yield backing.poll(undefined) as A
}

class Answering<in out A> implements Strategy<A> {
  readonly shutdown: Effect.Effect<void>

  constructor(backing: BackingQueue<A>, report: Report<A>) {
    this.shutdown = reportLeft(backing, report)
  }

  surplusSize(): number {
    return 0
  }

  handleSurplus(): Effect.Effect<boolean> {
    return Effect.succeed(false)
  }

  onRoom(): void {}
}

class Waiting<in out A> implements Strategy<A> {
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
  handleSurplus(items: Iterable<A>, retry: (item: A) => Retried): Effect.Effect<boolean> {
    const { fitsEver, room, timeoutMillis } = this.options
    const waitWith = (item: A) =>
      Effect.flatMap(wait(room, item, timeoutMillis, () => retry(item)), (ending) =>
        // Like Effect's own strategies: a shutdown interrupts those who wait.
        ending === "closed" ? Effect.interrupt : Effect.succeed(ending !== "timeout"))
    return Effect.suspend(() => {
      const surplus = Array.from(items)
      return surplus.every(fitsEver) ? Effect.every(surplus, waitWith) : Effect.succeed(false)
    })
  }

  onRoom(): void {
    this.options.room.admit()
  }
}

interface WaitingOptions<in out A> {
  readonly backing: BackingQueue<A>
  readonly report: Report<A>
  readonly room: WaitingRoom<A>
  /** How long one item waits. Undefined: without limit. */
  readonly timeoutMillis: number | undefined
  /** Whether the item could be taken by an empty queue. */
  readonly fitsEver: (item: A) => boolean
}

/**
 * Refuses at once: for `reject`, and for policies that never refuse.
 *
 * @since 0.1.0
 * @category constructors
 */
export const answering = <A>(options: {
  readonly backing: BackingQueue<A>
  readonly report: Report<A>
}): Strategy<A> => new Answering(options.backing, options.report)

/**
 * Whether a strategy never makes an offer wait, so that it need not be asked.
 *
 * @internal
 */
export const isAnswering = <A>(strategy: Strategy<A>): boolean => strategy instanceof Answering

/**
 * Makes offers wait in a waiting room, first come, first served.
 *
 * @internal
 */
export const waiting = <A>(options: WaitingOptions<A>): Strategy<A> => new Waiting(options)
