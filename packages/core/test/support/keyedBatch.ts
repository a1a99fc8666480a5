import { KeyedBatch, type Sharding } from "@sluice/core"
import { Cause, Chunk, Clock, Effect, Exit, Fiber, Option, Runtime, Scope, Stream, TestClock } from "effect"
import { Macrotask } from "../../src/unstable/Macrotask.ts"
import { choices } from "./batchPrograms.ts"

// --- for tests of single cases ---------------------------------------------------------------------------------------

/** A table that is loaded from and saved to, and a list of what happened to it. What is scripted happens first, once. */
export class Table<S> {
  readonly rows = new Map<string, S>()
  readonly log: Array<string> = []
  readonly loads: Array<() => Effect.Effect<void, unknown>> = []
  readonly saves: Array<() => Effect.Effect<void, unknown>> = []
  private readonly initial: () => S

  constructor(initial: () => S) {
    this.initial = initial
  }

  readonly load = (key: Sharding.Key): Effect.Effect<S, unknown> => {
    this.log.push(`load ${key}`)
    return Effect.map(this.loads.shift()?.() ?? Effect.void, () => this.rows.get(String(key)) ?? this.initial())
  }

  readonly save = (key: Sharding.Key, row: S): Effect.Effect<void, unknown> => {
    this.log.push(`save ${key} ${String(row)}`)
    return Effect.map(this.saves.shift()?.() ?? Effect.void, () => {
      this.rows.set(String(key), row)
    })
  }
}

export type Numbers = KeyedBatch.KeyedBatch<Sharding.Key, number, unknown>
export type Options = Partial<KeyedBatch.Options<Sharding.Key, number, unknown, never, unknown, never>>

/** A processor of numbers with one shard, and the table that it works on. By default a batch is what waits. */
export const numbers = (options?: Options) =>
  Effect.gen(function*() {
    const table = new Table(() => 0)
    const processor: Numbers = yield* KeyedBatch.make<Sharding.Key, number, unknown, never, unknown, never>(
      {
        name: "test",
        load: table.load,
        save: table.save,
        minDuration: 0,
        shards: 1,
        ...options
      } as KeyedBatch.Options<Sharding.Key, number, unknown, never, unknown, never>
    )
    return { processor, table }
  })

/** A processor in a scope of its own, which the test closes. */
export const numbersInScope = (options?: Options) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const made = yield* Scope.extend(numbers(options), scope)
    return { ...made, close: Scope.close(scope, Exit.void) }
  })

/** Adds, and answers the sum. */
export const add = (amount: number) => (sum: number): readonly [number, number] => [sum + amount, sum + amount]

/** Something that has begun and goes on until it is told to end. */
export const gated = () => {
  const begun = Effect.unsafeMakeLatch()
  const gate = Effect.unsafeMakeLatch()
  return { run: Effect.zipRight(begun.open, gate.await), begun: begun.await, end: gate.open }
}

/** Lets everything happen that needs no time. */
export const settleDown = TestClock.adjust(0)

/** Calls in a fiber of its own, and goes on when the call waits. */
export const calling = <A, E>(call: Effect.Effect<A, E>) => Effect.zipLeft(Effect.fork(call), settleDown)

/** A processor whose shard takes a break when it is told to `stop`, until it is told to `goOn`. */
export const numbersWithBreaks = (options?: Options) =>
  Effect.gen(function*() {
    const tasks: Array<() => void> = []
    let isStopped = false
    const own = yield* Effect.clock
    let nanos = 0n
    const clock: Clock.Clock = {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: () => Number(nanos / 1_000_000n),
      currentTimeMillis: Effect.sync(() => Number(nanos / 1_000_000n)),
      unsafeCurrentTimeNanos: () => nanos,
      currentTimeNanos: Effect.sync(() => nanos),
      sleep: (duration) => own.sleep(duration)
    }
    const made = yield* numbers(options).pipe(
      Effect.withClock(clock),
      Effect.provideService(Macrotask, (task) => isStopped ? tasks.push(task) : task())
    )
    const burn = (millis: number) => void (nanos += BigInt(millis) * 1_000_000n)
    const stop = Effect.gen(function*() {
      isStopped = true
      // Operations of other keys, so slow that a break is due soon. They fail, so that nothing of them is saved.
      for (let i = 0; tasks.length === 0 && i < 20; i++) {
        yield* calling(Effect.exit(made.processor.modify(`slow ${i}`, () => {
          burn(20)
          throw "slow"
        })))
      }
    })
    const goOn = Effect.suspend(() => {
      isStopped = false
      for (const task of tasks.splice(0)) task()
      return settleDown
    })
    // Before the processor is closed, which waits for its shard.
    yield* Effect.addFinalizer(() => goOn)
    const pass = (millis: number) => Effect.zipRight(Effect.sync(() => burn(millis)), TestClock.adjust(millis))
    const logOf = (key: string) => made.table.log.filter((step) => step.split(" ")[1] === key)
    return { ...made, goOn, logOf, pass, stop }
  })

export const failureOf = <A, E>(exit: Exit.Exit<A, E>): unknown =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined

export const defectOf = <A, E>(exit: Exit.Exit<A, E>): unknown =>
  Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined

/** What must be `offered`; NaN where the counts contradict one another. */
export const accounted = (metrics: KeyedBatch.Metrics): number =>
  metrics.settled === metrics.succeeded + metrics.failed && metrics.held === metrics.depth + metrics.inFlight
    && metrics.depth >= 0 && metrics.inFlight >= 0
    ? metrics.refused + metrics.cancelled + metrics.settled + metrics.held
    : NaN

// --- random programs, and the model they are held against ------------------------------------------------------------

// A resource is the list of the operations that were applied to it, so what became of each can be read from the table.
type Row = Array<number>

const operationKinds = ["modify", "mutate", "throws", "nonsense", "calls", "effect", "slow", "fails", "dies"] as const
const rareKinds = ["interrupts", "hangs", "stubborn", "slowly fails"] as const
type Kind = typeof operationKinds[number] | typeof rareKinds[number]

interface Called {
  readonly id: number
  readonly key: Sharding.Key
  readonly kind: Kind
  /** Its place among the calls of its key, once the processor has it. */
  place: number | undefined
  /** The batch in which it was begun. */
  batch: ModelBatch | undefined
  /** What the resource was when it was begun. */
  before: string | undefined
  /** Whether it has changed the resource, as far as it has been seen. */
  applied: boolean | undefined
  runEnded: boolean
  readonly caller: Caller
  exit: Exit.Exit<string, unknown> | undefined
}

interface Caller {
  /** Whether the test has interrupted it. */
  isGone: boolean
}

interface ModelBatch {
  readonly key: string
  readonly startedAt: number
  loaded: Row | undefined
  loadedAt: number | undefined
  /** What the resource must be now. */
  value: Row
  /** The last operation, where it has not been seen whether it was applied. */
  pending: Called | undefined
  readonly operations: Array<Called>
  lastEndedAt: number
  save: "none" | "running" | "done" | "failed"
  /** What every caller fails with. */
  error: Failure | undefined
}

/** A failure that knows its batch. */
class Failure {
  readonly batch: ModelBatch
  readonly from: "load" | "save"
  constructor(batch: ModelBatch, from: "load" | "save") {
    this.batch = batch
    this.from = from
  }
}

const render = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.match(exit, {
    onSuccess: String,
    onFailure: (cause) => {
      const error = Cause.squash(cause)
      return error instanceof Error ? error.message : String(Object.getPrototypeOf(error)?.constructor.name)
    }
  })

const resultOf = ({ before, id }: Called) => `${id} on ${before}`

export interface Setting {
  /** Whether time passes only when nothing else can happen, so that every moment is known exactly. */
  readonly isInTime: boolean
}

export interface Outcome {
  readonly violations: ReadonlyArray<string>
  /** How many keys there are when everything has ended. */
  readonly keysLeft: number
  readonly seen: Readonly<Record<string, number>>
}

export const program = ({ isInTime }: Setting) => (seed: number): Effect.Effect<Outcome, unknown> =>
  Effect.gen(function*() {
    const { below, chance, pick } = choices(seed)
    const clock = yield* Effect.clock
    const runFork = Runtime.runFork(yield* Effect.runtime<never>())
    const now = () => clock.unsafeCurrentTimeMillis()
    const violations: Array<string> = []
    const must = (holds: boolean, law: string) => {
      if (!holds) violations.push(`${law} (at ${now()} ms)`)
    }
    const seen: Record<string, number> = {}
    const see = (what: string) => void (seen[what] = (seen[what] ?? 0) + 1)

    // --- what is made of it
    const minMillis = pick([0, 0, 5, 20])
    const max = pick([undefined, undefined, minMillis + 4, 30, 60, 0])
    const maxMillis = max === 0 || (max === undefined && minMillis === 0) ? Infinity : max ?? 2 * minMillis
    const isBounded = maxMillis < Infinity
    const batchSize = pick([undefined, undefined, 1, 2, 3])
    const loads = !chance(0.15)
    const saves = !chance(0.15)
    const isFaulty = !chance(0.3)
    const shards = 1 + below(3)
    const ownShard = below(shards)
    const isOwn = chance(0.5)

    // --- the model
    const table = new Map<string, Row>()
    const written = new Map<string, Row>()
    const batches = new Map<string, Array<ModelBatch>>()
    const active = new Map<string, number>()
    const calls: Array<Called> = []
    const callers: Array<Fiber.RuntimeFiber<unknown, unknown>> = []
    const byFiber = new Map<Fiber.RuntimeFiber<any, any>, Called>()
    const lastBegun = new Map<string, number>()
    let places = 0
    let isClosing = false
    let isClosed = false
    let saved = 0
    let loaded = 0
    const stuck = yield* Effect.makeLatch()

    const batchOf = (key: Sharding.Key): ModelBatch => batches.get(String(key))!.at(-1)!
    const activeOf = (key: Sharding.Key) => active.get(String(key)) ?? 0

    /** When the batch must have ended at the latest, where the clock stands still while the shard is busy. */
    const latestEndOf = (batch: ModelBatch) => batch.startedAt + maxMillis

    /** Whether the batch has been given up because it took too long. */
    const isOverdue = (batch: ModelBatch) => isInTime ? now() >= batch.startedAt + maxMillis : isBounded

    /** Something that runs for a key. Where it is interrupted before it begins, neither its start nor its end is seen. */
    const within = <A, E>(
      key: Sharding.Key,
      effect: Effect.Effect<A, E>,
      begins: () => void = () => {},
      ends: (isSuccess: boolean) => void = () => {}
    ): Effect.Effect<A, E> =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          must(activeOf(key) === 0, `something else of "${key}" runs`)
          active.set(String(key), activeOf(key) + 1)
          begins()
        }),
        () => effect,
        (_, exit) =>
          Effect.sync(() => {
            active.set(String(key), activeOf(key) - 1)
            ends(Exit.isSuccess(exit))
          })
      )

    /** What goes wrong in a load or a save, or only takes time. */
    const trouble = (batch: ModelBatch, from: Failure["from"]): Effect.Effect<void, Failure> => {
      if (!isFaulty || chance(0.5)) return chance(0.6) ? Effect.void : Effect.sleep(below(8))
      const failing = Effect.suspend(() => {
        batch.error = new Failure(batch, from)
        return chance(0.3) ? Effect.die(batch.error) : Effect.fail(batch.error)
      })
      const kind = pick(["slow", "fails", "slowly fails", "interrupts", "hangs", "stubborn", "stuck"])
      if (!isBounded && (kind === "hangs" || kind === "stuck")) return Effect.void
      see(`${from} ${kind}`)
      switch (kind) {
        case "slow":
          return Effect.sleep(below(40))
        case "fails":
          return failing
        case "slowly fails":
          return Effect.zipRight(Effect.sleep(below(20)), failing)
        case "interrupts":
          return chance(0.3) ? Effect.interrupt : Effect.void
        case "hangs":
          return Effect.never
        case "stubborn":
          return Effect.uninterruptible(Effect.sleep(below(100)))
        default:
          return chance(0.3) ? Effect.uninterruptible(stuck.await) : Effect.void
      }
    }

    const begin = (key: Sharding.Key): ModelBatch => {
      must(!isClosed, "a batch begins after the end")
      must(activeOf(key) === 0, `a batch of "${key}" begins while the one before runs`)
      const batch: ModelBatch = {
        key: String(key),
        startedAt: now(),
        loaded: undefined,
        loadedAt: undefined,
        value: [],
        pending: undefined,
        operations: [],
        lastEndedAt: now(),
        save: "none",
        error: undefined
      }
      const before = batches.get(String(key))
      if (before === undefined) batches.set(String(key), [batch])
      else before.push(batch)
      return batch
    }

    const isLoaded = (batch: ModelBatch, row: Row): Row => {
      batch.loaded = row.slice()
      batch.value = row.slice()
      batch.loadedAt = batch.lastEndedAt = now()
      return row
    }

    const load = (key: Sharding.Key): Effect.Effect<Row, Failure> => {
      const batch = begin(key)
      loaded += 1
      if (isFaulty && chance(0.03)) {
        throw batch.error = new Failure(batch, "load")
      }
      return within(
        key,
        Effect.map(trouble(batch, "load"), () => isLoaded(batch, (table.get(String(key)) ?? []).slice()))
      )
    }

    const initial = (key: Sharding.Key): Row => {
      const batch = begin(key)
      if (isFaulty && chance(0.1)) throw batch.error = new Failure(batch, "load")
      return isLoaded(batch, [])
    }

    /** The resource as it is shown: what was left open is known now. */
    const look = (batch: ModelBatch, row: Row) => {
      const { pending } = batch
      if (pending !== undefined) {
        batch.pending = undefined
        pending.applied = row.at(-1) === pending.id
        if (pending.applied) batch.value.push(pending.id)
        else must(pending.caller.isGone, `operation ${pending.id} was lost`)
      }
      must(String(row) === String(batch.value), `the resource is [${row}] and must be [${batch.value}]`)
    }

    const save = (key: Sharding.Key, row: Row): Effect.Effect<void, Failure> => {
      const batch = batchOf(key)
      saved += 1
      must(!isClosed, "a save after the end")
      must(batch.save === "none", "a batch is saved twice")
      must(batch.loaded !== undefined && batch.error === undefined, "a batch is saved that was not loaded")
      must(batch.operations.every((called) => called.runEnded), "an operation runs while the batch is saved")
      look(batch, row)
      must(batch.operations.some((called) => called.applied === true), "a save although nothing succeeded")
      if (isInTime) {
        const isFull = batch.operations.length >= (batchSize ?? Infinity)
        const open = isFull || isClosing ? 0 : minMillis
        must(now() - batch.startedAt >= open, "a batch is closed early")
        must(now() <= Math.max(batch.startedAt + minMillis, batch.lastEndedAt), "a batch is closed late")
        see(isFull ? "full" : "not full")
      }
      batch.save = "failed"
      const write = Effect.sync(() => {
        if (loads) {
          must(
            String(table.get(batch.key) ?? []) === String(batch.loaded),
            `the row of "${key}" was changed under the batch`
          )
        }
        table.set(batch.key, row.slice())
        written.set(batch.key, [...(loads ? written.get(batch.key) ?? [] : []), ...row.slice(batch.loaded!.length)])
      })
      const doing = trouble(batch, "save")
      return within(
        key,
        chance(0.3) ? Effect.zipRight(write, doing) : Effect.zipRight(doing, write),
        () => void (batch.save = "running"),
        (isSuccess) => void (batch.save = isSuccess ? "done" : "failed")
      )
    }

    // --- operations
    const start = (called: Called, row: Row): ModelBatch => {
      const batch = batchOf(called.key)
      called.batch = batch
      must(!isClosed, "an operation begins after the end")
      must(called.exit === undefined, `operation ${called.id} begins although its caller has gone`)
      must(called.before === undefined, `operation ${called.id} runs twice`)
      must(batch.loaded !== undefined && batch.save === "none", "an operation begins in a batch that is not open")
      must(activeOf(called.key) === 0, "an operation begins while another runs")
      must(called.place! > (lastBegun.get(batch.key) ?? 0), `operation ${called.id} is out of order`)
      lastBegun.set(batch.key, called.place!)
      look(batch, row)
      batch.operations.push(called)
      // One that was interrupted while it ran does not count.
      const counted = batch.operations.filter(({ applied, caller }) => !caller.isGone || applied).length
      must(counted <= (batchSize ?? Infinity), "a batch has too many operations")
      called.before = String(row)
      return batch
    }
    const ended = (called: Called, batch: ModelBatch, applied: boolean | undefined) => {
      called.runEnded = true
      called.applied = applied
      batch.lastEndedAt = now()
      if (applied === true) batch.value.push(called.id)
      if (applied === undefined) batch.pending = called
    }

    const runSync = (called: Called, processor: Processor) => (row: Row): any => {
      const batch = start(called, row)
      if (called.kind === "throws") {
        ended(called, batch, false)
        throw called
      }
      if (called.kind === "nonsense") {
        ended(called, batch, false)
        return undefined
      }
      ended(called, batch, true)
      if (called.kind === "calls") callers.push(runFork(call(processor, called.id % 2 === 0 ? pick(keys) : called.key)))
      if (called.kind === "mutate") {
        row.push(called.id)
        return resultOf(called)
      }
      return [resultOf(called), [...row, called.id]]
    }

    const runEffect = (called: Called) => (row: Row): Effect.Effect<readonly [string, Row], unknown> => {
      const batch = start(called, row)
      const middle = Effect.suspend((): Effect.Effect<void, unknown> => {
        switch (called.kind) {
          case "slow":
            return Effect.sleep(below(15))
          case "fails":
            return Effect.fail(called)
          case "slowly fails":
            return Effect.zipRight(Effect.sleep(below(15)), Effect.fail(called))
          case "dies":
            return Effect.die(called)
          case "interrupts":
            return Effect.interrupt
          case "hangs":
            return isBounded ? Effect.never : Effect.void
          case "stubborn":
            return Effect.uninterruptible(Effect.sleep(below(60)))
          default:
            return Effect.void
        }
      })
      ended(called, batch, false)
      return within(
        called.key,
        Effect.map(middle, () => [resultOf(called), [...row, called.id]] as const),
        () => void (called.runEnded = false),
        (isSuccess) => ended(called, batch, isSuccess ? undefined : false)
      )
    }

    // --- callers
    type Processor = KeyedBatch.KeyedBatch<Sharding.Key, Row, Failure>
    const keys: ReadonlyArray<Sharding.Key> = ["a", "b", 7, "7"]

    const call = (processor: Processor, key: Sharding.Key, caller: Caller = { isGone: false }) =>
      Effect.suspend(() => {
        const called: Called = {
          id: calls.length,
          key,
          kind: chance(0.1) ? pick(rareKinds) : pick(operationKinds),
          place: undefined,
          batch: undefined,
          before: undefined,
          applied: undefined,
          runEnded: false,
          caller,
          exit: undefined
        }
        calls.push(called)
        const isSync = ["modify", "mutate", "throws", "nonsense", "calls"].includes(called.kind)
        const running: Effect.Effect<string, unknown> = called.kind === "mutate"
          ? processor.mutate(key, runSync(called, processor))
          : isSync
          ? processor.modify(key, runSync(called, processor))
          : processor.modifyEffect(key, runEffect(called))
        return Effect.uninterruptibleMask((restore) =>
          Effect.map(
            Effect.exit(restore(Effect.withFiberRuntime<string, unknown>((fiber) => {
              byFiber.set(fiber as Fiber.RuntimeFiber<any, any>, called)
              return running
            }))),
            (exit) => {
              called.exit = exit
              judge(called, exit)
            }
          )
        )
      })

    /** Whether an answer is right, in the moment in which it comes. */
    const judge = (called: Called, exit: Exit.Exit<string, unknown>) => {
      const { batch, id, kind } = called
      const isRun = called.before !== undefined
      const is = (holds: boolean, law: string) =>
        must(holds, `operation ${id} (${kind}): ${law}; it has ended with ${render(exit)}`)
      if (Exit.isSuccess(exit)) {
        see("succeeded")
        is(isRun && called.applied !== false, "success without having run")
        is(exit.value === resultOf(called), "the result of another")
        is(!saves || batch!.save === "done", "an answer before the save has ended")
        if (isInTime) is(now() <= latestEndOf(batch!), "a batch that took longer than it may")
        return
      }
      if (called.caller.isGone && Cause.isInterruptedOnly(exit.cause)) {
        see(called.place === undefined ? "never called" : isRun ? "interrupted after" : "interrupted before")
        if (!isRun) return
        is(called.runEnded || isOverdue(batch!), "its caller has gone while it runs")
        if (called.applied && saves) {
          is(batch!.save === "done" || batch!.save === "failed" || isOverdue(batch!), "its caller has not waited")
        }
        return
      }
      const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
      const cause = error ?? Option.getOrUndefined(Cause.dieOption(exit.cause))
      if (cause instanceof Failure) {
        see(`failed with its ${cause.from}`)
        is(cause === cause.batch.error && cause.batch.key === String(called.key), "the error of another batch")
        if (cause.from === "save") is(batch === cause.batch, "the error of another batch")
        else is(!isRun, "it has run in a batch that was not loaded")
        return
      }
      if (cause === called) {
        see("failed by itself")
        is(["throws", "fails", "dies", "slowly fails"].includes(kind), "no error of its own")
        is(batch!.save === "none" || batch!.save === "done", "its own error in a batch that failed")
        if (isInTime && batchSize === undefined && !isClosing) {
          is(called.caller.isGone || now() >= batch!.startedAt + minMillis, "its own error before the batch has ended")
        }
        return
      }
      if (kind === "nonsense" && cause instanceof TypeError) return see("nonsense")
      if (Cause.isInterruptedOnly(exit.cause)) {
        // What interrupts itself; or a load or a save has done so.
        return see("interrupted by itself")
      }
      const { _tag, phase } = error as { readonly _tag: string; readonly phase: string }
      if (_tag === "ProcessorClosed") {
        see("refused")
        return is(called.place === undefined && isClosing, "a refusal without a reason")
      }
      is(_tag === "BatchTimeout" && isBounded, "an error from nowhere")
      see(`timeout: ${phase}`)
      if (phase === "load" || phase === "waiting") is(!isRun, "it has run")
      else if (isRun) is(isOverdue(batch!), "a timeout before its time")
      // Its fiber may not have had its first turn.
      else is(phase === "operations", "it has not run")
      if (!isInTime || !isRun) return
      is(now() === latestEndOf(batch!), "a timeout after its time")
    }

    const shardOf = (key: Sharding.Key, shards: number) => {
      // It is asked in the very step in which the operation is put in.
      const called = byFiber.get(Option.getOrThrow(Fiber.getCurrentFiber()) as Fiber.RuntimeFiber<any, any>)!
      called.place = ++places
      return isOwn ? ownShard : String(key).length % shards
    }

    // --- the run
    const scope = yield* Scope.make()
    const processor: Processor = yield* KeyedBatch.make<Sharding.Key, Row, Failure, never, Failure, never>({
      name: "laws",
      ...(loads ? { load } : { initial }),
      ...(saves ? { save } : {}),
      minDuration: minMillis,
      maxDuration: max,
      batchSize,
      shards,
      shardOf
    }).pipe(Scope.extend(scope))
    const telling = yield* Effect.fork(Stream.runCollect(processor.events))
    // Where time moves only when nothing is ready, the listener listens by then.
    yield* Effect.sleep(1)

    const holds = Effect.map(processor.metrics, (metrics) => {
      must(accounted(metrics) === metrics.offered, `offered is not accounted for: ${JSON.stringify(metrics)}`)
      must(metrics.keys <= 3 && (metrics.held === 0 || metrics.keys > 0), `keys: ${JSON.stringify(metrics)}`)
      must(metrics.held >= 0, `held: ${JSON.stringify(metrics)}`)
    })
    const caller = Effect.gen(function*() {
      for (let step = 1 + below(6); step > 0; step--) {
        const key = pick(keys)
        const kind = below(10)
        if (kind < 4) yield* call(processor, key)
        else if (kind < 7) callers.push(yield* Effect.forkDaemon(call(processor, key)))
        else if (kind < 9) {
          const gone = { isGone: false }
          const fiber = yield* Effect.forkDaemon(call(processor, key, gone))
          if (chance(0.7)) yield* Effect.sleep(below(25))
          else yield* Effect.yieldNow()
          gone.isGone = true
          yield* Fiber.interrupt(fiber)
        } else yield* Effect.sleep(below(40))
        yield* holds
      }
    })
    const work = yield* Effect.fork(
      Effect.all(Array.from({ length: 2 + below(4) }, () => caller), { concurrency: "unbounded", discard: true })
    )
    if (chance(0.5)) yield* Fiber.join(work)
    else yield* Effect.sleep(below(80))
    isClosing = true
    yield* Scope.close(scope, Exit.void)
    isClosed = true
    const metrics = yield* processor.metrics
    const runOn = Array.from(active.keys()).filter((key) => activeOf(key) > 0)
    for (const key of runOn) {
      must(isOverdue(batchOf(key)), `what runs after the end has not been given up: "${key}"`)
      see("runs on after the end")
    }
    yield* Fiber.join(work)
    // What operations have called may call in turn, but the processor takes no more.
    for (const fiber of callers) yield* Fiber.await(fiber)
    const told = Chunk.toReadonlyArray(yield* Fiber.join(telling))
    yield* holds

    // --- the end
    must(metrics.held === 0, `held at the end: ${JSON.stringify(metrics)}`)
    const all = Array.from(batches.values()).flat()
    for (const { caller, exit, id, place } of calls) {
      must(exit !== undefined || (place === undefined && caller.isGone), `operation ${id} has no end`)
    }

    // The table is what the saves have written, and that is what the operations of their batches have made.
    for (const [key, row] of table) {
      must(String(row) === String(written.get(key)!), `the row of "${key}" is [${row}]: ${written.get(key)}`)
      must(new Set(row).size === row.length, `the row of "${key}" has an operation twice: [${row}]`)
    }
    for (const called of calls) {
      const { applied, batch, exit, id, key } = called
      const isWritten = table.get(String(key))?.includes(id) ?? false
      if (exit !== undefined && Exit.isSuccess(exit) && saves && loads) {
        must(isWritten, `operation ${id} has succeeded and is not in the table`)
      }
      if (isWritten) must(applied === true && batch!.save !== "none", `operation ${id} is in the table`)
    }

    const ranOf = (batch: ModelBatch) => batch.operations.filter(({ caller }) => !caller.isGone).length
    if (isInTime) {
      // A load or a save may be given up before its fiber has had its first turn.
      const unseen = { loads: metrics.loads - loaded, saves: metrics.saves - saved }
      must(
        unseen.loads >= 0 && unseen.saves >= 0 && unseen.loads + unseen.saves <= metrics.batchesFailed,
        `${loaded} loads, ${saved} saves: ${JSON.stringify(metrics)}`
      )
      const records = told.filter((record) => record._tag === "Batch")
      must(records.length === told.length && records.length === metrics.batches, "records are missing")
      must(metrics.batches <= all.length + unseen.loads, "more batches than loads")
      must(
        records.filter(({ error }) => error !== undefined).length === metrics.batchesFailed,
        "failed batches are counted wrong"
      )
      for (const [key, made] of unseen.loads === 0 ? batches : []) {
        const its = records.filter((record) => String(record.key) === key)
        must(its.length <= made.length, `${its.length} records of "${key}", and ${made.length} batches`)
        for (const [index, record] of its.entries()) {
          const batch = made[index]
          const { error, operations, saveMillis, startMillis, totalMillis } = record
          const text = `the record ${JSON.stringify({ ...record, error: error && render(Exit.failCause(error)) })}`
          must(startMillis === batch.startedAt, `${text}: it began at ${batch.startedAt}`)
          must(startMillis + totalMillis <= latestEndOf(batch), `${text}: too long`)
          if (batch.loaded !== undefined) must(operations >= ranOf(batch), `${text}: ${ranOf(batch)} have run`)
          if (batch.error !== undefined) must(error !== undefined || isOverdue(batch), `${text}: it has failed`)
          if (error === undefined) {
            must(record.loadMillis === batch.loadedAt! - batch.startedAt, `${text}: loaded at ${batch.loadedAt}`)
            must(saveMillis + record.loadMillis <= totalMillis, `${text}: the times are too long`)
            must(batch.save === "none" ? saveMillis === 0 : true, `${text}: nothing was saved`)
          }
        }
      }
    }
    // So that nothing is left over that was meant to be stuck.
    yield* stuck.open
    yield* Effect.sleep(200)
    // On a slow machine some are still on their way.
    for (let turn = 0; turn < 100 && (yield* processor.metrics).keys > 0; turn++) yield* Effect.sleep(1)
    return { violations, keysLeft: (yield* processor.metrics).keys, seen }
  })
