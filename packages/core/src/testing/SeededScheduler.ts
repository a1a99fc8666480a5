/**
 * An Effect `Scheduler` that picks the next task at random from a seed, so that one test sees many interleavings and
 * each of them can be replayed.
 *
 * The stock scheduler is deterministic: fibers take turns in the order in which they became ready, and a fiber gives
 * way only after 2,048 operations. Races that need another order never show. This one keeps all ready fibers in a list,
 * picks one at random, and makes a running fiber give way at random as well. It runs nothing by itself: its owner calls
 * `unsafeStep`. `SeededRun` does that for whole programs, together with a `VirtualClock`.
 *
 * @since 0.1.0
 */
import type * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"

/**
 * The probability with which a running fiber is made to give way before each of its operations, unless told otherwise.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultYieldProbability = 0.05

/**
 * A summary of a schedule: two schedules with the same trace made the same choices.
 *
 * @since 0.1.0
 * @category models
 */
export interface Trace {
  /** How many tasks were run. */
  readonly length: number
  /** How many times a fiber was made to give way. */
  readonly forcedYields: number
  /** A hash over every choice, as eight hexadecimal digits. It holds no process-wide fiber id, so replays agree. */
  readonly hash: string
}

/**
 * A scheduler whose choices come from a seed, and which runs a task only when told to.
 *
 * @since 0.1.0
 * @category models
 */
export interface SeededScheduler extends Scheduler.Scheduler {
  readonly seed: number
  readonly yieldProbability: number
  /** The schedule up to now. */
  readonly trace: Trace
  /** True when at least one task could run. */
  readonly hasReady: boolean
  /** Runs one task, picked at random; false when none is ready. */
  unsafeStep(): boolean
  /** Draws from the schedule's own random numbers: true with the given probability. */
  unsafeChance(probability: number): boolean
  /** The fibers that ran under this scheduler and have not ended, the first to be seen first. */
  unsafeFibers(): Array<SeenFiber>
}

/**
 * A fiber as the scheduler knows it. Fiber ids count up over the whole process, so the schedule numbers fibers by the
 * order in which it first saw them: the same in each replay, and 0 for the root.
 *
 * @since 0.1.0
 * @category models
 */
export interface SeenFiber {
  readonly index: number
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown>
  readonly ready: boolean
}

/**
 * Makes a scheduler from a seed (an integer; its low 32 bits count).
 *
 * Tasks of one fiber keep their order, as they do in the stock scheduler; nothing else is kept. Before each operation
 * of a fiber the scheduler draws, and makes the fiber give way with `yieldProbability` (default 0.05), on top of
 * Effect's own operation budget. At 0 fibers change places only where they suspend.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as SeededScheduler from "@sluice/core/testing/SeededScheduler"
 *
 * const scheduler = SeededScheduler.make({ seed: 7 })
 * const fiber = Effect.runFork(Effect.succeed(1), { scheduler, immediate: false })
 * while (scheduler.unsafeStep()) {
 *   // each step runs one task
 * }
 * console.log(fiber.unsafePoll(), scheduler.trace.hash)
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: {
  readonly seed: number
  readonly yieldProbability?: number | undefined
}): SeededScheduler => new SeededSchedulerImpl(options.seed, options.yieldProbability ?? defaultYieldProbability)

/**
 * The random numbers of a schedule: each call returns the next unsigned 32-bit integer of the seed's sequence.
 *
 * Mulberry32 by Tommy Ettinger: 32 bits of state, a period of 2^32, and good mixing from the first number on, so that
 * neighbouring seeds give unrelated schedules.
 *
 * @see https://gist.github.com/tommyettinger/46a874533244883189143505d203312c
 * @since 0.1.0
 * @category random
 */
export const mulberry32 = (seed: number): () => number => {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
}

// -----------------------------------------------------------------------------
// internals
// -----------------------------------------------------------------------------

/** The tasks of one fiber, or one task that belongs to none. */
interface Lane {
  readonly index: number
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
  readonly tasks: Array<{ readonly task: Scheduler.Task; readonly priority: number }>
  /** True from a forced yield to the operation after it. */
  yielded: boolean
}

const twoTo32 = 0x1_0000_0000

// Marks a forced yield in the trace's hash: a lane's index never has the top bit.
const yieldMark = 0x8000_0000

/**
 * `shouldYield` answers with the priority at which to yield, and Effect wraps the yield in
 * `withSchedulingPriority(priority)`: about ten more operations, each of which may be made to yield in turn. Above 10 %
 * that feeds itself and the run never ends. With an `undefined` priority Effect 3.22 emits a bare yield and the
 * fiber keeps the priority it has, which is what we want anyway. A test holds Effect to it.
 */
const yieldWithoutPriority = undefined as unknown as number

class SeededSchedulerImpl implements SeededScheduler {
  readonly seed: number
  readonly yieldProbability: number
  private readonly next: () => number
  private readonly yieldBelow: number
  private readonly lanes = new Map<Fiber.RuntimeFiber<unknown, unknown>, Lane>()
  private readonly ready: Array<Lane> = []
  private running: Lane | undefined
  private laneCount = 0
  private steps = 0
  private forcedYields = 0
  private hash = 0

  constructor(seed: number, yieldProbability: number) {
    if (!Number.isInteger(seed)) {
      throw new RangeError(`seed must be an integer, got ${seed}`)
    }
    if (!(yieldProbability >= 0 && yieldProbability < 1)) {
      throw new RangeError(`yieldProbability must be at least 0 and below 1, got ${yieldProbability}`)
    }
    this.seed = seed
    this.yieldProbability = yieldProbability
    this.yieldBelow = yieldProbability * twoTo32
    this.next = mulberry32(seed)
  }

  get trace(): Trace {
    return {
      length: this.steps,
      forcedYields: this.forcedYields,
      hash: (this.hash >>> 0).toString(16).padStart(8, "0")
    }
  }

  get hasReady(): boolean {
    return this.ready.length > 0
  }

  shouldYield(fiber: Fiber.RuntimeFiber<unknown, unknown>): number | false {
    // Almost always the fiber of the task being run. A `Runtime.runFork` inside it starts its fiber at once, on this
    // stack: such a fiber may suspend without ever having been scheduled, and would be missing from every report.
    const lane = this.running !== undefined && this.running.fiber === fiber ? this.running : this.started(fiber)
    if (lane.yielded) {
      // Waking from a yield counts as an operation, and the one put off by it comes round a second time. Drawing for
      // both would double the yields with each one and never end from 50 % on.
      lane.yielded = false
    } else if (this.yieldBelow > 0 && this.next() < this.yieldBelow) {
      lane.yielded = true
      this.forcedYields++
      this.mix((yieldMark | lane.index) | 0)
      return yieldWithoutPriority
    }
    return Scheduler.defaultShouldYield(fiber)
  }

  scheduleTask(task: Scheduler.Task, priority: number, fiber?: Fiber.RuntimeFiber<unknown, unknown>): void {
    const lane = fiber === undefined ? this.newLane(undefined) : (this.lanes.get(fiber) ?? this.newLane(fiber))
    if (lane.tasks.length === 0) {
      this.ready.push(lane)
    }
    // One fiber's tasks run lowest priority first, then in order of arrival: Effect relies on it when it starts a
    // fiber and interrupts it right after, which are two tasks.
    let at = lane.tasks.length
    while (at > 0 && lane.tasks[at - 1]!.priority > priority) {
      at--
    }
    lane.tasks.splice(at, 0, { task, priority })
  }

  unsafeStep(): boolean {
    const count = this.ready.length
    if (count === 0) {
      return false
    }
    const at = count === 1 ? 0 : this.next() % count
    const lane = this.ready[at]!
    const { task } = lane.tasks.shift()!
    if (lane.tasks.length === 0) {
      const last = this.ready.pop()!
      if (at < count - 1) {
        this.ready[at] = last
      }
    }
    this.steps++
    this.mix(count)
    this.mix(lane.index)
    this.running = lane
    try {
      task()
    } finally {
      this.running = undefined
    }
    if (lane.fiber !== undefined && lane.tasks.length === 0 && lane.fiber.unsafePoll() !== null) {
      this.lanes.delete(lane.fiber)
    }
    return true
  }

  unsafeChance(probability: number): boolean {
    return this.next() < probability * twoTo32
  }

  unsafeFibers(): Array<SeenFiber> {
    const seen: Array<SeenFiber> = []
    for (const [fiber, lane] of this.lanes) {
      if (fiber.unsafePoll() === null) {
        seen.push({ index: lane.index, fiber, ready: lane.tasks.length > 0 })
      }
    }
    return seen
  }

  private started(fiber: Fiber.RuntimeFiber<unknown, unknown>): Lane {
    const known = this.lanes.get(fiber)
    if (known !== undefined) {
      return known
    }
    // It may end without a step of its own, so no step will clear its lane.
    fiber.addObserver(() => this.lanes.delete(fiber))
    return this.newLane(fiber)
  }

  private newLane(fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined): Lane {
    const lane: Lane = { index: this.laneCount++, fiber, tasks: [], yielded: false }
    if (fiber !== undefined) {
      this.lanes.set(fiber, lane)
    }
    return lane
  }

  // One round of MurmurHash3: https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp
  private mix(value: number): void {
    let k = Math.imul(value, 0xcc9e2d51)
    k = (k << 15) | (k >>> 17)
    const h = this.hash ^ Math.imul(k, 0x1b873593)
    this.hash = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0
  }
}
