/**
 * What happens where handlers fail, processes stall and bytes change: each line of the guide, as it was seen before and
 * as it is. It measures no speed, and compares nothing. `pnpm bench failure [--json]`.
 */
import * as Effect from "effect/Effect"
import { handlers } from "./failure/handlers.ts"
import { leases } from "./failure/leases.ts"
import type { Row } from "./failure/open.ts"

/** Runs everything, in about a minute. */
export const failure: Effect.Effect<ReadonlyArray<Row>> = Effect.zipWith(
  handlers,
  leases,
  (first, second) => [...first, ...second]
)

/** A table in Markdown. */
export const toMarkdown = (rows: ReadonlyArray<Row>): string =>
  [
    "| what | seen before | seen now |",
    "| --- | --- | --- |",
    ...rows.map(({ before, now, what }) => `| ${[what, before, now].join(" | ")} |`)
  ].join("\n")
