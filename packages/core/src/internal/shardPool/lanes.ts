/**
 * The waiting commands of a shard, in lanes: one for each key, first come, first served. Lanes with a waiting command,
 * and none running, take turns. So the commands of one key run one after another, and a key that hangs, or has many
 * commands, does not block the others.
 *
 * It is a backing queue: `poll` returns a command that may run now, and `length` counts all waiting commands. A policy
 * evicts the oldest command of all lanes.
 */
import type { BackingQueue, Options, Report, WhenFull } from "../../BackingQueue.ts"
import { identityOf, type Key } from "../../Sharding.ts"
import { Chain, type Link } from "../shapes/chain.ts"
import { Call, type OnInterrupt } from "../fibers/call.ts"

export interface SubmissionOptions {
  /** Whether somebody is to be told how it ends. */
  readonly isAwaited: boolean
  /** Whether it goes on when its caller is interrupted while it runs. */
  readonly isDetached: boolean
  /** The span that it was submitted in, where there is tracing. */
  readonly origin: unknown
}

/** The shard of a command. */
export interface Owner<in out C> {
  readonly index: number
  /** The caller of a command was interrupted while it waited or ran. */
  readonly interrupted: (submission: Submission<C>) => OnInterrupt
}

/** A command on its way: new, or waiting in a lane -> running -> ended. */
export class Submission<in out C> extends Call implements Link<Submission<C>> {
  readonly command: C
  readonly key: Key
  readonly id: string
  readonly shard: Owner<C>
  readonly isDetached: boolean
  readonly origin: unknown
  isAwaited: boolean
  /** Where it waits, or runs. */
  lane: Lane<C> | undefined = undefined
  isWaiting = false
  /** Whether it is run a second time, after a conflict of versions. */
  isRerun = false
  // Its neighbours: in the shard by age, and in its lane.
  older: Submission<C> | undefined = undefined
  newer: Submission<C> | undefined = undefined
  previous: Submission<C> | undefined = undefined
  next: Submission<C> | undefined = undefined

  constructor(
    command: C,
    key: Key,
    shard: Owner<C>,
    options: SubmissionOptions
  ) {
    super()
    this.command = command
    this.key = key
    this.id = identityOf(key)
    this.shard = shard
    this.isAwaited = options.isAwaited
    this.isDetached = options.isDetached
    this.origin = options.origin
  }

  protected interrupted(): OnInterrupt {
    return this.shard.interrupted(this)
  }
}

/** The commands of one key, and its version. */
export class Lane<in out C> implements Link<Lane<C>> {
  readonly id: string
  /** The version of the last command that succeeded, where it is known. */
  version: number | undefined
  running: Submission<C> | undefined = undefined
  readonly waiting = new Chain<Submission<C>>()
  /** Whether it stands in line: something waits in it, and nothing runs. */
  isInLine = false
  // Its neighbours in line.
  previous: Lane<C> | undefined = undefined
  next: Lane<C> | undefined = undefined

  constructor(id: string, version: number | undefined) {
    this.id = id
    this.version = version
  }
}

export interface LanesOptions {
  /** The version of a key that is not known: to be asked for, or 0. */
  readonly unknown: number | undefined
  /** Whether a key is forgotten as soon as nothing of it waits or runs. */
  readonly forgetsAtOnce: boolean
  /** Called when a lane has joined the line. */
  readonly onReady: () => void
  /** Called when a key is known that was not known before, or not since the last `forget`. */
  readonly onKnown: () => void
}

export class Lanes<in out C> implements BackingQueue<Submission<C>> {
  private readonly limit: number
  private readonly report: Report<Submission<C>>
  private readonly reserved: (() => boolean) | undefined
  private readonly whenFull: WhenFull
  private readonly options: LanesOptions
  private readonly line = new Chain<Lane<C>>()
  private oldest: Submission<C> | undefined
  private newest: Submission<C> | undefined
  private size = 0
  /**
   * The keys that are known: those that were used since the last `forget`, and those that were used before. So they are
   * forgotten by the million at no cost, and no clock is looked at when a key is used.
   */
  private known = new Map<string, Lane<C>>()
  private knownBefore = new Map<string, Lane<C>>()

  constructor(
    { capacity, report, reserved }: Options<Submission<C>>,
    whenFull: WhenFull,
    options: LanesOptions
  ) {
    this.limit = capacity
    this.report = report
    this.reserved = reserved
    this.whenFull = whenFull
    this.options = options
  }

  // --- a backing queue ----------------------------------------------------------------------------------------------

  offer(submission: Submission<C>): boolean {
    if (this.size < this.limit && (this.reserved === undefined || !this.reserved())) return this.push(submission)
    switch (this.whenFull) {
      case "refuse":
        return false
      case "drop-newest":
        this.report.dropped(submission, "drop-newest")
        return false
      case "drop-oldest": {
        const evicted = this.oldest!
        this.remove(evicted)
        this.push(submission)
        this.report.dropped(evicted, "drop-oldest")
        return true
      }
    }
  }

  offerAll(submissions: Iterable<Submission<C>>): ReadonlyArray<Submission<C>> {
    return Array.from(submissions).filter((submission) => !this.offer(submission))
  }

  poll<Default>(whenEmpty: Default): Submission<C> | Default {
    const lane = this.line.first
    if (lane === undefined) return whenEmpty
    this.leaveLine(lane)
    const submission = lane.waiting.first!
    this.remove(submission)
    lane.running = submission
    return submission
  }

  pollUpTo(limit: number): ReadonlyArray<Submission<C>> {
    const submissions: Array<Submission<C>> = []
    while (submissions.length < limit) {
      const submission = this.poll(undefined)
      if (submission === undefined) break
      submissions.push(submission)
    }
    return submissions
  }

  capacity(): number {
    return this.limit
  }

  length(): number {
    return this.size
  }

  // --- lanes --------------------------------------------------------------------------------------------------------

  /** Whether there is a lane in line. */
  get hasReady(): boolean {
    return this.line.first !== undefined
  }

  /** The oldest of all that wait, first. */
  *[Symbol.iterator](): Iterator<Submission<C>> {
    for (let submission = this.oldest; submission !== undefined; submission = submission.newer) yield submission
  }

  private push(submission: Submission<C>): true {
    const lane = this.laneOf(submission.id)
    submission.lane = lane
    submission.isWaiting = true
    submission.older = this.newest
    if (this.newest === undefined) this.oldest = submission
    else this.newest.newer = submission
    this.newest = submission
    lane.waiting.push(submission)
    this.size += 1
    if (lane.running === undefined) this.lineUp(lane)
    return true
  }

  /** Takes a command out that waits. */
  remove(submission: Submission<C>): void {
    const { newer, older } = submission
    if (older === undefined) this.oldest = newer
    else older.newer = newer
    if (newer === undefined) this.newest = older
    else newer.older = older
    submission.older = submission.newer = undefined
    const lane = submission.lane!
    lane.waiting.remove(submission)
    submission.isWaiting = false
    this.size -= 1
    // While all workers are busy no one polls, and empty lanes would pile up.
    if (lane.isInLine && lane.waiting.first === undefined) {
      this.leaveLine(lane)
      this.rest(lane)
    }
  }

  /** Drops everything that waits. */
  removeAll(reason: string): void {
    while (this.oldest !== undefined) {
      const submission = this.oldest
      this.remove(submission)
      this.report.dropped(submission, reason)
    }
  }

  /** What a lane has run has ended. */
  release(lane: Lane<C>): void {
    lane.running = undefined
    if (lane.waiting.first === undefined) this.rest(lane)
    else this.lineUp(lane)
  }

  /** Forgets an empty lane at once if nothing is known of it that would not be known of a new one. */
  private rest(lane: Lane<C>): void {
    const { forgetsAtOnce, unknown } = this.options
    if ((forgetsAtOnce || lane.version === unknown) && this.known.get(lane.id) === lane) this.known.delete(lane.id)
  }

  private lineUp(lane: Lane<C>): void {
    if (lane.isInLine) return
    lane.isInLine = true
    this.line.push(lane)
    this.options.onReady()
  }

  private leaveLine(lane: Lane<C>): void {
    lane.isInLine = false
    this.line.remove(lane)
  }

  private laneOf(id: string): Lane<C> {
    const known = this.known.get(id)
    if (known !== undefined) return known
    const before = this.knownBefore.get(id)
    if (before !== undefined) this.knownBefore.delete(id)
    const lane = before ?? new Lane<C>(id, this.options.unknown)
    this.known.set(id, lane)
    this.options.onKnown()
    return lane
  }

  // --- forgetting ---------------------------------------------------------------------------------------------------

  /** Forgets the keys that were not used since this was called the last time. Answers whether any are left. */
  forget(running: Iterable<Submission<C>>): boolean {
    this.knownBefore = this.known
    this.known = new Map()
    for (const submission of this) this.laneOf(submission.id)
    for (const submission of running) this.laneOf(submission.id)
    return this.knownKeys > 0
  }

  /** How many keys are known. */
  get knownKeys(): number {
    return this.known.size + this.knownBefore.size
  }
}
