/**
 * Checks that a value is a policy, with all of its functions.
 */
import * as Effect from "effect/Effect"
import * as Check from "../../unstable/OptionCheck.ts"
import * as Table from "../../unstable/OptionTable.ts"

const whenFullTags = ["suspend", "reject", "dropNewest", "dropOldest"]

const tagOf = (policy: unknown): unknown =>
  typeof policy === "object" && policy !== null && "_tag" in policy ? policy._tag : undefined

/** Whether it is a policy that takes no functions of the user's. */
export const isPlain = (policy: unknown): boolean => whenFullTags.some((tag) => tag === tagOf(policy))

export const checkPolicy = (queue: string, policy: unknown): Check.Check => {
  const { whenFull } = Object(policy) as { readonly whenFull?: unknown }
  return tagOf(policy) === "coalesceByKey"
    ? Effect.all([
      Check.withFunctions(queue, "policy", policy, ["pair", "key"], ["merge"]),
      Check.check(isPlain(whenFull), queue, "policy.whenFull", whenFull, `a policy that is ${whenFullTags.join(", ")}`)
    ], { discard: true })
    : Check.withFunctions(queue, "policy", policy, ["pair"])
}

/** An option that is a policy. A configuration may have a plain one. */
export const policyEntry = <Policy, Plain extends Policy>(): Table.Entry<Policy, Policy, Plain, ""> =>
  Table.make({
    kind: "policy",
    check: (queue, field, value) => Effect.as(checkPolicy(queue, value), value as Policy)
  })
