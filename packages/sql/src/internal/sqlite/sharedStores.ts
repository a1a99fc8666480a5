/**
 * The open stores of this process, by file: opening the same file again shares the store. Two writing connections would
 * fight over the lock of the file, and each would wait for the other as for another process.
 */
import { forkIn, runSync } from "@sluice/core/unstable/Fibers"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Hash from "effect/Hash"
import * as RcMap from "effect/RcMap"
import * as Scope from "effect/Scope"

/** A file, however its path is written, and how it is opened by who comes first. */
class OpenFile<out A, out E> implements Equal.Equal {
  readonly identity: string
  readonly open: Effect.Effect<A, E, Scope.Scope>

  constructor(identity: string, open: Effect.Effect<A, E, Scope.Scope>) {
    this.identity = identity
    this.open = open
  }

  [Hash.symbol](): number {
    return Hash.string(this.identity)
  }

  [Equal.symbol](that: Equal.Equal): boolean {
    return that instanceof OpenFile && that.identity === this.identity
  }
}

/** What is shared, from the moment when it begins to be opened. */
interface Shared<out O, in out A, in out E> {
  readonly options: O
  readonly opened: Deferred.Deferred<A, E>
}

/** Files that are open or being opened, each until the last of its users has left. */
export class SharedStores<in out O, in out A, in out E> {
  private readonly files = runSync(
    Effect.flatMap(Scope.make(), (forEver) =>
      Scope.extend(
        RcMap.make({ lookup: ({ open }: OpenFile<Shared<O, A, E>, never>) => open }),
        forEver
      ))
  )
  // A map that is asked twice at once would open twice.
  private readonly oneAtATime = Effect.unsafeMakeSemaphore(1)

  /**
   * What is open of a file, for as long as the scope is; opened with these options where nothing is. `check` may refuse
   * to share what was opened with others. Who is interrupted while it opens takes nothing from others who wait for it
   * too.
   */
  share<E2>(
    identity: string,
    options: O,
    open: Effect.Effect<A, E, Scope.Scope>,
    check: (opened: O) => Effect.Effect<void, E2>
  ): Effect.Effect<A, E | E2, Scope.Scope> {
    const file = new OpenFile(identity, start(options, open))
    const shared = Effect.flatMap(
      this.oneAtATime.withPermits(1)(RcMap.get(this.files, file)),
      ({ opened, options }) => Effect.zipRight(check(options), Deferred.await(opened))
    )
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        // One that fails is not kept by the scope of who may try again.
        const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
        return yield* Effect.onError(restore(Scope.extend(shared, scope)), (cause) =>
          Scope.close(scope, Exit.failCause(cause)))
      })
    )
  }
}

/** Begins to open, in a fiber that ends with the scope. */
const start = <O, A, E>(
  options: O,
  open: Effect.Effect<A, E, Scope.Scope>
): Effect.Effect<Shared<O, A, E>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const opened = yield* Deferred.make<A, E>()
    const scope = yield* Effect.scope
    yield* forkIn(Deferred.complete(opened, Scope.extend(open, scope)), scope)
    return { options, opened }
  })
