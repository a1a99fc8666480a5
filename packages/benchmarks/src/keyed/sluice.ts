/** Ours: a `ShardPool`, and a `KeyedBatch`, with nothing set but what the case is about. */
import { KeyedBatch, ShardPool } from "@sluice/core"
import * as Effect from "effect/Effect"
import { type Contender, executing, inFibers } from "./callers.ts"
import type { Command } from "./commands.ts"

const name = "benchmark"

/** Others have one worker. Then so have we, for equal conditions. */
export interface Shards {
  readonly shards?: number
}

export const shardPool = (shards: Shards): Contender => (totals) =>
  Effect.map(
    Effect.orDie(ShardPool.make({
      ...shards,
      name,
      key: (command: Command) => command.key,
      execute: executing(totals)
    })),
    (pool) => inFibers((command) => pool.submit(command))
  )

/** A pool that knows where to ask for a version may forget idle keys. It has no time to: each is known when it comes. */
export const shardPoolWithVersions = (shards: Shards): Contender => (totals) =>
  Effect.map(
    Effect.orDie(ShardPool.make({
      ...shards,
      name,
      key: (command: Command) => command.key,
      execute: executing(totals),
      currentVersion: () => Effect.succeed(0),
      idleTimeToLive: "1 hour"
    })),
    (pool) => inFibers((command) => pool.submit(command))
  )

/** A batch is what is waiting, and its resource is not loaded from anywhere: it is what has the totals of all keys. */
export const keyedBatch = (shards: Shards): Contender => (totals) =>
  Effect.map(
    Effect.orDie(KeyedBatch.make({ ...shards, name, initial: (_key: string) => totals, minDuration: 0 })),
    (batches) => inFibers((command) => batches.modify(command.key, (totals) => [totals.add(command), totals] as const))
  )

/** The resource is a total, from and to a `Map`. */
export const keyedBatchWithStore = (shards: Shards, stored = new Map<string, number>()): Contender => () =>
  Effect.map(
    Effect.orDie(KeyedBatch.make({
      ...shards,
      name,
      load: (key: string) => Effect.sync(() => stored.get(key) ?? 0),
      save: (key: string, total: number) => Effect.sync(() => void stored.set(key, total)),
      minDuration: 0
    })),
    (batches) =>
      inFibers(({ amount, key }) => batches.modify(key, (total) => [total + amount, total + amount] as const))
  )
