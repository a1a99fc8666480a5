/** A server in a process of its own: which there are, and what it is asked. */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { start } from "./processes.ts"

/**
 * - `node`, `limit`, `json`, `decoding` and `endpoint` have no queue: they read the body and parse it; the last two also
 *   decode it by the schema.
 * - `plain` and `api` are ours, into a `WriteBehind`; `stored` into a `BatchQueue` on a file.
 * - `overloaded` is ours, into a `WriteBehind` that refuses what its slow sink leaves no room for.
 */
export type Kind = "node" | "limit" | "json" | "decoding" | "endpoint" | "plain" | "api" | "stored" | "overloaded"

/** What has become of the items so far. Of who has no queue, they are settled when they are answered. */
export interface Books {
  readonly accepted: number
  readonly refused: number
  readonly dropped: number
  readonly settled: number
  readonly held: number
  /** Those that came out, and those of them that were not as they were sent. */
  readonly handled: number
  readonly broken: number
}

/** What a server answers to each question. */
export interface Answers {
  readonly url: string
  /** Waits until all items are settled. */
  readonly settled: Books
  readonly books: Books
  /** Processor time so far, in nanoseconds. */
  readonly cpu: number
  readonly memory: { readonly rss: number; readonly heapUsed: number }
  /** The same, of the heap, once the garbage has been collected. */
  readonly live: number
}

export type Question = keyof Answers

export interface Server {
  readonly ask: <Q extends Question>(question: Q) => Effect.Effect<Answers[Q]>
}

/** Starts a server. `directory` is where it may have a file. */
export const startServer = (
  kind: Kind,
  directory: string,
  execArgv: ReadonlyArray<string> = []
): Effect.Effect<Server, never, Scope.Scope> => start<Question, any>("serverMain", [kind, directory], execArgv)
