/** The load, which comes from autocannon in a process of its own. */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Asking, start } from "./processes.ts"

/** What is sent, again and again, on every connection: the next request once the last one is answered. */
export interface Load {
  readonly url: string
  readonly contentType: string
  readonly body: string
  readonly connections: number
  /** So many requests, each of which is answered; or for so long, and then what is under way is waited for. */
  readonly until: { readonly requests: number } | { readonly seconds: number }
}

/** What came of it. */
export interface Outcome {
  /** How many requests were answered, by status. */
  readonly answers: Readonly<Record<string, number>>
  /** The last answer with each status. */
  readonly bodies: Readonly<Record<string, string>>
  /** Requests that had no answer. */
  readonly errors: number
  /**
   * How many requests were answered, and in how many nanoseconds, from when as many had been as there are connections:
   * opening those is over by then.
   */
  readonly counted: number
  readonly nanos: number
  /** In nanoseconds, without the first request of each connection. */
  readonly p50: number
  readonly p99: number
}

export type Generator = Asking<Load, Outcome>

export const startLoad: Effect.Effect<Generator, never, Scope.Scope> = start<Load, Outcome>("loadMain")
