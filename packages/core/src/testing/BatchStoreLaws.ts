/**
 * The laws of a `BatchStore`. Run them on a store of your own.
 *
 * Each law is an Effect that needs the store and a `TestClock`, which it moves itself, and fails with a `LawFailure`.
 * No test runner is needed. Each uses queues of its own, named after it, which must be empty: run them on a fresh
 * store, or all of them on the same one, once.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { BatchStore } from "../BatchStore.ts"
import type { LeaseLost, StoreUnavailable } from "../QueueError.ts"
import { claimLaws } from "./laws/claimLaws.ts"
import { clockLaws } from "./laws/clockLaws.ts"
import { deadLetterLaws } from "./laws/deadLetterLaws.ts"
import { divideLaws } from "./laws/divideLaws.ts"
import { holdLaws } from "./laws/holdLaws.ts"
import { intakeLaws } from "./laws/intakeLaws.ts"
import type { LawFailure } from "./laws/lawTrial.ts"
import { leaseLaws } from "./laws/leaseLaws.ts"
import { portionLaws } from "./laws/portionLaws.ts"
import { turnLaws } from "./laws/turnLaws.ts"
import { versionLaws } from "./laws/versionLaws.ts"
import { randomLaws } from "./laws/storeModel.ts"

export { LawFailure } from "./laws/lawTrial.ts"

/**
 * One law.
 *
 * @since 0.1.0
 * @category models
 */
export interface Law {
  /** What the law says. */
  readonly name: string
  /** Fails if the law does not hold. Needs a `TestClock`. */
  readonly check: Effect.Effect<void, LawFailure | StoreUnavailable | LeaseLost, BatchStore>
}

/**
 * How often, and from which seed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  /** How many random sequences of operations. Default: 50. */
  readonly runs?: number | undefined
  /** The same seed tries the same sequences. Default: another one each time. */
  readonly seed?: number | undefined
}

/**
 * Every law of a store.
 *
 * @example
 * ```ts
 * import { BatchStore } from "@sluice/core"
 * import * as BatchStoreLaws from "@sluice/core/testing/BatchStoreLaws"
 * import { Effect, TestContext } from "effect"
 *
 * const checkAll = Effect.forEach(
 *   BatchStoreLaws.laws(),
 *   ({ check }) => check.pipe(Effect.provide(BatchStore.layerMemory), Effect.provide(TestContext.TestContext))
 * )
 * ```
 *
 * @since 0.1.0
 * @category laws
 */
export const laws = (settings: Settings = {}): ReadonlyArray<Law> => [
  ...intakeLaws,
  ...claimLaws,
  ...turnLaws,
  ...versionLaws,
  ...leaseLaws,
  ...holdLaws,
  ...clockLaws,
  ...divideLaws,
  ...deadLetterLaws,
  ...portionLaws,
  ...randomLaws(settings)
]

/**
 * Checks every law, one after another. Fails at the first that does not hold.
 *
 * @since 0.1.0
 * @category laws
 */
export const all = (
  settings?: Settings
): Effect.Effect<void, LawFailure | StoreUnavailable | LeaseLost, BatchStore> =>
  Effect.forEach(laws(settings), ({ check }) => check, { discard: true })
