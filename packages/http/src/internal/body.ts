/**
 * Reads the body of a request, within limits. A body that is too large gets an answer, not a dropped connection: for a
 * limited time, the rest of it is read and discarded while the answer is sent.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import type { RequestError } from "@effect/platform/HttpServerError"
import type { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import { forkUninterruptible } from "@sluice/core/unstable/Fibers"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { isPlain, withDecoded } from "./contentCoding.ts"

// Of every platform that JavaScript runs on; the standard library of the language alone does not declare them.
declare const TextEncoder: new() => { encode(text: string): Uint8Array }
declare const TextDecoder: new(label: "utf-8", options: { readonly fatal: boolean; readonly ignoreBOM?: boolean }) => {
  decode(bytes?: ArrayBuffer | Uint8Array, options?: { readonly stream: boolean }): string
}

/** Why a body could not be read. */
export type Unread =
  | { readonly _tag: "TooLarge" }
  /** It is not text in UTF-8. */
  | { readonly _tag: "NotText" }
  /** It is not what its `Content-Encoding` says, or not all of it. */
  | { readonly _tag: "Broken" }
  /** The client has gone, or has sent what is no HTTP. */
  | { readonly _tag: "Lost"; readonly cause: RequestError }

const tooLarge: Unread = { _tag: "TooLarge" }
const notText: Unread = { _tag: "NotText" }
const broken: Unread = { _tag: "Broken" }
const lost = (cause: RequestError): Unread => ({ _tag: "Lost", cause })

export const brokenBody = "it is not what Content-Encoding says, or not all of it, or there is more behind its end"

/** What the server of the platform takes without being asked for more. */
const maxBytesOfPlatform = 10 * 1024 * 1024

const encoder = new TextEncoder()
/** Of a whole body: it leaves out a byte order mark at the beginning. */
const decoder = new TextDecoder("utf-8", { fatal: true })
/** Of a piece, whose beginning may be anywhere in the body. */
const pieceDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const decode = (bytes: ArrayBuffer | Uint8Array): Effect.Effect<string, Unread> => {
  try {
    return Effect.succeed(decoder.decode(bytes))
  } catch {
    return Effect.fail(notText)
  }
}

/** The whole body as text. The limit is for what it is, decompressed. */
export const readText = (request: HttpServerRequest, maxBytes: number): Effect.Effect<string, Unread> => {
  const length = request.headers["content-length"]
  if (length === undefined || !isPlain(request.headers["content-encoding"])) return readUnknownLength(request, maxBytes)
  // The server sees to it that the body is no longer than that. Where it is too large it is not even looked at.
  if (!(Number(length) <= maxBytes)) return Effect.fail(tooLarge)
  const bytes = maxBytes > maxBytesOfPlatform
    ? HttpIncomingMessage.withMaxBodySize(request.arrayBuffer, Option.some(FileSystem.Size(maxBytes)))
    : request.arrayBuffer
  return Effect.matchEffect(bytes, { onFailure: (cause) => Effect.fail(lost(cause)), onSuccess: decode })
}

/** Bytes that come in pieces, however small. */
class Pieces {
  size = 0
  private bytes = new Uint8Array(1024)

  append(piece: Uint8Array): void {
    const size = this.size + piece.length
    if (size > this.bytes.length) {
      const larger = new Uint8Array(Math.max(size, this.bytes.length * 2))
      larger.set(this.bytes.subarray(0, this.size))
      this.bytes = larger
    }
    this.bytes.set(piece, this.size)
    this.size = size
  }

  /** What there is, until more is appended. */
  take(): Uint8Array {
    const all = this.bytes.subarray(0, this.size)
    this.size = 0
    return all
  }
}

/** A body that does not say how long it is. */
const readUnknownLength = (request: HttpServerRequest, maxBytes: number): Effect.Effect<string, Unread> =>
  withChunks(request, (pull) => {
    const pieces = new Pieces()
    const read: Effect.Effect<string, Unread> = Effect.flatMap(pull, (chunk) => {
      if (chunk === undefined) return decode(pieces.take())
      if (pieces.size + chunk.length > maxBytes) return Effect.fail(tooLarge)
      pieces.append(chunk)
      return read
    })
    return read
  })

const byteOrderMark = [0xef, 0xbb, 0xbf]

/** Leaves out a byte order mark at the beginning of the body, and only there, however it comes in pieces. */
const withoutMark = (
  pull: Effect.Effect<Uint8Array | undefined, Unread>
): Effect.Effect<Uint8Array | undefined, Unread> => {
  const begun = new Pieces()
  let isPast = false
  return Effect.suspend(() => {
    if (isPast) return pull
    const next: Effect.Effect<Uint8Array | undefined, Unread> = Effect.flatMap(pull, (chunk) => {
      if (chunk !== undefined) begun.append(chunk)
      const { size } = begun
      const first = begun.take()
      const mayBegin = byteOrderMark.every((byte, at) => at >= size || first[at] === byte)
      if (chunk !== undefined && mayBegin && size < byteOrderMark.length) {
        begun.size = size
        return next
      }
      isPast = true
      if (size === 0) return Effect.succeed(chunk)
      return Effect.succeed(mayBegin && size >= byteOrderMark.length ? first.subarray(byteOrderMark.length) : first)
    })
    return next
  })
}

const newline = 10

/**
 * Goes through the lines of the body, those of each piece that arrives together. `use` answers whether to go on. Nothing
 * is held but a piece, and the beginning of a line that has not ended yet. Where the body is cut makes no difference.
 */
export const forLines = <E>(
  request: HttpServerRequest,
  maxLineBytes: number,
  use: (lines: ReadonlyArray<string>) => Effect.Effect<boolean, E>
): Effect.Effect<void, E | Unread> =>
  withChunks(request, (pull) => {
    const begun = new Pieces()
    const read: Effect.Effect<void, E | Unread> = Effect.flatMap(withoutMark(pull), (chunk) => {
      if (chunk === undefined) return useLines(begun.take(), undefined)
      const end = chunk.lastIndexOf(newline)
      if (end >= 0) {
        begun.append(chunk.subarray(0, end))
        const ended = begun.take()
        return useLines(ended, chunk.subarray(end + 1))
      }
      begun.append(chunk)
      return begun.size > maxLineBytes ? Effect.fail(tooLarge) : read
    })
    /** What comes before a fault is used. */
    const useLines = (ended: Uint8Array, next: Uint8Array | undefined): Effect.Effect<void, E | Unread> => {
      const { fault, lines } = linesOf(ended, maxLineBytes)
      return Effect.flatMap(use(lines), (goesOn) => {
        if (!goesOn || (fault === undefined && next === undefined)) return Effect.void
        if (fault !== undefined) return Effect.fail(fault)
        begun.append(next!)
        return begun.size > maxLineBytes ? Effect.fail(tooLarge) : read
      })
    }
    return read
  })

/** The lines up to the first one that is too large, or no text. */
const linesOf = (
  bytes: Uint8Array,
  maxLineBytes: number
): { readonly lines: ReadonlyArray<string>; readonly fault: Unread | undefined } => {
  try {
    const lines = pieceDecoder.decode(bytes).split("\n")
    const long = lines.findIndex((line) => hasMoreBytes(line, maxLineBytes))
    return long < 0 ? { lines, fault: undefined } : { lines: lines.slice(0, long), fault: tooLarge }
  } catch {
    // No byte of a character is one of a line break: each line is text, or not, by itself.
    const lines: Array<string> = []
    for (let from = 0;;) {
      const end = bytes.indexOf(newline, from)
      const line = bytes.subarray(from, end < 0 ? bytes.length : end)
      if (line.length > maxLineBytes) return { lines, fault: tooLarge }
      try {
        lines.push(pieceDecoder.decode(line))
      } catch {
        return { lines, fault: notText }
      }
      if (end < 0) return { lines, fault: notText }
      from = end + 1
    }
  }
}

/** Whether text has more bytes than that in UTF-8, where a character has three at most for each of its units. */
const hasMoreBytes = (text: string, limit: number): boolean =>
  text.length > limit || (text.length * 3 > limit && encoder.encode(text).length > limit)

/** How much of a refused body is read, and for how long, before its connection is cut. */
const mostDiscardedBytes = 64 * 1024 * 1024
const longestDiscard = "30 seconds"

/** Gives the pieces of the body, decompressed, and `undefined` at its end. */
const withChunks = <A, E>(
  request: HttpServerRequest,
  use: (pull: Effect.Effect<Uint8Array | undefined, Unread>) => Effect.Effect<A, E>
): Effect.Effect<A, E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const pullChunk = yield* Scope.extend(Stream.toPull(request.stream), scope)
      let hasEnded = false
      let ready: ReadonlyArray<Uint8Array> = []
      let at = 0
      const pull: Effect.Effect<Uint8Array | undefined, Unread> = Effect.suspend(() => {
        if (at < ready.length) return Effect.succeed(ready[at++])
        if (hasEnded) return Effect.succeed(undefined)
        return Effect.matchEffect(pullChunk, {
          onSuccess: (chunk) => {
            ready = Chunk.toReadonlyArray(chunk)
            at = 0
            return pull
          },
          onFailure: (end): Effect.Effect<undefined, Unread> => {
            hasEnded = true
            return Option.isNone(end) ? Effect.succeed(undefined) : Effect.fail(lost(end.value))
          }
        })
      })
      let discarded = 0
      const discard: Effect.Effect<void, Unread> = Effect.flatMap(pull, (chunk) => {
        if (chunk === undefined) return Effect.void
        discarded += chunk.length
        return discarded > mostDiscardedBytes ? Effect.void : discard
      })
      const close = Scope.close(scope, Exit.void)
      const exit = yield* Effect.exit(restore(withDecoded(request.headers["content-encoding"], pull, broken, use)))
      // Closing before the end cuts the connection: the answer would be lost.
      const isAnswered = Exit.isSuccess(exit) || !Exit.isInterrupted(exit)
      yield* !hasEnded && isAnswered
        ? forkUninterruptible(
          Effect.ensuring(Effect.interruptible(Effect.timeoutOption(Effect.ignore(discard), longestDiscard)), close)
        )
        : close
      return yield* exit
    })
  )
