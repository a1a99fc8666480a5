/**
 * What a real `WriteCoordinator` has besides its interface. It is under a symbol, so that a test double does not need
 * it. Code that depends on it can recognize a double.
 */
import { InvalidOption } from "@sluice/core/QueueError"
import * as Effect from "effect/Effect"
import type { WriteOptions } from "../../Write.ts"
import type { WriteError } from "../../WriteError.ts"
import type { SingleStatement } from "../writer/singleStatement.ts"

export const submitAs: unique symbol = Symbol.for("@sluice/sql/WriteCoordinator/submitAs")

export interface RealCoordinator {
  /** Like `submit`: our own errors are told as `onError` makes them, those of the write as they are. */
  readonly [submitAs]: <A, E, R, E2>(
    write: Effect.Effect<A, E, R> | SingleStatement<A, E>,
    options: WriteOptions,
    onError: (error: WriteError) => E2
  ) => Effect.Effect<A, E | E2, R>
}

/** The coordinator, where it is one of ours. */
export const realOf = (
  module: string,
  coordinator: { readonly queueName: string }
): Effect.Effect<RealCoordinator, InvalidOption> =>
  submitAs in coordinator
    ? Effect.succeed(coordinator as { readonly queueName: string } & RealCoordinator)
    : Effect.fail(
      new InvalidOption({
        queue: module,
        field: "coordinator",
        value: coordinator,
        limit: "one that WriteCoordinator.make or layer made, and no double"
      })
    )
