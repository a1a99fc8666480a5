/**
 * The commands of the airports: each late departure asks for a new slot. Those of one airport are handled one after
 * another, each with the airport's next version, whatever the others do.
 */
import { ShardPool } from "@sluice/core"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { NumberedFlight } from "../Flight.ts"
import { type BookFailure, SlotBook } from "./SlotBook.ts"

export class SlotsPool extends Context.Tag("flights/SlotsPool")<
  SlotsPool,
  ShardPool.ShardPool<NumberedFlight, number, BookFailure>
>() {}

/**
 * Errors that say for certain that nothing was written: the version is free again. After any other the pool asks for
 * the airport's version: it may have been used, or not.
 */
const hasWrittenNothing = ({ _tag }: BookFailure): boolean => _tag === "NoSlotLeft" || _tag === "AlreadyGiven"

export const layer = ShardPool.layer(SlotsPool, {
  name: "slots",
  // Airports that write at the same moment share a commit.
  workersPerShard: 4,
  key: ({ flight }: NumberedFlight) => flight.origin,
  execute: (departing, { version }) =>
    Effect.flatMap(SlotBook, (book) => book.give(departing, version)).pipe(Effect.as(version)),
  currentVersion: (airport) => Effect.flatMap(SlotBook, (book) => book.currentVersion(String(airport))),
  isRejection: hasWrittenNothing
})
