/**
 * Runs whole Effect programs under a seeded schedule and a virtual clock: no real time passes, every choice comes from
 * the seed, and a program that hangs is reported instead of timing out.
 *
 * A run goes: 1. the program starts under a fresh `SeededScheduler`, a `VirtualClock` and a seeded `Random`; 2. while
 * something is ready, one task picked at random runs; 3. when nothing is, the clock moves to the next timer; 4. when
 * there is no timer either, the run is a `Deadlock`, and after `maxSteps` a `Livelock`; 5. once the program has ended,
 * what is still ready runs, fibers that are left over are counted, and then interrupted.
 *
 * **What escapes the seed.** `Math.random`, `Date.now` (and with it `DateTime.unsafeNow`), fiber ids, real timers and
 * I/O, `Effect.runPromise` and the like called inside the program, and the order of a `HashMap` whose keys hash by
 * reference. Objects made outside the program keep their state from run to run: pass a function that creates them for
 * each run.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberStatus from "effect/FiberStatus"
import * as HashMap from "effect/HashMap"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as RuntimeFlags from "effect/RuntimeFlags"
import { Macrotask } from "../unstable/Macrotask.ts"
import * as SeededScheduler from "./SeededScheduler.ts"
import * as VirtualClock from "./VirtualClock.ts"

/**
 * How a program is run.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunOptions {
  /** An integer; its low 32 bits count. The same seed gives the same schedule. */
  readonly seed: number
  /** How likely a fiber gives way before each operation. Default 0.05. */
  readonly yieldProbability?: number | undefined
  /**
   * How likely the clock moves to the next timer before a step although fibers are ready, as on a machine that is too
   * slow: timeouts and leases then run out in the middle of work. Default 0: work takes no time.
   */
  readonly timerProbability?: number | undefined
  /** After this many tasks the run is given up as a livelock. Default 100,000. */
  readonly maxSteps?: number | undefined
  /** What the clock shows at the start. Default 0. */
  readonly epochMillis?: number | undefined
  /**
   * Applied to the program before it runs: provide services here, or replace references. It takes precedence over what
   * a run itself provides: the clock, `Random`, and a task of the schedule in place of each break of a Sluice loop for
   * the event loop.
   */
  readonly transform?: (<A, E>(program: Effect.Effect<A, E>) => Effect.Effect<A, E>) | undefined
}

/**
 * The result of one run.
 *
 * @since 0.1.0
 * @category models
 */
export interface Run<A, E> {
  /** How the program ended. A hang is a failure as well: `Deadlock` or `Livelock`. */
  readonly exit: Exit.Exit<A, E | Deadlock | Livelock>
  readonly seed: number
  /** How many tasks had run when the program ended. */
  readonly steps: number
  /** What the clock showed when the program ended. */
  readonly nowMillis: number
  /** The schedule up to the program's end. */
  readonly trace: SeededScheduler.Trace
  /**
   * The fibers that had not ended once the program had, and everything that was ready then had run. They were
   * interrupted afterwards. A program that leaks nothing leaves this empty.
   */
  readonly leftFibers: ReadonlyArray<FiberDump>
  /** The timers that were set at that moment. */
  readonly leftTimers: number
}

/**
 * One fiber that had not ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface FiberDump {
  /** The order in which the schedule first saw it: the same in every replay, 0 for the root. */
  readonly index: number
  /** Effect's name for it, as it stands in logs: differs from run to run. */
  readonly threadName: string
  readonly state: "ready" | "suspended"
  readonly interruptible: boolean | undefined
  /** What it waits for, as far as Effect knows: the fiber that it awaits, or the one that made the Deferred. */
  readonly waitsFor: string | undefined
  /** The span it is in, if any. */
  readonly span: string | undefined
  /** Its log annotations. */
  readonly annotations: Readonly<Record<string, unknown>>
}

/**
 * Nothing was ready, no timer was set, and the program had not ended: it would have hung. A program that waits for
 * something outside the schedule, such as a Promise under `run` or I/O, also ends like this.
 *
 * @since 0.1.0
 * @category errors
 */
export class Deadlock extends Data.TaggedError("Deadlock")<{
  readonly seed: number
  readonly steps: number
  readonly nowMillis: number
  readonly fibers: ReadonlyArray<FiberDump>
  readonly message: string
}> {}

/**
 * The program had not ended after `maxSteps` tasks. Either fibers keep one another busy forever, or some wait forever
 * while a timer keeps ticking, or the program is long and needs a higher `maxSteps`.
 *
 * @since 0.1.0
 * @category errors
 */
export class Livelock extends Data.TaggedError("Livelock")<{
  readonly seed: number
  readonly steps: number
  readonly nowMillis: number
  readonly timers: number
  readonly fibers: ReadonlyArray<FiberDump>
  readonly message: string
}> {}

/**
 * Runs a program to its end, synchronously.
 *
 * Every fiber it forks runs under the same schedule and clock, daemons and scoped fibers included. Promises cannot
 * resolve meanwhile: a fiber that waits for one makes the run a `Deadlock`; see `runPromise`.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as SeededRun from "@sluice/core/testing/SeededRun"
 *
 * const program = Effect.sleep("3 days").pipe(Effect.as("done"))
 * const run = SeededRun.run(program, { seed: 7 })
 * console.log(run.exit, run.nowMillis, run.trace.hash) // Success("done") 259200000 ...
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const run = <A, E>(program: Effect.Effect<A, E>, options: RunOptions): Run<A, E> => {
  const steps = simulate(program, options, false)
  // Without pauses the generator runs through at its first call.
  return steps.next().value as Run<A, E>
}

/**
 * Like `run`, for programs that wait for Promises.
 *
 * Pending microtasks get a turn at random, seeded points between steps; and before the clock moves, and before a
 * deadlock is reported, one turn of the event loop lets them run until none is left. Promises that resolve through
 * microtasks alone are therefore part of the schedule and replay with it. Promises that wait for the outside (I/O,
 * `setTimeout`) are not supported: the clock does not wait for them.
 *
 * The returned Promise never rejects.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as SeededRun from "@sluice/core/testing/SeededRun"
 *
 * const program = Effect.promise(async () => 1)
 * void SeededRun.runPromise(program, { seed: 7 }).then((run) => console.log(run.exit))
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const runPromise = async <A, E>(program: Effect.Effect<A, E>, options: RunOptions): Promise<Run<A, E>> => {
  const steps = simulate(program, options, true)
  for (;;) {
    const next = steps.next()
    if (next.done === true) {
      return next.value
    }
    await (next.value === "microtasks" ? undefined : macrotask())
  }
}

/**
 * A program, or a function that makes one for each run. Use the function whenever the program has state of its own that
 * is made outside of Effect.
 *
 * @since 0.1.0
 * @category models
 */
export type Program<A, E> = Effect.Effect<A, E> | ((seed: number) => Effect.Effect<A, E>)

/**
 * How many seeds to run, and how.
 *
 * @since 0.1.0
 * @category models
 */
export interface SeedsOptions extends Omit<RunOptions, "seed"> {
  /** The first seed; the runs use this one and those after it. Default 1. */
  readonly seed?: number | undefined
  /** Default 100. */
  readonly runs?: number | undefined
}

/**
 * The result of many runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Summary {
  readonly runs: number
  /** How many different schedules these were: a low number means that the program leaves little to chance. */
  readonly schedules: number
  /** Tasks run, over all runs. */
  readonly steps: number
}

/**
 * A seed was found for which the check failed. Its message says which, how to replay it, and whether a second run with
 * that seed took the same schedule: if not, the program depends on something that escapes the seed.
 *
 * @since 0.1.0
 * @category errors
 */
export class SeedFailure extends Data.TaggedError("SeedFailure")<{
  readonly seed: number
  /** How many runs it took to find it, this one included. */
  readonly runs: number
  /** What the check threw, or the error the program failed with. */
  readonly cause: unknown
  readonly replay: string
  readonly replayed: boolean
  readonly message: string
}> {}

/**
 * Runs a program under many seeds, one after the other, and throws a `SeedFailure` at the first that fails.
 *
 * A run fails when the program hangs (`Deadlock`, `Livelock`), or when `check` throws. Without a `check`, it fails when
 * the program does.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Exit from "effect/Exit"
 * import * as Ref from "effect/Ref"
 * import * as SeededRun from "@sluice/core/testing/SeededRun"
 *
 * const program = Effect.gen(function*() {
 *   const count = yield* Ref.make(0)
 *   yield* Effect.all([Ref.update(count, (n) => n + 1), Ref.update(count, (n) => n + 1)], { concurrency: 2 })
 *   return yield* Ref.get(count)
 * })
 * SeededRun.forSeeds(program, { runs: 1000 }, (run) => {
 *   if (!Exit.isSuccess(run.exit) || run.exit.value !== 2) throw new Error("an update was lost")
 * })
 * ```
 *
 * @since 0.1.0
 * @category running
 */
export const forSeeds = <A, E>(
  program: Program<A, E>,
  options?: SeedsOptions,
  check: (run: Run<A, E>) => void = mustSucceed
): Summary => {
  const tally = makeTally()
  for (const runOptions of seeds(options)) {
    const result = run(programFor(program, runOptions.seed), runOptions)
    tally.add(result)
    try {
      mustEnd(result)
      check(result)
    } catch (cause) {
      const again = run(programFor(program, runOptions.seed), runOptions)
      throw tally.failure(cause, result, again, `SeededRun.run(program, ${renderOptions(runOptions)})`)
    }
  }
  return tally.summary()
}

/**
 * Like `forSeeds`, with `runPromise` for each run; `check` may return a Promise. Rejects with a `SeedFailure`.
 *
 * @since 0.1.0
 * @category running
 */
export const forSeedsPromise = async <A, E>(
  program: Program<A, E>,
  options?: SeedsOptions,
  check: (run: Run<A, E>) => void | Promise<void> = mustSucceed
): Promise<Summary> => {
  const tally = makeTally()
  for (const runOptions of seeds(options)) {
    const result = await runPromise(programFor(program, runOptions.seed), runOptions)
    tally.add(result)
    try {
      mustEnd(result)
      await check(result)
    } catch (cause) {
      const again = await runPromise(programFor(program, runOptions.seed), runOptions)
      throw tally.failure(cause, result, again, `SeededRun.runPromise(program, ${renderOptions(runOptions)})`)
    }
  }
  return tally.summary()
}

// -----------------------------------------------------------------------------
// one run
// -----------------------------------------------------------------------------

/** What the asynchronous driver must let happen before the simulation goes on. */
type Pause = "microtasks" | "macrotask"

interface World {
  readonly scheduler: SeededScheduler.SeededScheduler
  readonly clock: VirtualClock.VirtualClock
  readonly timerProbability: number
  readonly pauses: boolean
}

const defaultMaxSteps = 100_000

// What a run may spend after the program's end, on fibers that are still ready and on interrupting the rest.
const maxSettleSteps = 10_000

// One step in eight on average: often enough to mix Promises with fibers, seldom enough to cost little.
const microtaskProbability = 1 / 8

function* simulate<A, E>(
  program: Effect.Effect<A, E>,
  options: RunOptions,
  pauses: boolean
): Generator<Pause, Run<A, E>, void> {
  const scheduler = SeededScheduler.make(options)
  const clock = VirtualClock.make({ scheduler, epochMillis: options.epochMillis })
  const world: World = { scheduler, clock, timerProbability: options.timerProbability ?? 0, pauses }
  const root = Effect.runFork(
    (options.transform === undefined ? program : options.transform(program)).pipe(
      // Through `setImmediate` it would leave the schedule.
      Effect.provideService(Macrotask, (task) => scheduler.scheduleTask(task, 0)),
      Effect.withRandom(Random.make(options.seed)),
      Effect.withClock(clock)
    ),
    // Not at once: the root too waits for its first step, or its first operations would run outside of the schedule.
    { scheduler, immediate: false }
  )

  const stop = yield* drive(world, () => root.unsafePoll() !== null, options.maxSteps ?? defaultMaxSteps)

  // Taken before anything below runs more tasks.
  const trace = scheduler.trace
  const end = { seed: options.seed, steps: trace.length, nowMillis: clock.unsafeCurrentTimeMillis() }
  if (stop === "done") {
    if (pauses) {
      yield "macrotask"
    }
    yield* drive({ ...world, timerProbability: 0 }, () => !scheduler.hasReady, maxSettleSteps)
  }
  const timers = clock.timers
  const fibers = scheduler.unsafeFibers()
  const dumps = fibers.length === 0 ? [] : dumpAll(world, fibers)
  yield* interruptAll(world, fibers)

  return {
    exit: stop === "done"
      ? root.unsafePoll()!
      : Exit.fail(
        stop === "idle" ? deadlock({ ...end, fibers: dumps }) : livelock({ ...end, timers, fibers: dumps })
      ),
    ...end,
    trace,
    leftFibers: dumps,
    leftTimers: timers
  }
}

function* drive(
  world: World,
  done: () => boolean,
  maxSteps: number
): Generator<Pause, "done" | "idle" | "spent", void> {
  const { clock, pauses, scheduler, timerProbability } = world
  for (let steps = 0; !done();) {
    if (steps >= maxSteps) {
      return "spent"
    }
    if (timerProbability > 0 && scheduler.unsafeChance(timerProbability)) {
      clock.unsafeAdvance()
    }
    if (pauses && scheduler.unsafeChance(microtaskProbability)) {
      yield "microtasks"
    }
    if (scheduler.unsafeStep()) {
      steps++
      continue
    }
    if (pauses) {
      yield "macrotask"
      if (scheduler.hasReady) {
        continue
      }
    }
    if (!clock.unsafeAdvance()) {
      return "idle"
    }
  }
  return "done"
}

// A fiber that is left suspended stays in Effect's set of root fibers for good, and `Effect.never` keeps a real
// interval running that stops the process from exiting: a thousand runs would pile up both.
function* interruptAll(world: World, fibers: ReadonlyArray<SeededScheduler.SeenFiber>): Generator<Pause, void, void> {
  if (fibers.length > 0) {
    for (const { fiber } of fibers) {
      fiber.unsafeInterruptAsFork(FiberId.none)
    }
    yield* drive(world, () => fibers.every(({ fiber }) => fiber.unsafePoll() !== null), maxSettleSteps)
  }
}

// -----------------------------------------------------------------------------
// reports
// -----------------------------------------------------------------------------

const dumpAll = (
  { scheduler }: World,
  fibers: ReadonlyArray<SeededScheduler.SeenFiber>
): Array<FiberDump> => {
  const indexOf = new Map(fibers.map(({ fiber, index }) => [FiberId.threadName(fiber.id()), index]))
  const describe = (id: FiberId.FiberId | null): string | undefined => {
    // Effect leaves it out while a fiber hands itself back to the scheduler.
    if (id === null) return undefined
    const names = Array.from(FiberId.toSet(id), (one) => FiberId.threadName(one))
    return names.length === 0 ? undefined : names.map((name) => {
      const index = indexOf.get(name)
      return index === undefined ? `${name} (ended)` : `fiber ${index}`
    }).join(", ")
  }
  // A fiber answers for its status itself, in a task. With others ready that would run them on, so ask only when all
  // are suspended.
  const statuses = new Map<number, FiberStatus.FiberStatus>()
  if (!scheduler.hasReady) {
    Effect.runFork(
      Effect.forEach(fibers, ({ fiber, index }) =>
        Effect.map(fiber.status, (status) => {
          statuses.set(index, status)
        }), { discard: true }),
      { scheduler, immediate: false }
    )
    while (scheduler.unsafeStep()) {
      // runs the questions alone
    }
  }
  return fibers.map(({ fiber, index, ready }) => {
    const status = statuses.get(index)
    const suspended = status !== undefined && FiberStatus.isSuspended(status) ? status : undefined
    return {
      index,
      threadName: FiberId.threadName(fiber.id()),
      state: ready ? "ready" : "suspended",
      interruptible: suspended === undefined ? undefined : RuntimeFlags.interruptible(suspended.runtimeFlags),
      waitsFor: suspended === undefined ? undefined : describe(suspended.blockingOn),
      span: fiber.currentSpan === undefined
        ? undefined
        : fiber.currentSpan._tag === "Span"
        ? fiber.currentSpan.name
        : fiber.currentSpan.spanId,
      annotations: Object.fromEntries(HashMap.toEntries(fiber.getFiberRef(FiberRef.currentLogAnnotations)))
    }
  })
}

type Report<Error> = Omit<Error, keyof Cause.YieldableError | "_tag">

// The messages are made here and not by getters: test runners copy an error's fields one by one, and a getter that
// finds its fields half copied throws inside the runner.
const deadlock = (report: Report<Deadlock>): Deadlock =>
  new Deadlock({
    ...report,
    message: `nothing is ready and no timer is set at ${report.nowMillis} ms, after ${report.steps} steps `
      + `(seed ${report.seed})${renderFibers(report.fibers)}\n`
      + "A fiber that waits for a Promise needs runPromise; real timers and I/O are not supported."
  })

const livelock = (report: Report<Livelock>): Livelock =>
  new Livelock({
    ...report,
    message: `not ended after ${report.steps} steps, at ${report.nowMillis} ms with ${report.timers} timers set `
      + `(seed ${report.seed}); raise maxSteps if the program is long${renderFibers(report.fibers)}`
  })

const renderFibers = (fibers: ReadonlyArray<FiberDump>): string =>
  fibers.map((fiber) =>
    `\n  fiber ${fiber.index}${fiber.index === 0 ? " (root)" : ""}, ${fiber.threadName}: ${fiber.state}`
    + (fiber.interruptible === false ? ", uninterruptible" : "")
    + (fiber.waitsFor === undefined ? "" : `, waits for ${fiber.waitsFor}`)
    + (fiber.span === undefined ? "" : `, in span ${fiber.span}`)
    + Object.entries(fiber.annotations).map(([key, value]) => `, ${key}=${String(value)}`).join("")
  ).join("")

// -----------------------------------------------------------------------------
// many runs
// -----------------------------------------------------------------------------

function* seeds(options: SeedsOptions = {}): Generator<RunOptions, void, void> {
  const { runs = 100, seed = 1, ...rest } = options
  for (let i = 0; i < runs; i++) {
    yield { ...rest, seed: seed + i }
  }
}

const programFor = <A, E>(program: Program<A, E>, seed: number): Effect.Effect<A, E> =>
  Effect.isEffect(program) ? program : program(seed)

const mustEnd = <A, E>({ exit }: Run<A, E>): void => {
  if (Exit.isFailure(exit)) {
    const failure = Cause.failureOption(exit.cause)
    if (Option.isSome(failure) && (failure.value instanceof Deadlock || failure.value instanceof Livelock)) {
      throw failure.value
    }
  }
}

const mustSucceed = <A, E>({ exit }: Run<A, E>): void => {
  if (Exit.isFailure(exit)) {
    throw new Error(Cause.pretty(exit.cause, { renderErrorCause: true }))
  }
}

const makeTally = () => {
  const hashes = new Set<string>()
  let runs = 0
  let steps = 0
  return {
    add: (result: Run<unknown, unknown>): void => {
      runs++
      steps += result.steps
      hashes.add(result.trace.hash)
    },
    summary: (): Summary => ({ runs, schedules: hashes.size, steps }),
    failure: (
      cause: unknown,
      { seed, trace }: Run<unknown, unknown>,
      again: Run<unknown, unknown>,
      replay: string
    ): SeedFailure => {
      const replayed = again.trace.hash === trace.hash
      const reason = cause instanceof Error ? `${cause.name}: ${cause.message}` : Inspectable.toStringUnknown(cause)
      const message = `seed ${seed} failed (run ${runs})\n${reason}\nReplay it with ${replay}\n` + (replayed
        ? "A second run with this seed took the same schedule."
        : "Beware: a second run with this seed took another schedule. Something escapes the seed: state kept between "
          + "runs, Math.random, Date.now, a real timer, or a Promise under run.")
      return new SeedFailure({ seed, runs, cause, replay, replayed, message })
    }
  }
}

const renderOptions = (options: RunOptions): string => {
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  return `{ ${given.map(([key, value]) => typeof value === "function" ? key : `${key}: ${value}`).join(", ")} }`
}

// -----------------------------------------------------------------------------
// the event loop
// -----------------------------------------------------------------------------

// Taken once, at import, so that a test with faked timers does not hang us. Reached through `globalThis`: core has
// neither Node's types nor the DOM's.
const { setImmediate, setTimeout } = globalThis as unknown as {
  readonly setImmediate?: (callback: () => void) => unknown
  readonly setTimeout: (callback: () => void, millis: number) => unknown
}

const macrotask = (): Promise<void> =>
  new Promise((resolve) => setImmediate === undefined ? setTimeout(resolve, 0) : setImmediate(resolve))
