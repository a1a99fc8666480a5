/**
 * Decompresses the body of a request with the zlib of Node, which Bun and Deno have too. On a platform without it,
 * bodies are not decompressed. `DecompressionStream`, which every platform has, reports neither how far it has read nor
 * what follows the end: a second stream there would be lost silently.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
 */
import { park } from "@sluice/core/unstable/Fibers"
import * as Effect from "effect/Effect"

/** What is used of a stream of `node:zlib`. */
interface Inflate {
  /** How many of the bytes that were written belong to it. */
  readonly bytesWritten: number
  readonly write: (bytes: Uint8Array, onTaken: () => void) => void
  readonly end: () => void
  readonly read: () => Uint8Array | null
  readonly destroy: () => void
  readonly on: (event: "readable" | "end" | "error", listener: () => void) => void
}

type MakeInflate = (options?: { readonly params: Readonly<Record<number, number>> }) => Inflate

interface Zlib {
  readonly constants: Readonly<Record<string, number>>
  readonly createGunzip: MakeInflate
  readonly createInflate: MakeInflate
  readonly createBrotliDecompress: MakeInflate
  /** Since Node 22.15. */
  readonly createZstdDecompress?: MakeInflate | undefined
}

const { process } = globalThis as {
  readonly process?: { readonly getBuiltinModule?: (name: "node:zlib") => Zlib | undefined }
}

/** A window of 8 MiB is what HTTP allows (RFC 9659). */
const zstdWindowBits = 23

const makeInflates = (zlib: Zlib | undefined): ReadonlyMap<string, () => Inflate> => {
  const inflates = new Map<string, () => Inflate>()
  if (zlib === undefined) return inflates
  const { constants, createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } = zlib
  inflates.set("gzip", () => createGunzip())
  inflates.set("deflate", () => createInflate())
  inflates.set("br", () => createBrotliDecompress())
  if (createZstdDecompress !== undefined) {
    const params = { [constants["ZSTD_d_windowLogMax"]]: zstdWindowBits }
    inflates.set("zstd", () => createZstdDecompress({ params }))
  }
  return inflates
}

const inflates = makeInflates(process?.getBuiltinModule?.("node:zlib"))

/** What a header `Accept-Encoding` says of the codings that are known here. */
export const acceptEncoding: string = [...inflates.keys(), "identity"].join(", ")

const identity = "identity"

/** The coding of a header. */
const codingOf = (header: string | undefined): string =>
  header === undefined ? identity : header.trim().toLowerCase().replace(/^x-gzip$/, "gzip")

/** Whether a header `Content-Encoding` says that the body comes as it is. */
export const isPlain = (header: string | undefined): boolean => codingOf(header) === identity

/**
 * Whether a body with this `Content-Encoding` can be read: with one coding at most, because what comes out of all but the
 * last one has no limit.
 */
export const isKnown = (header: string | undefined): boolean => isPlain(header) || inflates.has(codingOf(header))

export type Pull<E> = Effect.Effect<Uint8Array | undefined, E>

/**
 * Gives what a body with this `Content-Encoding` is, piece by piece as it is asked for, and fails where it is not that,
 * is not all of it, or goes on behind its end.
 */
export const withDecoded = <A, E, F>(
  header: string | undefined,
  pull: Pull<F>,
  broken: F,
  use: (pull: Pull<F>) => Effect.Effect<A, E>
): Effect.Effect<A, E> => {
  const make = inflates.get(codingOf(header))
  if (make === undefined) return use(pull)
  return Effect.acquireUseRelease(
    Effect.sync(() => new Inflating(make(), pull, broken)),
    ({ next }) => use(next),
    (inflating) => Effect.sync(() => inflating.destroy())
  )
}

/**
 * A stream of zlib that is written to only once everything was read from it, so that it never holds more than a piece.
 */
class Inflating<F> {
  private readonly inflate: Inflate
  private readonly pull: Pull<F>
  private readonly broken: F
  private given = 0
  private isBusy = false
  private isOver = false
  private hasEnded = false
  private hasFailed = false
  /** What has happened since it was looked at last. */
  private isNews = false
  private wake: (() => void) | undefined

  constructor(inflate: Inflate, pull: Pull<F>, broken: F) {
    this.inflate = inflate
    this.pull = pull
    this.broken = broken
    inflate.on("readable", () => this.signal())
    inflate.on("end", () => {
      this.hasEnded = true
      this.signal()
    })
    inflate.on("error", () => {
      this.hasFailed = true
      this.signal()
    })
  }

  readonly next: Pull<F> = Effect.suspend(() => {
    const bytes = this.hasFailed ? null : this.inflate.read()
    if (bytes !== null) return Effect.succeed(bytes)
    if (this.hasFailed) return Effect.fail(this.broken)
    if (this.hasEnded) {
      const isAll = this.isOver && this.inflate.bytesWritten === this.given
      return isAll ? Effect.succeed(undefined) : Effect.fail(this.broken)
    }
    return Effect.zipRight(this.isBusy || this.isOver ? this.news : this.feed, this.next)
  })

  private readonly feed: Effect.Effect<void, F> = Effect.suspend(() =>
    Effect.map(this.pull, (chunk) => {
      if (chunk === undefined) {
        this.isOver = true
        return this.inflate.end()
      }
      this.isBusy = true
      this.given += chunk.length
      this.inflate.write(chunk, () => {
        this.isBusy = false
        this.signal()
      })
    })
  )

  private readonly news: Effect.Effect<void> = park<void>((resume) => {
    // Looking and parking are one step, so that no signal is lost in between.
    if (this.isNews) {
      this.isNews = false
      return resume(Effect.void)
    }
    this.wake = () => resume(Effect.void)
  })

  private signal(): void {
    const { wake } = this
    if (wake === undefined) {
      this.isNews = true
      return
    }
    this.wake = undefined
    wake()
  }

  destroy(): void {
    this.inflate.destroy()
  }
}
