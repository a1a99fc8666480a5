/**
 * The life of the second process, in the eyes of the first: it is started, killed once in the middle, started again, and
 * stopped when everything is counted.
 *
 * At the kill, each worker has counted a batch, and the commit of that is on the disk; but the batch is not settled. So
 * these batches are in flight, and no others. They come back when their leases run out.
 */
import type { QueueError } from "@sluice/core"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { RoutesQueue, settings } from "./RoutesQueue.ts"
import { script, start, WorkerFailed, type WorkerProcess } from "./WorkerProcess.ts"

/** What was in flight at the kill: batches, by their first flights. */
export interface Kill {
  readonly inFlight: ReadonlyArray<number>
}

export interface SecondProcess {
  /** The one that runs now: 1 is the first. */
  readonly current: () => { readonly number: number; readonly pid: number | undefined }
  /** Fails as soon as it has ended without having been asked to. */
  readonly watch: Effect.Effect<never, WorkerFailed>
  /**
   * To be called once. Its workers keep the next batch that they count, and when each has one, it is killed. Answers when
   * what is offered from then on will be kept.
   */
  readonly killSoon: Effect.Effect<void, WorkerFailed>
  /**
   * To be called when everything is offered. Waits until all of it is counted, and the process has ended well. Answers
   * what was in flight when it was killed, if it was.
   */
  readonly finish: Effect.Effect<
    Kill | undefined,
    WorkerFailed | QueueError.StoreUnavailable | QueueError.QueueClosed<never>
  >
}

const lookEveryMillis = 20

/** How long the process may settle nothing while there is something to settle. */
const patienceMillis = 30_000

/**
 * Runs it in a fiber of its own. The program is uninterruptible, so that Ctrl-C ends nothing but the offering; and where
 * nothing can be interrupted, no race ends and no timeout does anything.
 */
const inOwnFiber = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Effect.fork(Effect.interruptible(effect)), Fiber.join)

/** Starts it. It is killed when the scope is closed. */
export const make = (
  file: string,
  program = script
): Effect.Effect<SecondProcess, never, RoutesQueue | Scope.Scope> =>
  Effect.gen(function*() {
    const queue = yield* RoutesQueue
    const scope = yield* Effect.scope
    const clock = yield* Effect.clock
    const failed = yield* Deferred.make<never, WorkerFailed>()
    let number = 0
    let hasStoredAll = false
    let killing: Fiber.Fiber<Kill, WorkerFailed | QueueError.StoreUnavailable> | undefined

    const startNext = Effect.gen(function*() {
      const next = yield* start(program, [file, String(++number)])
      yield* Effect.forkScoped(Effect.interruptible(Deferred.complete(failed, next.watch)))
      return next
    }).pipe(Scope.extend(scope))
    let current: WorkerProcess = yield* startNext

    /**
     * Looks again and again at what is stored, and at how many batches are kept, until it is so. What does not change is
     * waited for while flights are offered, which may take as long as it will, and then for some time.
     */
    const until = (condition: (seen: { pending: number; held: number; isAllStored: boolean }) => boolean) =>
      Effect.suspend(() => {
        let last = ""
        let changedAt = clock.unsafeCurrentTimeMillis()
        const look = Effect.gen(function*() {
          // Asked before the store is: what is stored in between is not in its answer.
          const isAllStored = hasStoredAll
          const { pending } = yield* queue.stats
          const { length } = yield* current.held
          const now = clock.unsafeCurrentTimeMillis()
          const seen = `${pending.items} ${length}`
          if (seen !== last || !isAllStored) changedAt = now
          last = seen
          if (now - changedAt > patienceMillis) {
            return yield* new WorkerFailed({ problem: `has counted nothing for ${patienceMillis / 1000} seconds` })
          }
          return condition({ pending: pending.batches, held: length, isAllStored })
        })
        return Effect.asVoid(Effect.repeat(Effect.delay(look, lookEveryMillis), { until: (holds) => holds }))
      })

    const kill = Effect.gen(function*() {
      // Each worker keeps a batch; or there are not as many.
      yield* until(({ held, isAllStored, pending }) => held >= settings.workers || isAllStored && pending <= held)
      const inFlight = yield* current.held
      yield* current.kill
      current = yield* startNext
      return { inFlight }
    })

    const finish = Effect.gen(function*() {
      yield* queue.flush
      hasStoredAll = true
      const killed = killing === undefined ? undefined : yield* Fiber.join(killing)
      yield* until(({ pending }) => pending === 0)
      yield* current.stop
      return killed
    })

    return {
      current: () => ({ number, pid: current.pid }),
      watch: Deferred.await(failed),
      killSoon: Effect.suspend(() => inOwnFiber(current.hold)).pipe(
        Effect.zipRight(Effect.forkIn(Effect.interruptible(kill), scope)),
        Effect.map((fiber) => {
          killing = fiber
        })
      ),
      finish: inOwnFiber(Effect.raceFirst(finish, Deferred.await(failed)))
    }
  })
