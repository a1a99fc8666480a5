import type { Result } from "@sluice/core"

/** What is wrong. */
export const failureOf = <A, E>(result: Result.Result<A, E>): E => {
  if (result._tag === "Failure") return result.failure
  throw new Error("there is a value, and nothing wrong")
}
