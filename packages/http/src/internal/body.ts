/**
 * Reads the body of a request, within limits. A body that is too large is answered, not cut off: what is left of it is
 * read and thrown away while the answer is on its way, for a while.
 */
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import type { RequestError } from "@effect/platform/HttpServerError"
import type { HttpServerRequest } from "@effect/platform/HttpServerRequest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

// Of every platform that JavaScript runs on; the standard library of the language alone does not declare it.
declare const TextDecoder: new(label: "utf-8", options: { readonly fatal: boolean }) => {
  decode(bytes?: ArrayBuffer | Uint8Array, options?: { readonly stream: boolean }): string
}

/**
 * Why a body could not be read.
 * @internal
 */
export type Unread =
  | { readonly _tag: "TooLarge" }
  /** It is not text in UTF-8. */
  | { readonly _tag: "NotText" }
  /** The client has gone, or has sent what is no HTTP. */
  | { readonly _tag: "Lost"; readonly cause: RequestError }

const tooLarge: Unread = { _tag: "TooLarge" }
const notText: Unread = { _tag: "NotText" }
const lost = (cause: RequestError): Unread => ({ _tag: "Lost", cause })

/** What the server of the platform takes without being asked for more. */
const maxBytesOfPlatform = 10 * 1024 * 1024

const decoder = new TextDecoder("utf-8", { fatal: true })

const decode = (bytes: ArrayBuffer | Uint8Array): Effect.Effect<string, Unread> => {
  try {
    return Effect.succeed(decoder.decode(bytes))
  } catch {
    return Effect.fail(notText)
  }
}

/**
 * The whole body as text.
 * @internal
 */
export const readText = (request: HttpServerRequest, maxBytes: number): Effect.Effect<string, Unread> => {
  const length = request.headers["content-length"]
  if (length === undefined) return readUnknownLength(request, maxBytes)
  // The server sees to it that the body is no longer than that. Where it is too large it is not even looked at.
  if (!(Number(length) <= maxBytes)) return Effect.fail(tooLarge)
  const bytes = maxBytes > maxBytesOfPlatform
    ? HttpIncomingMessage.withMaxBodySize(request.arrayBuffer, Option.some(FileSystem.Size(maxBytes)))
    : request.arrayBuffer
  return Effect.matchEffect(bytes, { onFailure: (cause) => Effect.fail(lost(cause)), onSuccess: decode })
}

/** A body that comes in pieces, and does not say how many. */
const readUnknownLength = (request: HttpServerRequest, maxBytes: number): Effect.Effect<string, Unread> =>
  withChunks(request, (pull) => {
    const pieces: Array<Uint8Array> = []
    let size = 0
    const read: Effect.Effect<string, Unread> = Effect.flatMap(pull, (chunk) => {
      if (chunk === undefined) return decode(joined(pieces, size))
      pieces.push(chunk)
      size += chunk.length
      return size > maxBytes ? Effect.fail(tooLarge) : read
    })
    return read
  })

const joined = (pieces: ReadonlyArray<Uint8Array>, size: number): Uint8Array => {
  const all = new Uint8Array(size)
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}

/**
 * Goes through the lines of the body, those of each piece that arrives together. `use` answers whether to go on. Nothing
 * is held but a piece, and the beginning of a line that has not ended yet.
 *
 * @internal
 */
export const forLines = <E>(
  request: HttpServerRequest,
  maxLineBytes: number,
  use: (lines: ReadonlyArray<string>) => Effect.Effect<boolean, E>
): Effect.Effect<void, E | Unread> =>
  withChunks(request, (pull) => {
    const streaming = new TextDecoder("utf-8", { fatal: true })
    let rest = ""
    const textOf = (chunk: Uint8Array | undefined): string | undefined => {
      try {
        return chunk === undefined ? streaming.decode() : streaming.decode(chunk, { stream: true })
      } catch {
        return undefined
      }
    }
    const read: Effect.Effect<void, E | Unread> = Effect.flatMap(pull, (chunk) => {
      const text = textOf(chunk)
      if (text === undefined) return useThenFail([], notText)
      const lines = (rest + text).split("\n")
      rest = chunk === undefined ? "" : lines.pop()!
      const long = lines.findIndex((line) => line.length > maxLineBytes)
      if (long >= 0) return useThenFail(lines.slice(0, long), tooLarge)
      if (rest.length > maxLineBytes) return useThenFail(lines, tooLarge)
      return Effect.flatMap(use(lines), (goesOn) => goesOn && chunk !== undefined ? read : Effect.void)
    })
    /** What came before the fault is used. */
    const useThenFail = (lines: ReadonlyArray<string>, unread: Unread): Effect.Effect<void, E | Unread> =>
      Effect.flatMap(use(lines), (goesOn) => goesOn ? Effect.fail(unread) : Effect.void)
    return read
  })

/** How much of a body that nobody wants is read, and for how long, before its connection is cut. */
const mostDiscardedBytes = 64 * 1024 * 1024
const longestDiscard = "30 seconds"

/** Gives the pieces of the body, and `undefined` at its end. */
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
      const exit = yield* Effect.exit(restore(use(pull)))
      // Closing before the end cuts the connection: the answer would be lost.
      const isAnswered = Exit.isSuccess(exit) || !Exit.isInterrupted(exit)
      yield* !hasEnded && isAnswered
        ? Effect.forkDaemon(
          Effect.ensuring(Effect.interruptible(Effect.timeoutOption(Effect.ignore(discard), longestDiscard)), close)
        )
        : close
      return yield* exit
    })
  )
