/**
 * A request whose body is read as a whole: one item or an array, all of it or none.
 */
import type * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Result from "@sluice/core/Result"
import * as Effect from "effect/Effect"
import { InvalidRequest, type ItemFault } from "../HttpError.ts"
import type { Fault } from "../HttpQueue.ts"
import { mostFaults } from "./field.ts"
import { Fingerprint } from "./fingerprint.ts"
import { inexactFault, inexactOf } from "./integers.ts"
import type { Mounted } from "./mounted.ts"
import { alone, type Ask, nothing, offerTogether, type Part, taken } from "./offering.ts"
import { full, invalid, refused, unavailable } from "./refusals.ts"
import { refuse } from "./respond.ts"

type Response = HttpServerResponse.HttpServerResponse

/** The answers to a request with one item, which are always the same. */
const takenOne = {
  accepted: taken({ ...nothing(), items: 1, accepted: 1 }),
  coalesced: taken({ ...nothing(), items: 1, coalesced: 1 }),
  dropped: taken({ ...nothing(), items: 1, dropped: 1 })
}

/** Takes one item or an array, all of it or none. */
export const takeWhole = (mounted: Mounted, text: string, ask: Ask): Effect.Effect<Response> => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return Effect.succeed(refuse(InvalidRequest, { field: "body", message: (error as Error).message }))
  }
  if (mounted.isDraining) return Effect.succeed(unavailable(mounted, "draining", 0))
  const { queue } = mounted
  const inexact = inexactOf(mounted, text, mostFaults)
  if (inexact.length > 0) {
    const isArray = Array.isArray(value)
    return Effect.succeed(invalid(mounted, inexact.map((each) => inexactFault(each, isArray)), 0))
  }
  if (!Array.isArray(value)) {
    const decoded = queue.decode(value)
    if (Result.isFailure(decoded)) return Effect.succeed(invalid(mounted, at(0, decoded.failure), 0))
    return ask.wait === "accepted" && ask.key === undefined && !mounted.tracing
      ? takeOne(mounted, decoded.success)
      : takeAll(mounted, [decoded.success], [value], ask)
  }
  const items: Array<unknown> = []
  const faults: Array<ItemFault> = []
  for (const [position, each] of value.entries()) {
    const decoded = queue.decode(each)
    if (Result.isSuccess(decoded)) items.push(decoded.success)
    else if (faults.push(...at(position, decoded.failure)) >= mostFaults) break
  }
  return faults.length > 0
    ? Effect.succeed(invalid(mounted, faults.slice(0, mostFaults), 0))
    : takeAll(mounted, items, value, ask)
}

const at = (position: number, faults: ReadonlyArray<Fault>): ReadonlyArray<ItemFault> =>
  faults.slice(0, mostFaults).map((fault) => ({ position, ...fault }))

const takeOne = (mounted: Mounted, item: unknown): Effect.Effect<Response> => {
  const outcome = mounted.queue.unsafeOffer(item)
  switch (outcome) {
    case "accepted":
    case "coalesced":
    case "dropped":
      return Effect.succeed(takenOne[outcome])
    case "full":
      return Effect.succeed(full(mounted, 1, 0))
    case "closed":
      return Effect.succeed(unavailable(mounted, "closing", 0))
    case "malformed":
    case "invalid-weight":
    case "invalid-key":
      // Offered again, it says what is wrong with it.
      return Effect.match(mounted.queue.offer(item), {
        onSuccess: (outcome) => takenOne[outcome],
        onFailure: (error) => refused(mounted, error, [item], 0)
      })
  }
}

const takeAll = (
  mounted: Mounted,
  items: ReadonlyArray<unknown>,
  values: ReadonlyArray<unknown>,
  ask: Ask
): Effect.Effect<Response> =>
  Effect.suspend(() => {
    const counts = nothing()
    const fingerprint = new Fingerprint()
    const prints = [fingerprint.print]
    if (ask.key !== undefined) { for (const value of values) prints.push(fingerprint.add(value)) }
    const part: Part = { items, size: items.length, position: 0, printAt: (position) => prints[position], isLast: true }
    return Effect.match(alone(mounted, ask, Effect.flatten(offerTogether(mounted, part, ask, counts))), {
      onSuccess: () => taken(counts),
      onFailure: (error) => refused(mounted, error, items, 0)
    })
  })
