/**
 * The laws of backpressure policies, as properties. Run them on a policy of your own.
 *
 * Each law offers random sequences of items to the pair that the policy makes, takes from it, interrupts waiting
 * offers, and watches what happens to every item. No time passes and nothing runs in parallel, so thousands of
 * sequences take a second and every failure can be replayed.
 *
 * | law | what it says | of which policies |
 * |---|---|---|
 * | `bounded` | never more is held than the capacity, in items and in weight | every policy |
 * | `order` | what comes out is in the order offered; under coalescing, in the order in which keys first came | every policy that does not say otherwise |
 * | `noInvention` | what comes out was offered, and comes out once | every policy |
 * | `conservation` | offered = refused + coalesced + dropped + taken + held, and every drop and every coalescing is reported once, with the right item; a shutdown reports what is left | every policy |
 * | `weights` | an item that there is room for is taken, and nothing is dropped for it: what has left weighs nothing any more | every policy that drops only when it is full |
 * | `kept` | exactly what a model says is kept | policies that have a model |
 *
 * A law that fails throws a `LawFailure`. No test runner is needed.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as FastCheck from "effect/FastCheck"
import type { Policy } from "../Backpressure.ts"
import type { Key } from "../Sharding.ts"
import type { PolicyModel } from "./PolicyModel.ts"
import { difference } from "./laws/policyDifference.ts"
import type { Operation, Scenario, TrialLaw } from "./laws/policyScenario.ts"
import { violations } from "./laws/policyTrial.ts"

/**
 * The laws by name.
 *
 * @since 0.1.0
 * @category models
 */
export type Law = "bounded" | "order" | "no-invention" | "conservation" | "weights" | "kept"

/**
 * A policy, and the settings to try it with.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subject<A> {
  readonly policy: Policy<A>
  /** An integer of at least 1. Try 1, 2 and 3: that is where policies go wrong. */
  readonly capacity: number
  /**
   * The items to offer. The laws must be able to tell items apart: of equal items (as keys of a `Map`), a sequence only
   * offers the first. A new object for each item works best; see `items`.
   */
  readonly items: FastCheck.Arbitrary<A>
  /**
   * The weight of an item. One that weighs less than 1, or more than the capacity, is left out: a `PolicyQueue` refuses
   * it before the policy sees it. Default: every item weighs 1.
   */
  readonly weigh?: ((item: A) => number) | undefined
  /** The key by which items coalesce, if they do: both items must have the same key. */
  readonly key?: ((item: A) => Key) | undefined
  /** Whether the policy may return merged items. Default: false. */
  readonly merges?: boolean | undefined
  /** Whether the policy changes the order on purpose: `all` then leaves the law `order` out. Default: false. */
  readonly reorders?: boolean | undefined
  /**
   * Whether the policy drops or refuses items although there is room: `all` then leaves the law `weights` out. Default:
   * false.
   */
  readonly dropsEarly?: boolean | undefined
  /** The exact model of what is kept. Without it `all` leaves the law `kept` out. */
  readonly model?: PolicyModel<A> | undefined
}

/**
 * How often, and from which seed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  /** How many sequences. Default: 1,000. */
  readonly runs?: number | undefined
  /** The same seed tries the same sequences. Default: another one each time. */
  readonly seed?: number | undefined
  /** The longest sequence. Default: 40 operations. */
  readonly operations?: number | undefined
}

/**
 * A policy broke a law. The counterexample is the shortest sequence of operations that could be found.
 *
 * @since 0.1.0
 * @category errors
 */
export class LawFailure extends Data.TaggedError("LawFailure")<{
  readonly law: Law
  /** The `_tag` of the policy. */
  readonly policy: string
  readonly capacity: number
  /** Give it to `Settings` to see the failure again. */
  readonly seed: number
  /** The operations, one a line. */
  readonly counterexample: string
  /** What was wrong. */
  readonly reason: string
  readonly message: string
}> {}

/**
 * The queue never holds more than its capacity: in items, and in weight if items are weighed.
 *
 * @example
 * ```ts
 * import { Backpressure } from "@sluice/core"
 * import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
 *
 * PolicyLaws.bounded({ policy: Backpressure.dropOldest, capacity: 2, items: PolicyLaws.items() })
 * ```
 *
 * @since 0.1.0
 * @category laws
 */
export const bounded = <A>(subject: Subject<A>, settings?: Settings): void => holds("bounded", subject, settings)

/**
 * Items come out in the order in which they were offered. An item that replaces another comes out in its place. Waiting
 * offers are admitted first come, first served: none overtakes another, however light it is.
 *
 * @example
 * ```ts
 * import { Backpressure } from "@sluice/core"
 * import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
 *
 * PolicyLaws.order({ policy: Backpressure.suspend(), capacity: 2, items: PolicyLaws.items() })
 * ```
 *
 * @since 0.1.0
 * @category laws
 */
export const order = <A>(subject: Subject<A>, settings?: Settings): void => holds("order", subject, settings)

/**
 * Each item that comes out was offered, and comes out once. With `merges` the law does not apply.
 *
 * @example
 * ```ts
 * import { Backpressure } from "@sluice/core"
 * import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
 *
 * PolicyLaws.noInvention({ policy: Backpressure.reject, capacity: 2, items: PolicyLaws.items() })
 * ```
 *
 * @since 0.1.0
 * @category laws
 */
export const noInvention = <A>(subject: Subject<A>, settings?: Settings): void =>
  holds("no-invention", subject, settings)

/**
 * After every step, offered = refused + coalesced + dropped + taken + held. Every drop and every coalescing is reported
 * once, with the right item and a reason; an interrupted offer leaves nothing behind; no offer waits forever; and a
 * shutdown reports the remaining items with the reason `"shutdown"`.
 *
 * @example
 * ```ts
 * import { Backpressure } from "@sluice/core"
 * import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
 *
 * PolicyLaws.conservation({ policy: Backpressure.dropNewest, capacity: 2, items: PolicyLaws.items() })
 * ```
 *
 * @since 0.1.0
 * @category laws
 */
export const conservation = <A>(subject: Subject<A>, settings?: Settings): void =>
  holds("conservation", subject, settings)

/**
 * While no offer waits, an item that fits is taken, and nothing is dropped for it. So items that have left no longer
 * count, and an empty queue has its whole capacity again.
 *
 * @example
 * ```ts
 * import { Backpressure } from "@sluice/core"
 * import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
 *
 * PolicyLaws.weights({
 *   policy: Backpressure.dropOldest,
 *   capacity: 3,
 *   items: PolicyLaws.items({ weights: [1, 2, 3] }),
 *   weigh: (item) => item.weight
 * })
 * ```
 *
 * @since 0.1.0
 * @category laws
 */
export const weights = <A>(subject: Subject<A>, settings?: Settings): void => holds("weights", subject, settings)

/**
 * The policy keeps, drops, coalesces and refuses exactly what the model says, and admits waiting offers when the model
 * says.
 *
 * @example
 * ```ts
 * import { Backpressure } from "@sluice/core"
 * import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
 * import * as PolicyModel from "@sluice/core/testing/PolicyModel"
 *
 * PolicyLaws.kept({
 *   policy: Backpressure.dropOldest,
 *   capacity: 2,
 *   items: PolicyLaws.items(),
 *   model: PolicyModel.last({ capacity: 2 })
 * })
 * ```
 *
 * @since 0.1.0
 * @category laws
 */
export const kept = <A>(subject: Subject<A> & { readonly model: PolicyModel<A> }, settings?: Settings): void =>
  run(subject, settings, (scenario) => {
    const reason = difference(subject, subject.model, scenario, show)
    return reason === undefined ? undefined : { law: "kept", reason }
  })

/**
 * Checks every law that applies to the subject. Throws at the first that is broken.
 *
 * @example
 * ```ts
 * import { Backpressure } from "@sluice/core"
 * import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
 *
 * const policy = Backpressure.coalesceByKey((item: PolicyLaws.Item) => item.key)
 * for (const capacity of [1, 2, 3]) {
 *   PolicyLaws.all({ policy, capacity, items: PolicyLaws.items(), key: (item) => item.key })
 * }
 * ```
 *
 * @since 0.1.0
 * @category laws
 */
export const all = <A>(subject: Subject<A>, settings?: Settings): void => {
  run(
    subject,
    settings,
    (scenario) =>
      violations(subject, scenario, show).find(({ law }) =>
        (law !== "order" || subject.reorders !== true) && (law !== "weights" || subject.dropsEarly !== true)
      )
  )
  const { model } = subject
  if (model !== undefined) kept({ ...subject, model }, settings)
}

/**
 * An item to try policies with.
 *
 * @since 0.1.0
 * @category items
 */
export interface Item {
  readonly key: Key
  readonly weight: number
  readonly value: number
}

/**
 * The options of items.
 *
 * @since 0.1.0
 * @category items
 */
export interface ItemsOptions {
  /** The keys. Default: `__proto__`, `constructor`, `""`, both zeros, and others that are known to break indexes. */
  readonly keys?: ReadonlyArray<Key> | undefined
  /** The weights. Default: 1. */
  readonly weights?: ReadonlyArray<number> | undefined
}

/**
 * New items each time, with few keys, so that they often coalesce.
 *
 * From an arbitrary it makes items of your own. Half of them are like one of five others, but new objects, so that keys
 * repeat even if the arbitrary hardly ever repeats one.
 *
 * @example
 * ```ts
 * import { Backpressure } from "@sluice/core"
 * import * as PolicyLaws from "@sluice/core/testing/PolicyLaws"
 * import { Arbitrary, Schema } from "effect"
 *
 * const Order = Schema.Struct({ id: Schema.UUID, total: Schema.Int })
 *
 * PolicyLaws.all({
 *   policy: Backpressure.coalesceByKey((order: typeof Order.Type) => order.id),
 *   capacity: 3,
 *   items: PolicyLaws.items(Arbitrary.make(Order)),
 *   key: (order) => order.id
 * })
 * ```
 *
 * @since 0.1.0
 * @category items
 */
export const items: {
  (options?: ItemsOptions): FastCheck.Arbitrary<Item>
  <A>(arbitrary: FastCheck.Arbitrary<A>): FastCheck.Arbitrary<A>
} = (given: ItemsOptions | FastCheck.Arbitrary<any> = {}): FastCheck.Arbitrary<any> => {
  if ("generate" in given) {
    const again = FastCheck.nat(4).map((seed) => FastCheck.sample(given, { numRuns: 1, seed })[0])
    return FastCheck.oneof(given, again)
  }
  return FastCheck.record({
    key: FastCheck.constantFrom(...(given.keys ?? awkwardKeys)),
    weight: FastCheck.constantFrom(...(given.weights ?? [1])),
    value: FastCheck.nat(99)
  }, { noNullPrototype: true })
}

const awkwardKeys: ReadonlyArray<Key> = ["a", "__proto__", "constructor", "", 0, -0, "0"]

// -----------------------------------------------------------------------------
// running
// -----------------------------------------------------------------------------

interface Found {
  readonly law: Law
  readonly reason: string
}

const holds = <A>(law: TrialLaw, subject: Subject<A>, settings: Settings | undefined): void =>
  run(subject, settings, (scenario) => {
    try {
      return violations(subject, scenario, show).find((violation) => violation.law === law)
    } catch (error) {
      return { law, reason: `the policy threw ${String(error)}` }
    }
  })

const run = <A>(
  subject: Subject<A>,
  { operations = 40, runs = 1000, seed }: Settings = {},
  check: (scenario: Scenario<A>) => Found | undefined
): void => {
  const checked = (scenario: Scenario<A>): Found | undefined => {
    try {
      return check(scenario)
    } catch (error) {
      return { law: "conservation", reason: `the policy threw ${String(error)}` }
    }
  }
  const property = FastCheck.property(
    scenarios(subject.items, operations),
    (scenario) => checked(scenario) === undefined
  )
  const result = FastCheck.check(property, seed === undefined ? { numRuns: runs } : { numRuns: runs, seed })
  if (!result.failed) return
  if (result.counterexample === null) throw new Error(`nothing was tried: ${result.error}`)
  const [scenario] = result.counterexample
  // Items may have changed on the way: what it is now is what can be told.
  const { law, reason } = checked(scenario) ?? { law: "conservation", reason: "the outcome differs from run to run" }
  throw failure({
    law,
    policy: subject.policy._tag,
    capacity: subject.capacity,
    seed: result.seed,
    counterexample: render(scenario),
    reason
  })
}

// The message is made here and not by a getter: test runners copy an error's fields one by one.
const failure = (fields: Omit<ConstructorParameters<typeof LawFailure>[0], "message">): LawFailure =>
  new LawFailure({
    ...fields,
    message: `law "${fields.law}" does not hold for policy "${fields.policy}" with capacity ${fields.capacity}`
      + ` (seed ${fields.seed})\n${fields.reason}\n${fields.counterexample}`
  })

const scenarios = <A>(
  items: FastCheck.Arbitrary<A>,
  operations: number
): FastCheck.Arbitrary<Scenario<A>> => {
  const operation = FastCheck.oneof(
    { arbitrary: FastCheck.record({ _tag: FastCheck.constant("offer" as const), item: items }), weight: 6 },
    {
      arbitrary: FastCheck.record({
        _tag: FastCheck.constant("offerAll" as const),
        items: FastCheck.array(items, { maxLength: 5 })
      }),
      weight: 2
    },
    { arbitrary: FastCheck.constant({ _tag: "poll" as const }), weight: 3 },
    {
      arbitrary: FastCheck.record({ _tag: FastCheck.constant("pollUpTo" as const), limit: FastCheck.nat(4) }),
      weight: 1
    },
    {
      arbitrary: FastCheck.record({ _tag: FastCheck.constant("cancel" as const), pick: FastCheck.nat(20) }),
      weight: 1
    }
  )
  return FastCheck.record({
    operations: FastCheck.array(operation, { maxLength: operations, size: "max" }),
    ending: FastCheck.constantFrom("take", "shutdown"),
    afterwards: FastCheck.array(items, { maxLength: 6 })
  })
}

const show = (item: unknown): string => FastCheck.stringify(item)

const render = <A>({ afterwards, ending, operations }: Scenario<A>): string => {
  const lines = operations.map((operation, index) => `  ${index + 1}. ${renderOperation(operation)}`)
  lines.push(ending === "shutdown" ? "  then shut down" : "  then take everything")
  if (ending === "take") { for (const item of afterwards) lines.push(`  then offer ${show(item)}`) }
  return lines.join("\n")
}

const renderOperation = <A>(operation: Operation<A>): string => {
  switch (operation._tag) {
    case "offer":
      return `offer ${show(operation.item)}`
    case "offerAll":
      return `offer all of ${operation.items.map(show).join(", ")}`
    case "poll":
      return "take one"
    case "pollUpTo":
      return `take up to ${operation.limit}`
    case "cancel":
      return `interrupt waiting offer ${operation.pick}`
  }
}
