/**
 * The items of a request on their way into a queue, once each where the request has a key, and what became of them.
 */
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type { Storing } from "@sluice/core/BatchQueue"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { Refusal } from "../HttpQueue.ts"
import type { Mounted } from "./mounted.ts"
import type { Failure } from "./refusals.ts"
import type { Span } from "./rememberedKeys.ts"

/** What a request asks for besides taking its items. */
export interface Ask {
  /** When it is to be answered. */
  readonly wait: "accepted" | "stored" | "settled"
  readonly key: string | undefined
}

/** Items of a request that are offered together. */
export interface Part extends Span {
  readonly items: ReadonlyArray<unknown>
}

/** What became of the items of a request so far. */
export interface Counts {
  items: number
  accepted: number
  coalesced: number
  dropped: number
  duplicates: number
  stored: number
  settled: number
}

export const nothing = (): Counts => ({
  items: 0,
  accepted: 0,
  coalesced: 0,
  dropped: 0,
  duplicates: 0,
  stored: 0,
  settled: 0
})

export const taken = (counts: Counts): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(counts, { status: 202 })

/** One request of a key goes after another: only then it is known what the first was. */
export const alone = <A, E>({ keys }: Mounted, { key }: Ask, take: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  key === undefined ? take : keys.alone(key, take)

const otherBody: Effect.Effect<never, Failure> = Effect.fail({ _tag: "OtherBody" })

/**
 * Offers items, all or none, and counts what becomes of them. The first step offers them, or stores them; the second
 * waits for their settlement, where that was asked for.
 */
export const offerTogether = (
  mounted: Mounted,
  part: Part,
  { key, wait }: Ask,
  counts: Counts
): Effect.Effect<Effect.Effect<void>, Failure> => {
  const { offerStoredAllOrNone } = mounted.queue
  if (wait === "stored" && offerStoredAllOrNone !== undefined) {
    const { items } = part
    const ids = key === undefined ? undefined : items.map((_, index) => idOf(key, part, index))
    const known: Storing = { stored: 0, duplicates: items.length, dropped: 0, droppedByReason: {} }
    const offered = storedOnce(mounted, part, key, offerStoredAllOrNone(items, { ids }), known)
    return Effect.flatMap(offered, ({ dropped, droppedByReason, duplicates, stored }) => {
      if ((droppedByReason["shutdown"] ?? 0) > 0) return Effect.fail<Failure>({ _tag: "ClosedTooEarly" })
      count(counts, { items: items.length, stored, duplicates, dropped })
      return Effect.succeed(Effect.void)
    })
  }
  return Effect.suspend(() => offerRest(mounted, part, { key, wait }, counts))
}

/**
 * Stores items where they are of the body that the key belongs to, and then remembers that they are. Where only what
 * comes next can tell that, they are in: `known` is the answer.
 */
export const storedOnce = <A>(
  mounted: Mounted,
  part: Part,
  key: string | undefined,
  store: Effect.Effect<A, Failure>,
  known: A
): Effect.Effect<A, Failure> => {
  if (key === undefined) return store
  return Effect.suspend(() => {
    if (isOther(mounted, key, part)) return otherBody
    if (mounted.keys.isBehind(key, part, mounted.now())) return Effect.succeed(known)
    return Effect.onExit(
      store,
      (exit) => Effect.sync(() => mayBeIn(exit) && remember(mounted, key, part, Exit.isSuccess(exit)))
    )
  })
}

/** Whether items may have been stored, although the request no longer waits for the answer. */
const mayBeIn = (exit: Exit.Exit<unknown, Failure>): boolean => {
  const failure = Exit.isSuccess(exit) ? Option.none() : Cause.failureOption(exit.cause)
  return Option.isNone(failure) || failure.value._tag === "StoreUnavailable" || failure.value._tag === "ItemDropped"
}

/** Offers those of the items that are not in from an earlier request. */
const offerRest = (
  mounted: Mounted,
  part: Part,
  { key, wait }: Ask,
  counts: Counts
): Effect.Effect<Effect.Effect<void>, Failure> => {
  const { offerAllOrNone, offerTracked } = mounted.queue
  const { items, position } = part
  if (isOther(mounted, key, part)) return otherBody
  const known = alreadyIn(mounted, key, position, items.length)
  const rest = known === 0 ? items : items.slice(known)
  const offered: Effect.Effect<Effect.Effect<Partial<Counts>>, Refusal<unknown>> =
    wait === "settled" && offerTracked !== undefined
      ? offerTracked(rest)
      : Effect.map(offerAllOrNone(rest), Effect.succeed)
  // Offering waits for nothing. Once the items are in, the key has to be known.
  return Effect.uninterruptible(
    Effect.map(rest.length === 0 ? nobody : offered, (ended) => {
      remember(mounted, key, part)
      count(counts, { items: items.length, duplicates: known })
      return Effect.map(
        ended,
        ({ accepted, coalesced, dropped, settled }) => count(counts, { accepted, coalesced, dropped, settled })
      )
    })
  )
}

/** Where no item is left to be offered. */
const nobody: Effect.Effect<Effect.Effect<Partial<Counts>>> = Effect.succeed(Effect.succeed({}))

export const count = (counts: Counts, more: { readonly [Name in keyof Counts]?: number | undefined }): void => {
  for (const name in more) counts[name as keyof Counts] += more[name as keyof Counts] ?? 0
}

/**
 * The id of an item in the store of its queue, which remembers it there. It says what the item is: where nobody here
 * remembers the key any more, another body is not taken for the one that is stored.
 */
export const idOf = (key: string, { position, printAt }: Part, index: number): string =>
  `http/${key}/${position + index}/${printAt(position + index + 1)}`

export const isOther = (mounted: Mounted, key: string | undefined, part: Span): boolean =>
  key !== undefined && mounted.keys.isOther(key, part, mounted.now())

/** How many of the given items, from a position of the request with this key, were already accepted. */
export const alreadyIn = (mounted: Mounted, key: string | undefined, position: number, items: number): number =>
  key === undefined ? 0 : Math.min(items, Math.max(0, mounted.keys.taken(key, mounted.now()) - position))

/** Remembers that the items of a request are in up to the end of this part, or may be. */
export const remember = (mounted: Mounted, key: string | undefined, part: Part, isSure = true): void => {
  if (key !== undefined) mounted.keys.remember(key, part, isSure, mounted.now())
}
