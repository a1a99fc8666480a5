import { Backpressure, QueueError, type QueueEvent, type Sharding, ShardPool } from "@sluice/core"
import { Cause, Effect, Exit, Fiber, FiberId, Logger, LogLevel, Option, Scope, Stream } from "effect"
import { describe, expect, it } from "vitest"
import { choices } from "./support/batchPrograms.ts"
import { accounted, failureOf } from "./support/shardPool.ts"
import { atLeast, forSeeds } from "./support/campaigns.ts"

// Random programs on one pool, and a model that knows what each key may do next: which version comes, whether the
// store is asked, whose turn it is. It is told by the handlers and the store, step by step, and compared with what the
// callers, the counts and the events say.

type Outcome = "done" | "rejects" | "fails" | "dies" | "interrupts" | "ends its fiber" | "conflicts" | "hangs"

/** What a command does when it is run. */
interface Plan {
  readonly outcome: Outcome
  /** How often it finds its version taken although it is not. */
  readonly conflicts: number
  readonly beforeMillis: number
  readonly afterMillis: number
  /** Whether it has written by the time it fails, dies or is interrupted. */
  readonly writesFirst: boolean
  readonly isUninterruptible: boolean
  /** Whether it writes late, after it was interrupted. */
  readonly writesLate: boolean
}

/** A command, and what is known of it. */
interface Trial {
  readonly id: number
  readonly key: Sharding.Key
  readonly call: "submit" | "detach" | "offer"
  readonly plan: Plan
  /** Its place among all calls. */
  place: number | undefined
  /** How many calls before it had found their places in the pool by then: it comes after those. */
  after: number
  /** How often it was run. */
  runs: number
  conflicts: number
  isActive: boolean
  /** How its code ended the last time. */
  ended: Exit.Exit<string, unknown> | undefined
  isCallerInterrupted: boolean
  isDetached: boolean
  /** Its caller has left before it had begun. */
  isOut: boolean
  answer: Exit.Exit<unknown, unknown> | undefined
}

/** What is known of a key. */
interface KeyModel {
  /** After which versions the next command may come; none: the store has to be asked. */
  known: ReadonlyArray<number>
  /** Whether the pool may ask although the model knows: the success of an interrupted command may be known to it, or not. */
  mayAsk: boolean
  /** The calls before this place have had their turn. */
  over: number
  active: number
  /** What was run last. */
  last: { readonly trial: Trial; readonly version: number } | undefined
  asking: number
  /** Whether somebody else has written since the store was read. */
  isForeign: boolean
  unasked: ReadonlyArray<unknown>
}

export interface Setting {
  readonly isInTime: boolean
  /** Whether everything is to be run that was accepted. */
  readonly isPatient: boolean
}

const rejected = (id: number) => ({ _tag: "Rejected", id })
const failed = (id: number) => ({ _tag: "Failed", id })
const isRejected = (error: unknown): boolean => {
  const { _tag, id } = error as { readonly _tag: string; readonly id: number }
  // What throws is no answer: the outcome counts as unknown.
  if (_tag === "Failed" && id % 2 === 0) throw new Error("cannot say")
  return _tag === "Rejected"
}

const identity = (key: Sharding.Key) => String(key)

const program = (setting: Setting) => (seed: number) =>
  Effect.gen(function*() {
    const { below, chance, pick } = choices(seed)
    const violations: Array<string> = []
    const must = (holds: boolean, what: string) => {
      if (!holds && !violations.includes(what)) violations.push(what)
    }
    const seen: Record<string, number> = {}
    const saw = (what: string) => {
      seen[what] = (seen[what] ?? 0) + 1
    }

    // --- the options --------------------------------------------------------------------------------------------------

    const shards = 1 + below(3)
    const workers = 1 + below(3)
    const capacity = 1 + below(3)
    const policy = pick<ShardPool.BuiltInPolicy>([
      Backpressure.suspend(),
      Backpressure.suspend(),
      Backpressure.suspend({ timeout: 5 }),
      Backpressure.reject,
      Backpressure.dropNewest,
      Backpressure.dropOldest
    ])
    const isVersioned = chance(0.7)
    const idle = pick([undefined, Infinity, 3, 30])
    const forgets = isVersioned && (idle ?? Infinity) < 300_000
    const knowsRejections = chance(0.7)
    const ownShardOf = chance(0.3)
    const shardOf: Sharding.ShardOf = (key, shards) => identity(key).length % shards
    const drainTimeout = setting.isPatient ? Infinity : pick([0, 5, 50])
    const keys: ReadonlyArray<Sharding.Key> = ["a", "bb", "c", 7, "7"].slice(0, 1 + below(5))

    // --- the model ----------------------------------------------------------------------------------------------------

    const trials: Array<Trial> = []
    const store = new Map<string, number>()
    const writers = new Map<string, Trial | undefined>()
    const models = new Map<string, KeyModel>()
    const activeIn = new Map<number, number>()
    let calls = 0
    let settledCalls = 0
    let isClosing = false
    let isDraining = false
    const modelOf = (key: Sharding.Key): KeyModel => {
      const id = identity(key)
      let model = models.get(id)
      if (model === undefined) {
        model = {
          known: isVersioned ? [] : [0],
          mayAsk: false,
          over: 0,
          active: 0,
          last: undefined,
          asking: 0,
          isForeign: false,
          unasked: []
        }
        models.set(id, model)
      }
      return model
    }
    const write = (trial: Trial, version: number): boolean => {
      const id = identity(trial.key)
      if (!isVersioned) return true
      if ((store.get(id) ?? 0) !== version - 1) {
        must(modelOf(trial.key).isForeign, `${id} was to have version ${version} again`)
        saw("taken by an outside writer")
        return false
      }
      store.set(id, version)
      writers.set(`${id}/${version}`, trial)
      return true
    }
    const writeFromOutside = (key: Sharding.Key) => {
      const id = identity(key)
      const version = (store.get(id) ?? 0) + 1
      store.set(id, version)
      writers.set(`${id}/${version}`, undefined)
      modelOf(key).isForeign = true
    }

    // --- the user's code ----------------------------------------------------------------------------------------------

    const dispatched = (trial: Trial, { key, shard, version }: ShardPool.Run) => {
      const model = modelOf(key)
      must(key === trial.key, "a command was run with the key of another")
      must(
        !ownShardOf || shard === shardOf(identity(key), shards),
        "a command was run in a shard that is not that of its key"
      )
      must(!trial.isOut, "a command was run whose caller had taken it out")
      must(
        trial.runs === 0 || (isVersioned && trial.runs === 1 && trial.conflicts === 1),
        "a command was run twice without a conflict"
      )
      must(trial.runs > 0 || trial.place! >= model.over, "a command was run after one of its key that came later")
      must(model.active === 0, "a command was run beside another of its key")
      must(model.known.includes(version - 1), `version ${version} was run after ${model.known.join(" or ")}`)
      if (isVersioned && !model.isForeign) {
        must(version === (store.get(identity(key)) ?? 0) + 1, `version ${version} is not the next one of the store`)
      }
      model.over = Math.max(model.over, trial.after)
      model.mayAsk = false
      model.last = { trial, version }
      // Until it has ended. A command that is interrupted before its first step has no end of its own.
      model.known = isVersioned ? [] : [version - 1]
      trial.runs += 1
    }
    const begin = (trial: Trial, shard: number) => {
      const model = modelOf(trial.key)
      model.active += 1
      trial.isActive = true
      activeIn.set(shard, (activeIn.get(shard) ?? 0) + 1)
      must(model.active === 1, "two commands of a key ran at once")
      must(activeIn.get(shard)! <= workers, "more commands ran in a shard than it has workers")
    }
    const end = (trial: Trial, { shard, version }: ShardPool.Run, exit: Exit.Exit<string, unknown>) => {
      const model = modelOf(trial.key)
      model.active -= 1
      trial.isActive = false
      trial.ended = exit
      activeIn.set(shard, activeIn.get(shard)! - 1)
      const error = failureOf(exit)
      const isConflict = error instanceof QueueError.VersionConflict
      if (isConflict) trial.conflicts += 1
      must(
        !trial.isDetached || isClosing || !(Exit.isFailure(exit) && Cause.isInterrupted(exit.cause))
          || trial.plan.outcome === "interrupts" || trial.plan.outcome === "ends its fiber",
        "a detached command was interrupted with its caller"
      )
      if (trial.isCallerInterrupted || trial.plan.outcome === "ends its fiber") {
        // Whether the pool has learned how it ended is not known here.
        model.mayAsk = isVersioned
        model.known = Exit.isSuccess(exit)
          ? (isVersioned ? [version] : [version - 1, version])
          : isVersioned && !(error !== undefined && !isConflict && isRejection(error))
          ? []
          : [version - 1]
        return
      }
      model.known = Exit.isSuccess(exit)
        ? [version]
        : !isVersioned || (error !== undefined && !isConflict && isRejection(error))
        ? [version - 1]
        : []
    }
    const isRejection = (error: unknown): boolean => {
      if (!knowsRejections) return true
      try {
        return isRejected(error)
      } catch {
        return false
      }
    }
    const code = (trial: Trial, { key, version }: ShardPool.Run): Effect.Effect<string, unknown> =>
      Effect.gen(function*() {
        const { plan } = trial
        if (plan.beforeMillis > 0) yield* Effect.sleep(plan.beforeMillis)
        const conflict = new QueueError.VersionConflict({ key, version })
        if (trial.conflicts < plan.conflicts) return yield* Effect.fail(conflict)
        switch (plan.outcome) {
          case "rejects":
            return yield* Effect.fail(rejected(trial.id))
          case "hangs":
            return yield* Effect.never
        }
        // Where every failure counts as a rejection, it must not have written.
        if (plan.outcome === "done" || (plan.writesFirst && (plan.outcome !== "fails" || knowsRejections))) {
          if (!write(trial, version)) return yield* Effect.fail(conflict)
        }
        if (plan.afterMillis > 0) yield* Effect.sleep(plan.afterMillis)
        switch (plan.outcome) {
          case "fails":
            return yield* Effect.fail(failed(trial.id))
          case "dies":
            return yield* Effect.die(failed(trial.id))
          case "interrupts":
            return yield* Effect.interrupt
          case "ends its fiber":
            yield* Effect.withFiberRuntime<void>((fiber) =>
              Effect.sync(() => fiber.unsafeInterruptAsFork(FiberId.none))
            )
        }
        return `${trial.id} at ${version}`
      })
    const execute = (trial: Trial, run: ShardPool.Run): Effect.Effect<string, unknown> => {
      dispatched(trial, run)
      return Effect.uninterruptibleMask((restore) => {
        begin(trial, run.shard)
        const { isUninterruptible, writesLate } = trial.plan
        const running = isUninterruptible ? code(trial, run) : restore(code(trial, run))
        const late = writesLate && isVersioned
          ? Effect.onInterrupt(running, () =>
            Effect.zipRight(
              Effect.sleep(2),
              Effect.sync(() => {
                // It may have written already.
                if ((store.get(identity(run.key)) ?? 0) === run.version - 1) write(trial, run.version)
              })
            ))
          : running
        return Effect.onExit(late, (exit) => Effect.sync(() => end(trial, run, exit)))
      })
    }
    const currentVersion = (key: Sharding.Key): Effect.Effect<number, unknown> =>
      Effect.uninterruptibleMask((restore) => {
        const model = modelOf(key)
        must(model.active === 0, "a key was asked for while a command of it ran")
        must(model.asking === 0, "a key was asked for twice at once")
        must(forgets || model.mayAsk || model.known.length === 0, "a key was asked for whose version is known")
        model.known = []
        model.asking += 1
        const asking = Effect.gen(function*() {
          if (chance(0.3)) yield* Effect.sleep(below(5))
          const problem = below(25)
          if (problem < 2) {
            const unasked = { _tag: "Unasked", key, problem }
            model.unasked = [...model.unasked, unasked]
            return yield* (problem === 0 ? Effect.fail(unasked) : Effect.die(unasked))
          }
          if (problem === 2) return pick([-1, NaN, 1.5, Infinity, "1" as never])
          model.isForeign = false
          const version = store.get(identity(key)) ?? 0
          if (chance(0.2)) yield* Effect.sleep(below(5))
          model.known = [version]
          // The answer is lost where its caller is interrupted now.
          model.mayAsk = true
          return version
        })
        return Effect.ensuring(
          restore(asking),
          Effect.sync(() => {
            model.asking -= 1
          })
        )
      })

    // --- the pool -----------------------------------------------------------------------------------------------------

    const scope = yield* Scope.make()
    const pool: ShardPool.ShardPool<Trial, string, unknown> = yield* ShardPool.make<
      Trial,
      string,
      unknown,
      never,
      unknown
    >({
      name: "laws",
      shards,
      workersPerShard: workers,
      capacity,
      policy,
      key: (trial) => {
        // A call that finds no room has its place some steps later.
        if (Effect.runSync(pool.metrics).offered === calls) settledCalls = calls
        trial.after = settledCalls
        trial.place = calls++
        return trial.key
      },
      execute,
      drainTimeout,
      ...(isVersioned ? { currentVersion } : {}),
      ...(idle === undefined ? {} : { idleTimeToLive: idle }),
      ...(knowsRejections ? { isRejection: isRejected } : {}),
      ...(ownShardOf ? { shardOf } : {})
    }).pipe(Scope.extend(scope), Logger.withMinimumLogLevel(LogLevel.None))
    const told: Array<QueueEvent.ShardPoolEvent<Trial>> = []
    const listening = yield* Effect.fork(
      Stream.runForEach(pool.events, (event) => Effect.sync(() => told.push(event)))
    )
    // Where time moves only when nothing is ready, the listener listens by then.
    yield* Effect.sleep(1)
    const holds = Effect.sync(() => {
      // In one step with what the model says.
      const metrics = Effect.runSync(pool.metrics)
      must(accounted(metrics) === metrics.offered, `the counts do not add up: ${JSON.stringify(metrics)}`)
      must(metrics.depth <= capacity * shards, "more commands wait than there is room for")
      must(metrics.inFlight <= workers * shards, "more commands run than there are workers")
      must(metrics.held >= metrics.depth + metrics.inFlight, "not everything that waits or runs is held")
      const active = trials.filter(({ isActive }) => isActive).length
      must(isClosing || metrics.inFlight >= active, "a command runs that does not count as in flight")
      must(isVersioned || metrics.keys <= keys.length, "there are more keys than there are")
      return metrics
    })

    // --- the callers --------------------------------------------------------------------------------------------------

    const next = (): Trial => {
      const slow = () => chance(0.5) ? 0 : 1 + below(8)
      const outcome = pick<Outcome>([
        "done",
        "done",
        "done",
        "done",
        "done",
        "rejects",
        "rejects",
        "fails",
        "dies",
        "interrupts",
        "ends its fiber",
        "conflicts",
        setting.isPatient ? "done" : "hangs"
      ])
      const trial: Trial = {
        id: trials.length,
        key: pick(keys),
        call: pick(["submit", "submit", "submit", "detach", "offer"]),
        plan: {
          outcome: outcome === "conflicts" ? "done" : outcome,
          conflicts: outcome === "conflicts" ? 1 + below(2) : 0,
          beforeMillis: slow(),
          afterMillis: slow(),
          writesFirst: chance(0.5),
          isUninterruptible: outcome !== "hangs" && chance(0.15),
          writesLate: chance(0.2)
        },
        place: undefined,
        after: 0,
        runs: 0,
        conflicts: 0,
        isActive: false,
        ended: undefined,
        isCallerInterrupted: false,
        isDetached: false,
        isOut: false,
        answer: undefined
      }
      trials.push(trial)
      return trial
    }
    const call = (trial: Trial) =>
      Effect.suspend((): Effect.Effect<unknown, unknown> =>
        trial.call === "offer" ? pool.offer(trial) : pool.submit(trial, { detach: trial.call === "detach" })
      ).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            trial.answer = exit
          })
        ),
        Effect.exit
      )
    const interrupt = (trial: Trial, fiber: Fiber.RuntimeFiber<unknown, unknown>) =>
      Effect.gen(function*() {
        if (trial.call === "submit") {
          trial.isCallerInterrupted = true
          const model = modelOf(trial.key)
          // It has ended, and the pool may not have learned of it yet.
          if (model.last?.trial === trial && !trial.isActive && trial.answer === undefined) {
            model.mayAsk = isVersioned
            if (!isVersioned) model.known = [model.last.version - 1, ...model.known]
          }
        }
        yield* Fiber.interrupt(fiber)
        if (trial.call === "submit") {
          must(isClosing || !trial.isActive, "an interrupted call has ended before its command")
        }
        if (trial.call === "offer") return
        if (trial.isActive) trial.isDetached = true
        // With a version to be asked for, it may have begun before its code is called.
        else if (trial.runs === 0 && !(trial.call === "detach" && isVersioned)) trial.isOut = true
      })
    const callers: Array<Fiber.RuntimeFiber<unknown, unknown>> = []
    const producer = Effect.gen(function*() {
      for (let step = 0; step < 7; step++) {
        switch (below(8)) {
          case 0:
            yield* call(next())
            break
          case 1:
          case 2:
            callers.push(yield* Effect.forkDaemon(call(next())))
            break
          case 3:
          case 4: {
            const trial = next()
            const fiber = yield* Effect.fork(call(trial))
            if (chance(0.7)) yield* Effect.sleep(below(12))
            yield* interrupt(trial, fiber)
            break
          }
          case 5: {
            for (let more = below(5); more > 0; more--) callers.push(yield* Effect.forkDaemon(call(next())))
            break
          }
          case 6:
            yield* Effect.sleep(below(20))
            break
          case 7:
            if (isVersioned && chance(0.5)) writeFromOutside(pick(keys))
            if (chance(0.1)) {
              const bad = { ...next(), key: pick<Sharding.Key>(["\ud800", "a\0b", NaN, "k".repeat(513)]) }
              must(
                (failureOf((yield* call(bad)) as Exit.Exit<unknown>) as { _tag: string })._tag === "InvalidKey",
                "a bad key was not refused"
              )
              trials[bad.id] = bad
            }
        }
        yield* holds
      }
    })
    const drainer = Effect.gen(function*() {
      if (!chance(0.2)) return
      yield* Effect.sleep(below(60))
      const timeout = below(20)
      const draining = yield* Effect.fork(Effect.exit(pool.drain(timeout)))
      isDraining = true
      if (chance(0.2)) {
        yield* Effect.sleep(below(5))
        yield* Fiber.interrupt(draining)
      }
      const exit = Exit.flatten(yield* Fiber.await(draining))
      if (isClosing) return
      if (Exit.isSuccess(exit)) {
        const { held } = yield* pool.metrics
        must(held === 0, "a pool was drained that held something")
        saw("drained")
      } else if (!Cause.isInterrupted(exit.cause)) {
        const error = failureOf(exit) as QueueError.DrainTimeout<Trial>
        saw("not drained in time")
        const left = error.left.map(({ command }) => command)
        must(left.length > 0 && left.length <= shards * (capacity + workers), "what is left makes no sense")
        must(new Set(left).size === left.length, "something is left twice")
        for (const { command, key, state } of error.left) {
          must(key === command.key, "something is left under the key of another")
          must(state === "waiting" || isVersioned || command.runs > 0, "something runs that has not begun")
        }
        for (const trial of trials) must(!trial.isActive || left.includes(trial), "something runs that is not left")
      }
      // Interrupted before its first step, it has done nothing.
      const { state } = JSON.parse(JSON.stringify(pool)) as { readonly state: string }
      const hasBegun = !Exit.isInterrupted(exit) || state !== "open"
      const late = next()
      const refused = failureOf((yield* call(late)) as Exit.Exit<unknown>) as { readonly _tag: string } | undefined
      must((refused?._tag === "PoolClosed") === hasBegun, "a pool that is drained has taken a command")
    })
    const work = yield* Effect.fork(
      Effect.all([producer, producer, producer, drainer], { concurrency: "unbounded", discard: true })
    )
    if (setting.isPatient) yield* Fiber.join(work)
    else yield* Effect.sleep(below(120))
    isClosing = true
    yield* Scope.close(scope, Exit.void)
    const closed = yield* holds
    must(closed.held === 0 && closed.depth === 0 && closed.inFlight === 0, "a pool was closed that holds something")
    yield* Fiber.join(work)
    for (const fiber of callers) yield* Fiber.join(fiber)
    yield* Fiber.join(listening)
    // What was given up, and cannot be interrupted.
    yield* Effect.sleep(1000)

    // --- what has become of each --------------------------------------------------------------------------------------

    const metrics = yield* holds
    const count = (tag: QueueEvent.ShardPoolEvent<Trial>["_tag"]) => told.filter(({ _tag }) => _tag === tag).length
    const eventsOf = new Map<Trial, Array<string>>()
    for (const event of told) {
      if (event._tag === "Missed") continue
      const about = event._tag === "OfferInterrupted"
        ? event.notTaken
        : [event._tag === "Dropped" ? event.item : event.command]
      const what = event._tag === "Dropped" ? `Dropped ${event.reason}` : event._tag
      for (const trial of about) eventsOf.set(trial, [...(eventsOf.get(trial) ?? []), what])
    }
    for (const trial of trials) {
      const { answer, ended, runs } = trial
      if (runs > 1) saw("run again")
      must(!trial.isActive, "a command has not ended")
      // Interrupted before it began.
      if (trial.place === undefined) continue
      must(answer !== undefined, "a caller has no answer")
      const error = failureOf(answer!) as { readonly _tag: string; readonly started?: boolean } | undefined
      const tag = Exit.isSuccess(answer!) ? "success" : error?._tag ?? "cause"
      const wasInterrupted = Exit.isFailure(answer!) && Cause.isInterrupted(answer!.cause)
      saw(trial.call === "offer" ? `offer ${tag}` : tag)
      const events = (eventsOf.get(trial) ?? []).filter((tag) => tag !== "Dispatched")
      if (setting.isInTime) {
        const before = (eventsOf.get(trial) ?? []).filter((tag) => tag === "Dispatched").length
        must(before === runs, "a command was run and not told, or told and not run")
        must(events.length <= 1, `a command has ended more than once: ${events.join()}`)
        must((eventsOf.get(trial) ?? []).at(-1) !== "Dispatched", "nothing is told of the end of a command")
        const [event] = events
        if (event === "Cancelled" || event === "OfferInterrupted" || event?.startsWith("Dropped drop")) {
          must(runs === 0, `a command was run although it was ${event}`)
        }
        if (event === "Succeeded") {
          must(ended !== undefined && Exit.isSuccess(ended), "the success of a command was told that has not succeeded")
        }
        if (event === "Rejected") {
          must(isRejection(failureOf(ended!)), "a command was rejected without a rejection")
        }
        if (event === undefined) must(runs === 0, "nothing was told of a command that was run")
      }
      if (trial.call === "offer") {
        if (tag === "success") {
          const outcome = (answer as Exit.Success<string, unknown>).value
          const [event] = events
          must(outcome === "accepted" || outcome === "dropped", "an offer has an answer that is none")
          if (setting.isInTime) {
            must((outcome === "dropped") === (event === "Dropped drop-newest"), "an offer was told wrongly of a drop")
            must(event !== undefined, "an accepted command is lost")
          }
        } else must(runs === 0 || wasInterrupted, "an offer that failed was run")
        continue
      }
      switch (tag) {
        case "success":
          must(
            ended !== undefined && Exit.isSuccess(ended)
              && ended.value === (answer as Exit.Success<string, unknown>).value,
            "a caller has the result of another"
          )
          if (isVersioned) {
            const version = Number((ended as Exit.Success<string, unknown>).value.split(" at ")[1])
            must(writers.get(`${identity(trial.key)}/${version}`) === trial, "a version that succeeded was not written")
          }
          if (setting.isInTime) must(events[0] === "Succeeded", "a command has succeeded, and it was not told")
          break
        case "QueueFull":
        case "OfferTimeout":
        case "PoolClosed":
        case "InvalidKey":
          must(runs === 0, `a command was run that was refused with ${tag}`)
          must(tag !== "QueueFull" || policy._tag === "reject", "QueueFull under another policy")
          must(tag !== "OfferTimeout" || policy._tag === "suspend", "OfferTimeout under another policy")
          must(tag !== "PoolClosed" || isClosing || isDraining, "PoolClosed of a pool that is open")
          break
        case "CommandDropped": {
          const { reason, started } = error as QueueError.CommandDropped<Trial>
          must(started || runs === 0, "a command was run that is told as not started")
          must(!started || reason === "shutdown", "a command that ran was dropped by the policy")
          must(
            reason === "shutdown"
              || reason
                === (policy._tag === "dropOldest" ? "drop-oldest" : policy._tag === "dropNewest" && "drop-newest"),
            `dropped because of ${reason}`
          )
          must(reason !== "shutdown" || !setting.isPatient, "a command was given up while there was time")
          must(
            (error as QueueError.CommandDropped<Trial>).command === trial,
            "the caller of another was told of a drop"
          )
          saw(`dropped ${reason}${started ? " started" : ""}`)
          break
        }
        case "Unasked":
          must(runs === 0 || trial.conflicts > 0, "a command was run although its version could not be found out")
          must(modelOf(trial.key).unasked.includes(error), "a caller has the error of another key")
          saw("version not found out")
          break
        case "Rejected":
        case "Failed":
        case "VersionConflict":
          must(ended !== undefined && failureOf(ended) === error, "a caller has the error of another")
          must(tag !== "VersionConflict" || !isVersioned || runs === 2, "a conflict was told that was not tried again")
          break
        default: {
          const { cause } = answer as Exit.Failure<unknown, unknown>
          const defect = Option.getOrUndefined(Cause.dieOption(cause)) as { readonly _tag?: string } | undefined
          if (defect !== undefined) {
            must(
              defect instanceof RangeError || modelOf(trial.key).unasked.includes(defect)
                || (defect._tag === "Failed" && (defect as { id?: number }).id === trial.id),
              "a caller dies of what is not its own"
            )
            saw("defect")
          } else {
            must(wasInterrupted, "a caller has no cause")
            saw("interruption")
            must(
              trial.isCallerInterrupted || trial.call === "detach" || trial.plan.outcome === "interrupts"
                || trial.plan.outcome === "ends its fiber",
              "a caller was interrupted that nobody has interrupted"
            )
          }
        }
      }
    }
    if (setting.isInTime) {
      must(count("Missed") === 0, "events were missed")
      must(count("Succeeded") === metrics.succeeded, "those that succeeded are not those that were told")
      must(count("Rejected") === metrics.rejected, "rejected are not those that were told")
      must(count("Failed") === metrics.failed, "failed are not those that were told")
      must(count("Cancelled") === metrics.cancelled, "cancelled are not those that were told")
      must(count("Dropped") === metrics.dropped, "dropped are not those that were told")
      // Without a store the versions of the successes are 1, 2, 3, ... and each command comes after the last success.
      if (!isVersioned) {
        const last = new Map<string, number>()
        for (const event of told) {
          if (event._tag !== "Dispatched" && event._tag !== "Succeeded") continue
          const id = identity(event.key)
          must(event.version === (last.get(id) ?? 0) + 1, `${event._tag} with a version out of line`)
          if (event._tag === "Succeeded") last.set(id, event.version)
        }
      }
    }
    const submitted = trials.filter(({ call, place }) => call !== "offer" && place !== undefined).length
    must(metrics.offered <= calls && metrics.offered >= submitted, "not every call is counted")
    if (setting.isPatient && metrics.dropped > 0) must(policy._tag.startsWith("drop"), "something was given up")
    for (const key of ["succeeded", "rejected", "failed", "cancelled", "dropped", "refused"] as const) {
      seen[key] = metrics[key]
    }
    return { violations, seen }
  })

const inTime: Setting = { isInTime: true, isPatient: false }
const patient: Setting = { isInTime: true, isPatient: true }

const seen: Record<string, number> = {}

describe("over random commands, keys, options, interruptions, outside writers, drains, closings and schedules", () => {
  it.each([
    ["closed at any moment", inTime, 0, 700],
    ["closed at any moment, on a machine that is too slow", { ...inTime, isInTime: false }, 0.02, 300],
    ["drained to the end", patient, 0, 700],
    ["drained to the end, on a machine that is too slow", { ...patient, isInTime: false }, 0.02, 300]
  ])(
    "%s each key keeps its order and its versions, each caller gets its own answer, nothing is lost, and nothing is left",
    async (_, setting, timerProbability, runs) => {
      await forSeeds(
        program(setting),
        { runs, yieldProbability: 0.05, timerProbability },
        ({ exit, leftFibers, leftTimers }) => {
          if (Exit.isFailure(exit)) throw new Error(Cause.pretty(exit.cause))
          expect(exit.value.violations).toEqual([])
          expect(leftFibers).toEqual([])
          expect(leftTimers).toBe(0)
          for (const [key, count] of Object.entries(exit.value.seen)) seen[key] = (seen[key] ?? 0) + count
        }
      )
    }
  )

  // They are only worth something while they do.
  it("every outcome is reached", () => {
    for (const [key, count] of Object.entries(seen)) expect([key, count >= atLeast(10)]).toEqual([key, true])
  })
})
