/**
 * Where the flights come from: the 20,000 of the package `vega-datasets`, or a file of the user's.
 */
import type * as PlatformError from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { readFileSync } from "node:fs"
import { MalformedFlight, UnreadableFile } from "./errors.ts"
import { Flight, type NumberedFlight } from "./Flight.ts"

export interface Source {
  readonly name: string
  readonly flights: Stream.Stream<NumberedFlight, MalformedFlight | UnreadableFile>
  /** How far the reading is, and where it ends, in some unit. */
  readonly position: () => number
  readonly size: number
}

export const bundledFile = (): URL => new URL("../data/flights-20k.json", import.meta.resolve("vega-datasets"))

const decode = Schema.decodeUnknownEither(Flight)
const decodeLine = Schema.decodeUnknownEither(Schema.parseJson(Flight))

/** The first thing that is wrong, with the path of its field. */
const problemOf = (error: ParseResult.ParseError): string => {
  const [{ message, path }] = ParseResult.ArrayFormatter.formatErrorSync(error)
  return path.length === 0 ? message : `${path.join(".")}: ${message}`
}

const numbered = (
  decoded: Either.Either<Flight, ParseResult.ParseError>,
  file: string,
  seq: number
): Either.Either<NumberedFlight, MalformedFlight> =>
  Either.mapBoth(decoded, {
    onLeft: (error) => new MalformedFlight({ file, line: seq, problem: problemOf(error) }),
    onRight: (flight) => ({ seq, flight })
  })

const bundled = Effect.sync((): Source => {
  const name = "vega-datasets/data/flights-20k.json"
  const all: ReadonlyArray<unknown> = JSON.parse(readFileSync(bundledFile(), "utf8"))
  let position = 0
  return {
    name,
    size: all.length,
    position: () => position,
    flights: Stream.fromIterable(all).pipe(
      Stream.mapEffect((flight) => numbered(decode(flight), name, ++position))
    )
  }
})

const readProblems: Record<string, string> = {
  NotFound: "there is no such file",
  PermissionDenied: "the file may not be read"
}

const unreadable = (file: string) => (error: PlatformError.PlatformError): UnreadableFile =>
  new UnreadableFile({
    file,
    problem: (error._tag === "SystemError" ? readProblems[error.reason] : undefined) ?? error.message
  })

const ofFile = (file: string): Effect.Effect<Source, UnreadableFile, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const files = yield* FileSystem.FileSystem
    const { size, type } = yield* Effect.mapError(files.stat(file), unreadable(file))
    // The check reads the flights a second time, and a pipe has them only once.
    if (type !== "File") return yield* new UnreadableFile({ file, problem: "must be a regular file" })
    // Opened once here, so that what may not be read is reported before anything else happens.
    yield* Effect.scoped(Effect.mapError(files.open(file), unreadable(file)))
    let position = 0
    let read = 0
    let line = 0
    return {
      name: file,
      size: Number(size),
      position: () => position,
      flights: files.stream(file).pipe(
        Stream.mapError(unreadable(file)),
        Stream.decodeText(),
        Stream.splitLines,
        Stream.map((text) => ({ text, seq: ++line, endsAt: read += Buffer.byteLength(text) + 1 })),
        Stream.filter(({ text }) => text.trim() !== ""),
        // Flight by flight: the file itself comes in large pieces, a small one all at once.
        Stream.mapEffect(({ endsAt, seq, text }) => {
          position = Math.min(endsAt, Number(size))
          return numbered(decodeLine(text), file, seq)
        })
      )
    }
  })

export const open = (
  file: Option.Option<string>
): Effect.Effect<Source, UnreadableFile, FileSystem.FileSystem> =>
  Option.match(file, { onNone: () => bundled, onSome: ofFile })
