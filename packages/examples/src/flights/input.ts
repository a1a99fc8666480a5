/**
 * Reads the input once more, for the check. It has nothing in common with the way to the queues: no stream, no Schema.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { createReadStream, readFileSync } from "node:fs"
import { UnreadableFile } from "./errors.ts"
import { bundledFile } from "./source.ts"
import type { InputFlight } from "./Verdict.ts"

const readLines = async (file: string, limit: number): Promise<ReadonlyArray<InputFlight>> => {
  const flights: Array<InputFlight> = []
  let rest = ""
  let seq = 0
  const add = (line: string) => {
    seq += 1
    if (flights.length < limit && line.trim() !== "") flights.push({ ...JSON.parse(line), seq })
  }
  for await (const text of createReadStream(file, "utf8")) {
    const lines = (rest + text).split("\n")
    rest = lines.pop() ?? ""
    lines.forEach(add)
    if (flights.length >= limit) return flights
  }
  add(rest)
  return flights
}

const readBundled = (limit: number): ReadonlyArray<InputFlight> =>
  JSON.parse(readFileSync(bundledFile(), "utf8")).slice(0, limit)
    .map((flight: InputFlight, index: number) => ({ ...flight, seq: index + 1 }))

/** The first `limit` flights: those that were offered. */
export const readInput = (
  file: Option.Option<string>,
  limit: number
): Effect.Effect<ReadonlyArray<InputFlight>, UnreadableFile> =>
  Option.match(file, {
    onNone: () => Effect.sync(() => readBundled(limit)),
    onSome: (path) =>
      Effect.tryPromise({
        try: () => readLines(path, limit),
        catch: (error) => new UnreadableFile({ file: path, problem: `cannot be read again: ${String(error)}` })
      })
  })
