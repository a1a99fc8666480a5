/**
 * The result of a function that never throws: a value, or what is wrong.
 *
 * It is plain data. `_tag` tells the two apart, so a `switch` or an `if` is enough.
 *
 * @example
 * ```ts
 * import { Codec } from "@sluice/core"
 *
 * const inspected = Codec.inspect()({ id: "a-1" })
 * console.log(inspected._tag === "Success" ? inspected.success.bytes : inspected.failure.detail)
 * ```
 *
 * @since 0.1.0
 */

/**
 * A value.
 *
 * @since 0.1.0
 * @category models
 */
export interface Success<out A> {
  readonly _tag: "Success"
  readonly success: A
}

/**
 * What is wrong.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure<out E> {
  readonly _tag: "Failure"
  readonly failure: E
}

/**
 * A value, or what is wrong.
 *
 * @since 0.1.0
 * @category models
 */
export type Result<A, E> = Success<A> | Failure<E>

/**
 * @since 0.1.0
 * @category constructors
 */
export const succeed = <A>(success: A): Success<A> => ({ _tag: "Success", success })

/**
 * @since 0.1.0
 * @category constructors
 */
export const fail = <E>(failure: E): Failure<E> => ({ _tag: "Failure", failure })

/**
 * @since 0.1.0
 * @category guards
 */
export const isSuccess = <A, E>(result: Result<A, E>): result is Success<A> => result._tag === "Success"

/**
 * @since 0.1.0
 * @category guards
 */
export const isFailure = <A, E>(result: Result<A, E>): result is Failure<E> => result._tag === "Failure"

/**
 * The same with another value.
 *
 * @since 0.1.0
 * @category combinators
 */
export const map = <A, E, B>(result: Result<A, E>, f: (success: A) => B): Result<B, E> =>
  isSuccess(result) ? succeed(f(result.success)) : result

/**
 * All the values, or the first that is wrong.
 *
 * @since 0.1.0
 * @category combinators
 */
export const all = <A, E>(results: Iterable<Result<A, E>>): Result<ReadonlyArray<A>, E> => {
  const values: Array<A> = []
  for (const result of results) {
    if (isFailure(result)) return result
    values.push(result.success)
  }
  return succeed(values)
}

/**
 * Returns the value. Throws an `Error` if there is none, with the failure as its `cause`.
 *
 * @since 0.1.0
 * @category getters
 */
export const getOrThrow = <A, E>(result: Result<A, E>): A => {
  if (isSuccess(result)) return result.success
  throw new Error("there is no value, but a failure", { cause: result.failure })
}
