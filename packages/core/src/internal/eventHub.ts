/**
 * Announces events to whoever listens, and costs nothing while nobody does.
 *
 * `emit` is synchronous: events are collected, and one fiber publishes what there is. A slow subscriber slows nothing
 * down: the PubSub slides past it, and the numbers on the events tell it how many it has missed.
 */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Missed } from "../QueueEvent.ts"
import { Ring } from "./ring.ts"

/** How many events a subscriber may be behind before it misses some. */
const capacity = 4096

type Numbered<E> = { readonly number: number; readonly event: E | undefined }

/** @internal */
export class EventHub<in out E> {
  /** The events, from the moment of subscription until the queue has closed. */
  readonly stream: Stream.Stream<E | Missed>
  private readonly pubsub: PubSub.PubSub<Numbered<E>>
  private readonly collected = new Ring<Numbered<E>>()
  private nextNumber = 0
  private subscribers = 0
  private ended = false
  private wake: (() => void) | undefined

  constructor(pubsub: PubSub.PubSub<Numbered<E>>) {
    this.pubsub = pubsub
    this.stream = Stream.unwrapScoped(this.subscribe)
  }

  /** Whether anybody listens. Look before making an event. */
  get active(): boolean {
    return this.subscribers > 0
  }

  emit(event: E): void {
    if (this.subscribers === 0 || this.ended) return
    this.collect(event)
  }

  private collect(event: E | undefined): void {
    if (this.collected.length === capacity) this.collected.shift()
    this.collected.push({ number: this.nextNumber++, event })
    const wake = this.wake
    if (wake === undefined) return
    this.wake = undefined
    wake()
  }

  /** Publishes what has been collected. */
  private readonly publish: Effect.Effect<void> = Effect.suspend(() =>
    Effect.asVoid(PubSub.publishAll(this.pubsub, this.collected.shiftUpTo(capacity)))
  )

  /** Publishes for ever. */
  readonly run: Effect.Effect<never> = Effect.forever(
    Effect.zipRight(
      Effect.async<void>((resume) => {
        if (this.collected.length > 0) resume(Effect.void)
        else this.wake = () => resume(Effect.void)
      }),
      this.publish
    )
  )

  /** Ends every stream after the events so far. */
  readonly end: Effect.Effect<void> = Effect.suspend(() => {
    if (this.ended) return Effect.void
    this.ended = true
    this.collect(undefined)
    return this.publish
  })

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
      return Stream.fromQueue(subscription).pipe(
        Stream.mapAccum(this.nextNumber, (expected, { event, number }) => {
          // What had been collected for others before this subscription is not for this one.
          if (number < expected) return [expected, []]
          const events: Array<E | Missed | undefined> = number === expected
            ? [event]
            : [{ _tag: "Missed", events: number - expected }, event]
          return [number + 1, events]
        }),
        Stream.mapConcat((events) => events),
        Stream.takeWhile((event) => event !== undefined)
      )
    }
  )
}

/**
 * Makes a hub whose fiber lives in the scope; the streams end when the scope closes.
 * @internal
 */
export const makeEventHub = <E>(): Effect.Effect<EventHub<E>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const pubsub = yield* PubSub.sliding<Numbered<E>>(capacity)
    const hub = new EventHub(pubsub)
    yield* Effect.forkScoped(Effect.interruptible(hub.run))
    yield* Effect.addFinalizer(() => hub.end)
    return hub
  })
