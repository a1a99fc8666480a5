/**
 * What a command costs from the call to the answer, with callers that wait for it, in a `ShardPool` and a `KeyedBatch`,
 * against what else there is to do it; and what it costs as the keys become more.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import {
  type Benchmark,
  type Case,
  type Goal,
  type Plan,
  type Ratio,
  timesAsFast,
  timesItsTime,
  together
} from "./Benchmark.ts"
import type { Calling, Contender } from "./keyed/callers.ts"
import { Books, type Command, makeCommands, scattered, Totals } from "./keyed/commands.ts"
import { dataLoader, floor, queueAndDeferred, requestResolver, requestResolverWithWindow } from "./keyed/peers.ts"
import { keyedBatch, keyedBatchWithStore, shardPool, shardPoolWithVersions } from "./keyed/sluice.ts"

/** How much is done in a sample. */
export interface Sizes {
  /** Calls of those who are fast, of those who are not, and of those who are slow. */
  readonly calling: ReadonlyArray<{
    readonly callers: number
    readonly fast: number
    readonly some: number
    readonly few: number
  }>
  readonly keys: readonly [one: number, some: number, many: number]
  /** Calls, each for another key, and by how many callers. */
  readonly spread: number
  readonly spreadCallers: number
}

/** Some tens of milliseconds for most. One caller has to be woken up for each call, which takes its time. */
const sizes: Sizes = {
  calling: [
    { callers: 1, fast: 16_384, some: 4_096, few: 512 },
    { callers: 64, fast: 32_768, some: 8_192, few: 1_024 },
    { callers: 1_024, fast: 32_768, some: 8_192, few: 2_048 }
  ],
  keys: [1, 1_000, 1_000_000],
  spread: 32_768,
  spreadCallers: 64
}

/** One caller shares nothing with anybody, and what 1,024 cost is a matter of garbage collection first of all. */
const goalCallers = 64
const asFast: Goal = { atLeast: 6 }
const itsTime: Goal = { atMost: 1.4 }
const asMoreKeys: Goal = { atMost: 1.5 }

const countOf = (count: number, what: string) => `${count.toLocaleString("en-US")} ${what}${count === 1 ? "" : "s"}`

/** So many calls, and every answer looked at. */
const sampleOf = (name: string, calling: Calling, books: Books, callers: number, calls: number): Case["sample"] =>
  Effect.suspend(() => {
    books.open(calls)
    return Effect.map(calling(callers, books), (millis) => {
      books.close(name, callers)
      return { cost: millis * 1e6 / calls }
    })
  })

/** All callers call for one key: who makes batches has as many commands in one as there are callers. */
const callingOf = (
  { callers, few, fast, some }: Sizes["calling"][number],
  commands: ReadonlyArray<Command>
): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const by = countOf(callers, "caller")
    const cases: Array<Case> = []
    const add = (who: string, contender: Contender, calls: number) =>
      Effect.map(contender(new Totals(commands.length), callers), (calling) => {
        const name = `${by}, ${who}`
        cases.push({ name, unit: "ns/op", sample: sampleOf(name, calling, new Books(commands), callers, calls) })
        return { name, who }
      })
    const one = { shards: 1 }
    const pool = yield* add("ShardPool.submit", shardPool(one), fast)
    const batch = yield* add("KeyedBatch.modify", keyedBatch(one), fast)
    const stored = yield* add("KeyedBatch.modify with load and save", keyedBatchWithStore(one), fast)
    const limit = yield* add("Effect.async and a worker", floor, fast)
    const idiom = yield* add("Queue and Deferred", queueAndDeferred, some)
    const resolver = yield* add("RequestResolver", requestResolver, few)
    const resolverWithWindow = yield* add("RequestResolver with a window", requestResolverWithWindow, few)
    const loader = yield* add("DataLoader", dataLoader, fast)

    const goals = callers === goalCallers ? { asFast, itsTime } : undefined
    const against = (ours: typeof pool, theirs: typeof pool, goal?: Goal) =>
      timesAsFast(`${ours.name}, against ${theirs.who}`, ours.name, theirs.name, goal)
    const ratios = [pool, batch, stored].flatMap((ours): ReadonlyArray<Ratio> => [
      against(ours, idiom, goals?.asFast),
      timesItsTime(`${ours.name}, against ${limit.who}`, ours.name, limit.name, goals?.itsTime)
    ])
    const batching = [resolver, resolverWithWindow, loader]
    return { cases, ratios: [...ratios, ...batching.map((theirs) => against(stored, theirs))] }
  })

/** Each call is for another key than the one before, and every key is known. Shards and workers are as they come. */
const spreadOf = ({ keys, spread, spreadCallers }: Sizes): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    // Once, when the first sample is taken, and so is all that follows: whoever asks for other measures does not wait.
    const commandsOf = yield* Effect.forEach(keys, (count) => Effect.cached(Effect.sync(() => makeCommands(count))))

    const caseOf = (
      who: string,
      contender: Contender,
      count: number,
      commands: Effect.Effect<ReadonlyArray<Command>>
    ) =>
      Effect.gen(function*() {
        const name = `${who}, ${countOf(count, "key")}`
        const sample = yield* Effect.cached(Effect.gen(function*() {
          const inTurn = yield* commands
          const calling = yield* Scope.extend(contender(new Totals(count), spreadCallers), scope)
          // Every key once, in another order: what is filled by this is not in the order of the commands either.
          yield* sampleOf(name, calling, new Books(scattered(inTurn)), Math.min(count, spreadCallers), count)
          return sampleOf(name, calling, new Books(inTurn, 1), spreadCallers, spread)
        }))
        return { name, unit: "ns/op", sample: Effect.flatten(sample) } satisfies Case
      })

    const planOf = (who: string, contender: Contender) =>
      Effect.gen(function*() {
        const cases = yield* Effect.forEach(keys, (count, index) => caseOf(who, contender, count, commandsOf[index]))
        const [one, some, many] = cases
        return {
          cases,
          ratios: [
            timesItsTime(`${who} per call, a million keys against a thousand`, many.name, some.name, asMoreKeys),
            timesItsTime(`${who} per call, a thousand keys against one`, some.name, one.name)
          ]
        }
      })

    return together([
      yield* planOf("ShardPool.submit", shardPool({})),
      yield* planOf("ShardPool.submit with currentVersion", shardPoolWithVersions({})),
      yield* planOf("KeyedBatch.modify", keyedBatch({}))
    ])
  })

export const makePlan = (sizes: Sizes): Effect.Effect<Plan, never, Scope.Scope> =>
  Effect.gen(function*() {
    const commands = makeCommands(1)
    const calling = yield* Effect.forEach(sizes.calling, (size) => callingOf(size, commands))
    return together([...calling, yield* spreadOf(sizes)])
  })

export const keyed: Benchmark = {
  name: "keyed",
  title: "commands for keys, from the call to the answer",
  packages: ["@sluice/core", "effect", "@effect/experimental", "dataloader"],
  plan: makePlan(sizes)
}
