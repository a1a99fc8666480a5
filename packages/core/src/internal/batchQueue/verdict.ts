/**
 * Decides what happens to the items for which a handler has failed.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Decision from "../../Decision.ts"
import type { DeadLetterReason } from "../../QueueEvent.ts"
import type { ClaimedBatch, Failure } from "../../QueueStore.ts"
import { prettyOf } from "../fibers/failure.ts"
import type { Retrying } from "../fibers/retrying.ts"

/** One item that has failed. */
export interface FailedItem {
  /** Where it is in its batch. */
  readonly index: number
  readonly error: unknown
  readonly cause: Cause.Cause<unknown>
  readonly decision: Decision.Decision
  /** Whether it was found by trying smaller and smaller parts: then what becomes of it is its own affair. */
  readonly isAlone: boolean
}

/** What becomes of an item. */
export type Fate =
  /** It is tried again when its schedule says so. */
  | { readonly _tag: "Again"; readonly delayMillis: number; readonly failure: Failure; readonly scheduleState: unknown }
  /** It rests in the store for this long, without asking its schedule. */
  | {
    readonly _tag: "Rests"
    readonly delayMillis: number
    readonly failure: Failure | undefined
    readonly giveBack: boolean
  }
  | { readonly _tag: "Dies"; readonly reason: DeadLetterReason; readonly failure: Failure }
  | { readonly _tag: "Discarded" }

/** Items that stay together, because the same becomes of them. */
export interface Bundle {
  readonly indexes: ReadonlyArray<number>
  readonly cause: Cause.Cause<unknown>
  readonly fate: Exclude<Fate, { readonly _tag: "Discarded" }>
}

export interface Verdict {
  readonly bundles: ReadonlyArray<Bundle>
  readonly discarded: ReadonlyArray<FailedItem>
}

export interface Options {
  readonly retrying: Retrying
  /** Undefined: what has run out of retries is set aside. */
  readonly cooldownMillis: number | undefined
  readonly maxDeliveries: number
  readonly clock: Clock.Clock
  /** A schedule of the user may die: then there is no retry, and the reason is told. */
  readonly died: (cause: Cause.Cause<unknown>) => Effect.Effect<void>
}

/** What is judged about: a claimed batch, or several that were merged. */
export interface Judged {
  readonly claims: ReadonlyArray<ClaimedBatch>
  readonly attempt: number
  readonly failedAtMillis: number
  readonly scheduleState: unknown
}

/** What is kept of an error's text. */
export const longestError = 4096

/** Why something failed, as text that a store can keep. */
export const textOf = (cause: Cause.Cause<unknown>): string =>
  prettyOf(cause).slice(0, longestError).replaceAll("\0", "")

/** A rest at the least, or what rests not at all would be tried without end. */
const leastRestMillis = 10

export class Judge {
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  /** Says what becomes of each item, and which of them stay together. */
  judge(judged: Judged, failed: ReadonlyArray<FailedItem>): Effect.Effect<Verdict> {
    return Effect.gen(this, function*() {
      const nowMillis = this.options.clock.unsafeCurrentTimeMillis()
      // Of items that have failed with the very same error the schedule is asked once.
      const known = new Map<unknown, readonly [FailedItem, Fate]>()
      const fates: Array<readonly [FailedItem, Fate]> = []
      for (const item of failed) {
        const same = item.isAlone ? undefined : known.get(item.error)
        const fate = same?.[0].decision === item.decision ? same[1] : yield* this.fateOf(judged, item, nowMillis)
        known.set(item.error, [item, fate])
        fates.push([item, fate])
      }
      return bundled(fates)
    })
  }

  private fateOf(judged: Judged, { cause, decision, error }: FailedItem, nowMillis: number): Effect.Effect<Fate> {
    const failedAtMillis = Math.min(judged.failedAtMillis, nowMillis)
    const failure = { attempts: judged.attempt, failedAtMillis, error: textOf(cause) }
    switch (decision._tag) {
      case "Discard":
        return Effect.succeed({ _tag: "Discarded" })
      case "DeadLetter":
        return Effect.succeed({ _tag: "Dies", reason: "rejected", failure })
      case "RetryAfter": {
        const delayMillis = Math.max(leastRestMillis, decision.millis)
        return Effect.succeed(
          decision.counts
            ? this.rests(judged, delayMillis, failure)
            : { _tag: "Rests", delayMillis, failure: undefined, giveBack: true }
        )
      }
      case "Retry":
        return Effect.map(this.ask(judged, error, cause, failedAtMillis, nowMillis), ({ delayMillis, state }) => {
          if (delayMillis !== undefined) return { _tag: "Again", delayMillis, failure, scheduleState: state }
          const { cooldownMillis } = this.options
          if (cooldownMillis === undefined) return { _tag: "Dies", reason: "retries-exhausted", failure }
          // After its rest the schedule begins anew.
          return this.rests(judged, Math.max(leastRestMillis, cooldownMillis), failure, {
            ...failure,
            attempts: 0,
            failedAtMillis: 0
          })
        })
    }
  }

  private rests(judged: Judged, delayMillis: number, failure: Failure, remembered = failure): Fate {
    return this.isExhausted(judged.claims)
      ? { _tag: "Dies", reason: "deliveries-exhausted", failure }
      : { _tag: "Rests", delayMillis, failure: remembered, giveBack: false }
  }

  /** Whether it was delivered as often as it may be. */
  isExhausted(claims: ReadonlyArray<ClaimedBatch>): boolean {
    return claims.some(({ deliveries }) => deliveries >= this.options.maxDeliveries)
  }

  private ask(
    { attempt, scheduleState }: Judged,
    error: unknown,
    cause: Cause.Cause<unknown>,
    firstAtMillis: number,
    nowMillis: number
  ) {
    const { died, retrying } = this.options
    const asked = retrying.next({ attempts: attempt - 1, firstAtMillis, nowMillis, error, state: scheduleState })
    return Effect.catchAllCause(
      asked,
      (death) => Effect.as(died(Cause.sequential(cause, death)), { delayMillis: undefined, state: undefined })
    )
  }
}

/**
 * Each that dies is alone, and so is each that was found alone; the others stay together where the same becomes of
 * them.
 */
const bundled = (fates: ReadonlyArray<readonly [FailedItem, Fate]>): Verdict => {
  const bundles: Array<Bundle> = []
  const discarded: Array<FailedItem> = []
  const together = new Map<string, { at: number; readonly indexes: Array<number> }>()
  for (const [item, fate] of fates) {
    const { cause, index, isAlone } = item
    if (fate._tag === "Discarded") {
      discarded.push(item)
      continue
    }
    if (isAlone || fate._tag === "Dies") {
      bundles.push({ indexes: [index], cause, fate })
      continue
    }
    const key = fate._tag === "Again" ? "again" : `${fate.giveBack} ${fate.delayMillis}`
    const same = together.get(key)
    if (same === undefined) {
      const indexes = [index]
      together.set(key, { at: bundles.length, indexes })
      bundles.push({ indexes, cause, fate })
      continue
    }
    same.indexes.push(index)
    const { fate: held } = bundles[same.at]
    // None of them is tried earlier than its own schedule says.
    if (fate._tag === "Again" && held._tag === "Again" && fate.delayMillis > held.delayMillis) {
      bundles[same.at] = { ...bundles[same.at], fate: { ...held, delayMillis: fate.delayMillis } }
    }
  }
  return { bundles, discarded }
}
