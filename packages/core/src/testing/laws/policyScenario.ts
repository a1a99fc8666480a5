/**
 * The operations on a queue under a policy that check the laws.
 */
import type { Policy } from "../../Backpressure.ts"
import type { Key } from "../../Sharding.ts"

/**
 * What is done to a queue.
 */
export type Operation<A> =
  | { readonly _tag: "offer"; readonly item: A }
  | { readonly _tag: "offerAll"; readonly items: ReadonlyArray<A> }
  | { readonly _tag: "poll" }
  | { readonly _tag: "pollUpTo"; readonly limit: number }
  /** Interrupts one of the offers that wait, if there are any. */
  | { readonly _tag: "cancel"; readonly pick: number }

export interface Scenario<A> {
  readonly operations: ReadonlyArray<Operation<A>>
  /** Whether what is left is taken, or shut down. */
  readonly ending: "take" | "shutdown"
  /** Offered once everything has been taken. */
  readonly afterwards: ReadonlyArray<A>
}

export interface TrialSubject<A> {
  readonly policy: Policy<A>
  readonly capacity: number
  readonly weigh?: ((item: A) => number) | undefined
  readonly key?: ((item: A) => Key) | undefined
  readonly merges?: boolean | undefined
}

export type TrialLaw = "bounded" | "order" | "no-invention" | "conservation" | "weights"

export interface Violation {
  readonly law: TrialLaw
  readonly reason: string
}
