/** The lines of a body, against `Ndjson` of the platform. */
import type { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import * as Ndjson from "@effect/platform/Ndjson"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { forLines } from "../../../http/dist/internal/body.js"
import { inexactIntegers } from "../../../http/dist/internal/integers.js"
import { type Plan, timed, timesAsFast } from "../Benchmark.ts"

const lines = 100_000
const pieceBytes = 64 * 1024
const maxLineBytes = 1024 * 1024

/** An item of 100 to 200 bytes. */
const itemAt = (id: number) => ({
  id,
  sensor: `roof-${id % 64}`,
  celsius: (id % 400) / 10,
  at: 1_700_000_000_000 + id,
  note: "x".repeat(30 + id * 7_919 % 100)
})

/** A body in pieces, as a server gets it: each by itself. */
export const inPieces = (bytes: Uint8Array, size = pieceBytes): Stream.Stream<Uint8Array> =>
  Stream.fromChunks(
    ...Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
      Chunk.of(bytes.subarray(at * size, (at + 1) * size)))
  )

const body = inPieces(
  new TextEncoder().encode(Array.from({ length: lines }, (_, id) => `${JSON.stringify(itemAt(id))}\n`).join(""))
)

/** What is read of a request whose body has lines. */
export const requestOf = (stream: Stream.Stream<Uint8Array>): HttpServerRequest =>
  ({ headers: {}, stream }) as unknown as HttpServerRequest

/** Counts items, whose ids have to come one after the other. */
const counting = () => {
  let count = 0
  return {
    add: (item: unknown) => {
      if ((item as { readonly id: number }).id !== count++) throw new Error("not in order")
    },
    check: Effect.sync(() => {
      if (count !== lines) throw new Error(`${count} items instead of ${lines}`)
    })
  }
}

/** As a request is read: blank lines are none. */
const readLines = (use: (line: string) => void) =>
  Effect.suspend(() => {
    const { add, check } = counting()
    const read = forLines(requestOf(body), maxLineBytes, (lines) =>
      Effect.sync(() => {
        for (const line of lines) {
          if (/^[ \t\r]*$/.test(line)) continue
          use(line)
          add(JSON.parse(line))
        }
        return true
      }))
    return Effect.zipRight(Effect.orDie(read), check)
  })

const parsed = timed("lines of a body", lines, readLines(() => {}))

const looked = timed(
  "lines of a body, and a look at their integers",
  lines,
  readLines((line) => {
    if (inexactIntegers(line, 1).length > 0) throw new Error("an integer that no number holds")
  })
)

const platform = timed(
  "Ndjson of the platform",
  lines,
  Effect.suspend(() => {
    const { add, check } = counting()
    const items = Stream.pipeThroughChannel(body, Ndjson.unpack({ ignoreEmptyLines: true }))
    const read = Stream.runForEachChunk(items, (items) => Effect.sync(() => Chunk.forEach(items, add)))
    return Effect.zipRight(Effect.orDie(read), check)
  })
)

export const ndjson: Plan = {
  cases: [parsed, looked, platform],
  ratios: [
    timesAsFast("NDJSON, against Ndjson of the platform", parsed.name, platform.name),
    timesAsFast("NDJSON with a look at integers, against Ndjson of the platform", looked.name, platform.name)
  ]
}
