/**
 * The argument of a handler: items, why they were flushed, and which attempt this is.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type { Concurrency } from "effect/Types"
import { withoutStack } from "./internal/shapes/withoutStack.ts"
import { PartialFailure } from "./QueueError.ts"

/**
 * Why a batch was flushed: it was large enough (`size`, `pushes`, `bytes`), its first item had waited long enough
 * (`linger`), a caller asked for it (`manual`), or the queue is closing (`shutdown`).
 *
 * @since 0.1.0
 * @category models
 */
export type Trigger = "size" | "pushes" | "bytes" | "linger" | "manual" | "shutdown"

/**
 * Every trigger, in the order of the documentation.
 *
 * @since 0.1.0
 * @category models
 */
export const triggers: ReadonlyArray<Trigger> = ["size", "pushes", "bytes", "linger", "manual", "shutdown"]

/**
 * A non-empty batch of items in the order in which they were offered.
 *
 * @since 0.1.0
 * @category models
 */
export interface Batch<out A> {
  readonly items: Arr.NonEmptyReadonlyArray<A>
  /** Why it was flushed. A retry keeps the trigger of the first attempt. */
  readonly trigger: Trigger
  /** 1 for the first attempt. */
  readonly attempt: number
  /** When the batch was opened, in milliseconds of Effect's Clock. */
  readonly openedAt: number
  /**
   * When its oldest item came in, in milliseconds of Effect's Clock. Exact, unless items before it were dropped: then
   * it may be too early, never too late.
   */
  readonly oldestAt: number
}

/**
 * Fails a handler for some of its items, each with an error of its own, or all with the same. The other items count as
 * done. The message says how many items failed, and why the first one did. A `BatchQueue` decides about each error
 * separately. A `WriteBehind` retries the failed items together, and its schedule gets the error of the first.
 *
 * An index outside of the batch makes the whole batch fail. When an item is retried, later items of the same key may
 * already be written.
 *
 * @example
 * ```ts
 * import { Batch } from "@sluice/core"
 * import { Effect } from "effect"
 *
 * const write = (batch: Batch.Batch<number>) => {
 *   const errors = batch.items.flatMap((n, index) => n < 0 ? [[index, `${n} is negative`] as const] : [])
 *   return errors.length > 0 ? Batch.failSome(errors) : Effect.void
 * }
 *
 * const first = Batch.failSome([0], "negative")
 * ```
 *
 * @since 0.1.0
 * @category errors
 */
export const failSome: {
  <E>(indexes: Iterable<number>, error: E): Effect.Effect<never, PartialFailure<E>>
  <E>(errors: Iterable<readonly [index: number, error: E]>): Effect.Effect<never, PartialFailure<E>>
} = (...args: [Iterable<number | readonly [number, unknown]>, unknown?]): Effect.Effect<never, PartialFailure<any>> => {
  const failed = new Map<number, unknown>()
  for (const each of args[0]) {
    const [index, error] = typeof each === "number" ? [each, args[1]] : each
    if (!failed.has(index)) failed.set(index, error)
  }
  const indexes = Array.from(failed.keys()).sort((a, b) => a - b)
  const errors = indexes.map((index) => failed.get(index))
  const error = args.length > 1 ? args[1] : errors[0]
  return withoutStack(() => new PartialFailure({ indexes, error, errors }))
}

/**
 * Handles a batch item by item: runs `f` for each item, also after others have failed, and then fails with
 * `Batch.failSome` for exactly those that did. Succeeds if all did.
 *
 * A defect in `f`, or an interruption, ends it at once: running items are interrupted, the others do not start, and the
 * whole batch has failed, including the items that were done.
 *
 * Without the batch, it is the handler itself: `process: Batch.forEach(send)`. Where an option beside it reads the errors
 * of the handler, such as `while: (error) => ...`, the compiler does not know them yet: write
 * `process: (batch) => Batch.forEach(batch, send)`.
 *
 * **Defaults**: one item after the other, in their order; with `concurrency`, that many at a time.
 *
 * @example
 * ```ts
 * import { Batch } from "@sluice/core"
 * import { Effect } from "effect"
 *
 * declare const send: (to: string) => Effect.Effect<void, "bounced" | "busy">
 *
 * const process = Batch.forEach(send, { concurrency: 10 })
 * const oneByOne = (batch: Batch.Batch<string>) => Batch.forEach(batch, send)
 * ```
 *
 * @since 0.1.0
 * @category handlers
 */
export const forEach: {
  <A, E, R>(
    f: (item: A, index: number) => Effect.Effect<unknown, E, R>,
    options?: { readonly concurrency?: Concurrency | undefined }
  ): (batch: Batch<A>) => Effect.Effect<void, PartialFailure<E>, R>
  <A, E, R>(
    batch: Batch<A>,
    f: (item: A, index: number) => Effect.Effect<unknown, E, R>,
    options?: { readonly concurrency?: Concurrency | undefined }
  ): Effect.Effect<void, PartialFailure<E>, R>
} = dual(
  (args) => typeof args[0] !== "function",
  <A, E, R>(
    batch: Batch<A>,
    f: (item: A, index: number) => Effect.Effect<unknown, E, R>,
    options?: { readonly concurrency?: Concurrency | undefined }
  ): Effect.Effect<void, PartialFailure<E>, R> =>
    Effect.suspend(() => {
      const failed = new Map<number, E>()
      const attempt = (item: A, index: number) =>
        Effect.catchAllCause(Effect.suspend(() => f(item, index)), (cause) => {
          const failure = Cause.failureOption(cause)
          if (failure._tag === "None" || Cause.isDie(cause) || Cause.isInterrupted(cause)) {
            return Effect.failCause(Cause.stripFailures(cause))
          }
          failed.set(index, failure.value)
          return Effect.void
        })
      return Effect.zipRight(
        Effect.forEach(batch.items, attempt, { concurrency: options?.concurrency, discard: true }),
        Effect.suspend(() => failed.size === 0 ? Effect.void : failSome(failed))
      )
    })
)
