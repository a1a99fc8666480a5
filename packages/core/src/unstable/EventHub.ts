/**
 * Announces events to subscribers, and costs nothing while there are none.
 *
 * `emit` is synchronous: it collects events, and one fiber publishes them. A slow subscriber does not slow the system
 * down: the PubSub slides past it, and the numbers on the events tell it how many it has missed.
 *
 * One fiber publishes every event with `publishAll`, because `unsafeOffer` of a sliding PubSub drops the newest event
 * where it should drop the oldest.
 *
 * Not stable: `@sluice/sql` and `@sluice/http` are built on it, and it may change in any release.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Bell } from "../internal/fibers/bell.ts"
import { Ring } from "../internal/shapes/ring.ts"
import type { Missed, Stamp } from "../QueueEvent.ts"
import { awaitEnd } from "../internal/fibers/fiber.ts"
import { forkInterruptible } from "../internal/fibers/forking.ts"

/**
 * How many events a subscriber may be behind before it misses some.
 *
 * @since 0.1.0
 * @category constants
 */
export const capacity = 4096

/**
 * An event as it is emitted: the hub adds the queue's name and the time.
 *
 * @since 0.1.0
 * @category models
 */
export type Unstamped<E> = E extends unknown ? Omit<E, keyof Stamp> : never

type Numbered<E> = { readonly number: number; readonly event: E | undefined }

/**
 * A hub of events of type `E`. Made by `make`.
 *
 * @since 0.1.0
 * @category models
 */
export class EventHub<in out E extends Stamp> {
  /** The events, from the moment of subscription until the queue has closed. */
  readonly stream: Stream.Stream<E | Missed>
  private readonly pubsub: PubSub.PubSub<Numbered<E>>
  private readonly collected = new Ring<Numbered<E>>()
  private nextNumber = 0
  private subscribers = 0
  private ended = false
  private readonly bell = new Bell(() => this.collected.length > 0)

  private readonly queue: string
  private readonly clock: Clock.Clock

  constructor(queue: string, clock: Clock.Clock, pubsub: PubSub.PubSub<Numbered<E>>) {
    this.queue = queue
    this.clock = clock
    this.pubsub = pubsub
    this.stream = Stream.unwrapScoped(this.subscribe)
  }

  /** Whether there are subscribers. Check it before making an event. */
  get active(): boolean {
    return this.subscribers > 0
  }

  /** Announces an event, with the queue's name and the time. Never waits, never fails. */
  emit(event: Unstamped<E>): void {
    if (this.subscribers === 0 || this.ended) return
    this.collect(this.stamp(event))
  }

  private stamp(event: Unstamped<E>): E {
    return { ...event, queue: this.queue, atMillis: this.clock.unsafeCurrentTimeMillis() } as unknown as E
  }

  private collect(event: E | undefined): void {
    if (this.collected.length === capacity) this.collected.shift()
    this.collected.push({ number: this.nextNumber++, event })
    this.bell.ring()
  }

  /** Publishes until the end. Only one fiber may run it, or the end could overtake an event. */
  readonly run: Effect.Effect<void> = Effect.whileLoop({
    while: () => !this.ended || this.collected.length > 0,
    body: () => this.publish,
    step: () => {}
  })

  private readonly publish: Effect.Effect<void> = Effect.zipRight(
    this.bell.wait,
    Effect.suspend(() => PubSub.publishAll(this.pubsub, this.collected.shiftUpTo(capacity)))
  )

  /** Ends every stream after the events so far. `run` ends once it has published them. */
  unsafeEnd(): void {
    if (this.ended) return
    this.ended = true
    this.collect(undefined)
  }

  /** Told at the time of the event after those that were missed, or now if there is none. */
  private missed(events: number, next: E | undefined): Missed {
    const atMillis = next === undefined ? this.clock.unsafeCurrentTimeMillis() : next.atMillis
    return { _tag: "Missed", queue: this.queue, atMillis, events }
  }

  private readonly subscribe: Effect.Effect<Stream.Stream<E | Missed>, never, Scope.Scope> = Effect.gen(
    this,
    function*() {
      if (this.ended) return Stream.empty
      const subscription = yield* PubSub.subscribe(this.pubsub)
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          this.subscribers += 1
        }),
        () =>
          Effect.sync(() => {
            this.subscribers -= 1
          })
      )
      // Checked last: a later end is in the subscription.
      if (this.ended) return Stream.empty
      return Stream.fromQueue(subscription).pipe(
        Stream.mapAccum(this.nextNumber, (expected, { event, number }) => {
          // Events that were collected before this subscription are not for it.
          if (number < expected) return [expected, []]
          const events: Array<E | Missed | undefined> = number === expected
            ? [event]
            : [this.missed(number - expected, event), event]
          return [number + 1, events]
        }),
        Stream.mapConcat((events) => events),
        Stream.takeWhile((event) => event !== undefined)
      )
    }
  )
}

/**
 * Makes the hub of a queue. Its streams end when the scope closes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E extends Stamp>(queue: string): Effect.Effect<EventHub<E>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const pubsub = yield* PubSub.sliding<Numbered<E>>(capacity)
    const hub = new EventHub<E>(queue, yield* Effect.clock, pubsub)
    yield* Effect.acquireRelease(
      forkInterruptible(hub.run),
      (fiber) => Effect.zipRight(Effect.sync(() => hub.unsafeEnd()), awaitEnd(fiber))
    )
    return hub
  })
