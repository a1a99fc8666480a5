import { type Sharding, ShardPool } from "@sluice/core"
import { Cause, Effect, Exit, Option, Scope, TestClock } from "effect"

/** A command says itself what it does. */
export interface Command {
  readonly key: Sharding.Key
  readonly name: string
  readonly run: (run: ShardPool.Run) => Effect.Effect<unknown, unknown>
}

export type Pool = ShardPool.ShardPool<Command, unknown, unknown>
export type Options = Partial<ShardPool.Options<Command, unknown, unknown, never, unknown>>

/** Answers with its version, unless it is told otherwise. */
export const command = (
  key: Sharding.Key,
  name: string = String(key),
  run: Command["run"] = ({ version }) => Effect.succeed(version)
): Command => ({ key, name, run })

/** A command that runs until it is told to end, and tells when it has begun. */
export const gated = (key: Sharding.Key, name?: string, run?: Command["run"]) => {
  const begun = Effect.unsafeMakeLatch()
  const gate = Effect.unsafeMakeLatch()
  const made = command(key, name, (how) =>
    Effect.zipRight(
      begun.open,
      Effect.zipRight(gate.await, Effect.suspend(() => run?.(how) ?? Effect.succeed(how.version)))
    ))
  return { command: made, begun: begun.await, end: gate.open }
}

/** A pool of one shard, and one worker, that remembers what has begun to run. */
export const pool = (options?: Options) =>
  Effect.gen(function*() {
    const begun: Array<string> = []
    const versions: Array<readonly [name: string, version: number]> = []
    const made: Pool = yield* ShardPool.make<Command, unknown, unknown, never, unknown>({
      name: "test",
      shards: 1,
      key: ({ key }) => key,
      execute: (command, run) => {
        begun.push(command.name)
        versions.push([command.name, run.version])
        return command.run(run)
      },
      ...options
    })
    // A test that fails leaves commands that nobody ends, and closing would wait for time to pass.
    yield* Effect.addFinalizer((exit) =>
      Exit.isFailure(exit) ? Effect.forkDaemon(Effect.repeatN(TestClock.adjust("1 minute"), 20)) : Effect.void
    )
    return { pool: made, begun, versions }
  })

/** A pool in a scope of its own, which the test closes. */
export const poolInScope = (options?: Options) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const made = yield* Scope.extend(pool(options), scope)
    return { ...made, close: Scope.close(scope, Exit.void) }
  })

/** Waits, without any time passing, until the counts are such. */
export const until = (
  { metrics }: Pool,
  holds: (metrics: ShardPool.Metrics) => boolean
): Effect.Effect<ShardPool.Metrics> =>
  Effect.gen(function*() {
    for (let turn = 0; turn < 1000; turn++) {
      const counts = yield* metrics
      if (holds(counts)) return counts
      yield* Effect.yieldNow()
      // A worker may be at a break.
      if (turn % 10 === 9) yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    }
    return yield* Effect.dieMessage(`it never came to that: ${JSON.stringify(yield* metrics)}`)
  })

/** Submits in a fiber of its own, and goes on when the pool has the command. */
export const submitting = (to: Pool, made: Command, options?: { readonly detach?: boolean }) =>
  Effect.gen(function*() {
    const { offered } = yield* to.metrics
    const fiber = yield* Effect.fork(to.submit(made, options))
    yield* until(to, (counts) => counts.offered > offered)
    return fiber
  })

/** Lets everything happen that needs no time. */
export const settleDown = TestClock.adjust(0)

/** What an effect has failed with. */
export const failureOf = <A, E>(exit: Exit.Exit<A, E>): unknown =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined

/** What must be `offered`; NaN where the counts contradict one another. */
export const accounted = (metrics: ShardPool.Metrics): number =>
  metrics.settled === metrics.succeeded + metrics.rejected + metrics.failed
    && metrics.dropped === Object.values(metrics.droppedByReason).reduce((sum, count) => sum + count, 0)
    ? metrics.refused + metrics.cancelled + metrics.dropped + metrics.settled + metrics.held
    : NaN

export const sorted = (names: ReadonlyArray<string>): ReadonlyArray<string> => [...names].sort()
