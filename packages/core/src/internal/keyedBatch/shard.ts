/**
 * One shard of a keyed batch: its current resources, and one fiber that owns them.
 *
 * The states of a batch: idle -> loading -> open, where operations run as they arrive -> saving -> idle. Loads, saves
 * and operations that are Effects run in separate fibers, which start here and report back, so a slow one only blocks
 * its own key. Everything else happens in the shard's fiber, one step after another.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { BatchTimeout } from "../../QueueError.ts"
import { identityOf, type Key } from "../../Sharding.ts"
import { type Breaks, Pace } from "../fibers/breaks.ts"
import type { Deadlines } from "./deadlines.ts"
import type { Fork } from "../fibers/forking.ts"
import { Bell } from "../fibers/bell.ts"
import type { OnInterrupt } from "../fibers/call.ts"
import { Ring } from "../shapes/ring.ts"
import {
  type Action,
  idle,
  type Keeper,
  open,
  Operation,
  pairOf,
  type Phase,
  Resource,
  type Times
} from "./resource.ts"
import { interruptNow, observe, pollExit, type Running } from "../fibers/fiber.ts"
import { withinSpan } from "../fibers/tracing.ts"

/** What is told of a batch that has ended. */
export interface Told {
  readonly key: Key
  readonly startMillis: number
  readonly operations: number
  readonly loadMillis: number
  readonly saveMillis: number
  readonly totalMillis: number
  readonly cause: Cause.Cause<unknown> | undefined
}

export interface KeyedObserver {
  readonly taken: () => void
  readonly ended: (isSuccess: boolean) => void
  readonly cancelled: () => void
  readonly loaded: () => void
  readonly saved: () => void
  readonly batchEnded: (cause: Cause.Cause<unknown> | undefined) => void
  readonly isHeard: boolean
  readonly tell: (told: Told) => void
}

export interface KeyedShardOptions<in out S> {
  readonly name: string
  readonly batchSize: number
  readonly load: ((key: Key, operations: () => ReadonlyArray<Operation<S>>) => Effect.Effect<S, unknown>) | undefined
  readonly initial: ((key: Key) => S) | undefined
  readonly save:
    | ((key: Key, value: S, operations: () => ReadonlyArray<Operation<S>>) => Effect.Effect<void, unknown>)
    | undefined
  readonly deadlines: Deadlines
  readonly fork: Fork<never>
  readonly breaks: Breaks
  /** Nothing goes on here any more. Told only while it is closing. */
  readonly onQuiet: () => void
  readonly observer: KeyedObserver
  readonly nowMillis: () => number
  readonly monotonicMillis: () => number
}

/** The number of operations and turns of resources between looks at the clock. */
const mostStepsBetweenLooks = 256

/** How many times resources go on before other fibers may. */
const turnsInARow = 16

export class KeyedShard<in out S> implements Keeper<S> {
  /** Whether batches are to end as soon as they can. */
  isClosing = false
  private readonly options: KeyedShardOptions<S>
  private readonly resources = new Map<string, Resource<S>>()
  /** The resources that have something to do. */
  private readonly agenda = new Ring<Resource<S>>()
  private readonly bell = new Bell(() => this.agenda.length > 0 || this.hasEnded)
  private readonly pace: Pace
  private isBreakDue = false
  /** How many batches were aborted, and have not ended. */
  private endings = 0
  private hasEnded = false

  constructor(options: KeyedShardOptions<S>) {
    this.options = options
    this.pace = new Pace(options.breaks, mostStepsBetweenLooks)
  }

  // --- callers ------------------------------------------------------------------------------------------------------

  /** Puts an operation into the batch of its key, or opens one. */
  enter(key: Key, action: Action<S>, origin: unknown): Operation<S> {
    const id = identityOf(key)
    let resource = this.resources.get(id)
    if (resource === undefined) this.resources.set(id, resource = new Resource(key, id, this))
    const operation = new Operation(action, resource, origin)
    resource.waiting.push(operation)
    const { _tag } = resource.phase
    if (_tag === "Idle" || _tag === "Open") this.schedule(resource)
    return operation
  }

  /** The caller of an operation was interrupted. */
  interrupted(operation: Operation<S>): OnInterrupt {
    const { resource } = operation
    switch (operation.state) {
      case "waiting":
        resource.waiting.remove(operation)
        this.options.observer.cancelled()
        // It may have been the last of its key, or of all.
        this.schedule(resource)
        this.lookQuiet()
        return "leave"
      case "running":
        operation.isLeft = true
        if (resource.phase._tag === "Operating") interruptNow(resource.phase.fiber)
        return "wait"
      case "ran":
        return "wait"
    }
  }

  /** Puts a resource on the agenda of the shard's fiber. */
  schedule(resource: Resource<S>): void {
    // What was given up may end later than the fiber. There is nothing left to be done but to forget it.
    if (this.hasEnded) return this.advance(resource)
    if (resource.isOnAgenda) return
    resource.isOnAgenda = true
    this.agenda.push(resource)
    this.bell.ring()
  }

  taken(): void {
    this.options.observer.taken()
  }

  /** How many keys have operations. */
  get keys(): number {
    return this.resources.size
  }

  /** Whether nothing goes on here, but what was aborted and does not end. */
  get isQuiet(): boolean {
    return this.resources.size === this.endings
  }

  private lookQuiet(): void {
    if (this.isClosing && this.isQuiet) this.options.onQuiet()
  }

  /** Ends every batch as soon as it can. */
  unsafeClose(): void {
    this.isClosing = true
    for (const resource of this.resources.values()) this.schedule(resource)
  }

  /** Aborts every batch, as if its time were over. */
  unsafeTimeOut(): void {
    for (const resource of this.resources.values()) {
      resource.isOverdue = true
      this.schedule(resource)
    }
  }

  /** Ends the fiber. */
  unsafeEnd(): void {
    this.hasEnded = true
    this.bell.ring()
  }

  /**
   * Ends every operation, and gives every batch up: a fiber of ours has died. Nothing of them may run or be saved
   * later.
   */
  unsafeFail(exit: Exit.Exit<never, never>): void {
    for (const resource of this.resources.values()) {
      const { phase, ran } = resource
      if (phase._tag === "Operating") this.end(phase.operation, exit, false)
      for (const operation of ran) this.end(operation, exit, false)
      for (const operation of resource.waitingNow()) {
        resource.take(operation)
        this.end(operation, exit, false)
      }
      if (phase._tag === "Ending") continue
      this.rest(resource)
      // No deadline: it may be the clock that has failed.
      if ("fiber" in phase) this.giveUp(resource, phase.fiber)
      else this.resources.delete(resource.id)
    }
  }

  // --- the fiber ----------------------------------------------------------------------------------------------------

  /** Does what is on the agenda, until it is ended. */
  readonly run: Effect.Effect<void> = Effect.whileLoop({
    while: () => !this.hasEnded || this.agenda.length > 0,
    body: () => {
      const { breaks } = this.options
      if (this.agenda.length === 0) return this.bell.wait
      if (this.isBreakDue || this.pace.step()) {
        this.isBreakDue = false
        return breaks.take
      }
      for (let turns = 0; turns < turnsInARow && !this.isBreakDue && this.agenda.length > 0; turns++) {
        const resource = this.agenda.shift()
        resource.isOnAgenda = false
        this.advance(resource)
        this.isBreakDue ||= this.pace.step()
      }
      return Effect.void
    },
    step: () => {}
  })

  /** Takes a resource as far as it can go now. */
  private advance(resource: Resource<S>): void {
    if (resource.isOverdue) this.abort(resource)
    while (this.step(resource)) {
      if (resource.phase !== idle) continue
      // One batch in a turn: operations of the user's may bring others of the same key without end.
      return this.schedule(resource)
    }
  }

  /** Takes a resource one step further; answers false where it has to wait. */
  private step(resource: Resource<S>): boolean {
    const { phase } = resource
    switch (phase._tag) {
      case "Idle":
        return this.begin(resource)
      case "Open":
        return this.operate(resource)
      default: {
        const exit = resource.arrived
        if (exit === undefined) return false
        resource.arrived = undefined
        if (phase._tag === "Loading") this.loaded(resource, exit)
        else if (phase._tag === "Operating") this.operated(resource, phase.operation, exit)
        else if (phase._tag === "Saving") this.saved(resource, exit)
        else {
          this.endings -= 1
          this.rest(resource)
        }
        return true
      }
    }
  }

  private become(resource: Resource<S>, phase: Phase<S>): void {
    resource.phase = phase
  }

  /** Runs something of the user's. Answers its exit, or, where it waits for something, its fiber, which reports back. */
  private begun<A>(
    resource: Resource<S>,
    run: () => Effect.Effect<A, unknown>
  ): Exit.Exit<A, unknown> | Running<unknown, unknown> {
    const fiber = this.options.fork(Effect.suspend(run))
    const exit = pollExit(fiber)
    if (exit !== undefined) return exit
    observe(fiber, (exit) => {
      resource.arrived = exit
      this.schedule(resource)
    })
    return fiber
  }

  // --- the steps of a batch -----------------------------------------------------------------------------------------

  private begin(resource: Resource<S>): boolean {
    if (resource.waiting.first === undefined) {
      // It may have been on the agenda when its key was forgotten already, and come back since.
      if (this.resources.get(resource.id) === resource) this.resources.delete(resource.id)
      this.lookQuiet()
      return false
    }
    const { deadlines, initial, load, monotonicMillis, nowMillis, observer } = this.options
    deadlines.begin(resource)
    if (observer.isHeard) {
      const begun = monotonicMillis()
      resource.times = { startMillis: nowMillis(), begun, loaded: undefined, saving: undefined }
    }
    if (load === undefined) {
      this.loaded(resource, attempt(() => initial!(resource.key)))
      return true
    }
    observer.loaded()
    const begun = this.begun(resource, () => load(resource.key, () => Array.from(resource.waitingNow())))
    if (Exit.isExit(begun)) this.loaded(resource, begun)
    else this.become(resource, { _tag: "Loading", fiber: begun })
    return true
  }

  private loaded(resource: Resource<S>, exit: Exit.Exit<unknown, unknown>): void {
    if (resource.times !== undefined) resource.times.loaded = this.options.monotonicMillis()
    if (Exit.isFailure(exit)) {
      resource.takeBatch(this.options.batchSize)
      return this.finish(resource, exit.cause)
    }
    resource.value = exit.value as S
    this.become(resource, open)
  }

  /** Runs what waits, and closes the batch where it is time. */
  private operate(resource: Resource<S>): boolean {
    const { batchSize } = this.options
    const isDue = resource.isDue || this.isClosing
    if (isDue && resource.quota === Infinity) resource.quota = resource.waiting.size
    while (resource.ran.length < batchSize && resource.quota > 0) {
      const operation = resource.waiting.first
      if (operation === undefined) break
      this.isBreakDue ||= this.pace.step()
      if (this.isBreakDue) {
        this.schedule(resource)
        return false
      }
      resource.take(operation)
      const { action } = operation
      if (action._tag !== "Effect") {
        resource.apply(operation, action)
        continue
      }
      const begun = this.begun(
        resource,
        () => withinSpan(Effect.map(action.run(resource.value!), pairOf), operation.origin)
      )
      if (!Exit.isExit(begun)) {
        this.become(resource, { _tag: "Operating", operation, fiber: begun })
        // While it ran for the first time, its caller may have been interrupted.
        if (operation.isLeft) interruptNow(begun)
        return true
      }
      resource.record(operation, begun)
    }
    if (resource.ran.length < batchSize && !isDue) return false
    this.close(resource)
    return true
  }

  private operated(resource: Resource<S>, operation: Operation<S>, exit: Exit.Exit<unknown, unknown>): void {
    this.become(resource, open)
    if (operation.isLeft && Exit.isFailure(exit)) this.end(operation, exit, false)
    else resource.record(operation, exit as Exit.Exit<readonly [unknown, S], unknown>)
  }

  /** No more operations: saves what they have made of the resource. */
  private close(resource: Resource<S>): void {
    const { deadlines, monotonicMillis, observer, save } = this.options
    deadlines.close(resource)
    if (save === undefined || resource.succeeded === 0) return this.finish(resource, undefined)
    if (resource.times !== undefined) resource.times.saving = monotonicMillis()
    observer.saved()
    const begun = this.begun(resource, () => save(resource.key, resource.value!, () => resource.ran))
    if (Exit.isExit(begun)) this.saved(resource, begun)
    else this.become(resource, { _tag: "Saving", fiber: begun })
  }

  private saved(resource: Resource<S>, exit: Exit.Exit<unknown, unknown>): void {
    this.finish(resource, Exit.isFailure(exit) ? exit.cause : undefined)
  }

  /** Answers every caller of the batch: with what its operation has led to, or with why the batch has failed. */
  private finish(resource: Resource<S>, cause: Cause.Cause<unknown> | undefined): void {
    const { observer } = this.options
    const { ran, times } = resource
    this.rest(resource)
    const failure = cause === undefined ? undefined : Exit.failCause(cause)
    for (const operation of ran) {
      const exit = failure ?? operation.outcome!
      this.end(operation, exit, Exit.isSuccess(exit))
    }
    observer.batchEnded(cause)
    if (times !== undefined) this.tell(resource, times, ran.length, cause)
  }

  private end(operation: Operation<S>, exit: Exit.Exit<unknown, unknown>, isSuccess: boolean): void {
    operation.end(exit)
    this.options.observer.ended(isSuccess)
  }

  private tell(resource: Resource<S>, times: Times, operations: number, cause: Cause.Cause<unknown> | undefined): void {
    const { monotonicMillis, observer } = this.options
    const now = monotonicMillis()
    observer.tell({
      key: resource.key,
      startMillis: times.startMillis,
      operations,
      loadMillis: (times.loaded ?? now) - times.begun,
      saveMillis: times.saving === undefined ? 0 : now - times.saving,
      totalMillis: now - times.begun,
      cause
    })
  }

  /** There is no batch any more. */
  private rest(resource: Resource<S>): void {
    this.options.deadlines.end(resource)
    resource.clear()
    this.become(resource, idle)
  }

  /** The batch has taken too long. */
  private abort(resource: Resource<S>): void {
    const { phase } = resource
    resource.isOverdue = false
    switch (phase._tag) {
      case "Idle":
        return
      case "Open":
        return this.finish(resource, this.timeout(resource, "operations"))
      case "Loading":
        resource.takeBatch(this.options.batchSize)
        this.finish(resource, this.timeout(resource, "load"))
        return this.interrupt(resource, phase.fiber)
      case "Operating":
        phase.operation.state = "ran"
        resource.ran.push(phase.operation)
        this.finish(resource, this.timeout(resource, "operations"))
        return this.interrupt(resource, phase.fiber)
      case "Saving":
        // What has just reported was in time.
        if (resource.arrived !== undefined) return
        this.finish(resource, this.timeout(resource, "save"))
        return this.interrupt(resource, phase.fiber)
      case "Ending": {
        const exit = Exit.failCause(this.timeout(resource, "waiting"))
        for (const operation of resource.waitingNow()) {
          resource.take(operation)
          this.end(operation, exit, false)
        }
        this.lookQuiet()
        return this.options.deadlines.bound(resource)
      }
    }
  }

  private timeout({ key }: Resource<S>, phase: BatchTimeout["phase"]): Cause.Cause<BatchTimeout> {
    const { deadlines, name } = this.options
    return Cause.fail(new BatchTimeout({ queue: name, key, phase, timeoutMillis: deadlines.maxMillis }))
  }

  private interrupt(resource: Resource<S>, fiber: Running<unknown, unknown>): void {
    this.giveUp(resource, fiber)
    this.options.deadlines.bound(resource)
    this.lookQuiet()
  }

  private giveUp(resource: Resource<S>, fiber: Running<unknown, unknown>): void {
    this.become(resource, { _tag: "Ending" })
    this.endings += 1
    interruptNow(fiber)
  }
}

/** What the user's code throws is a defect of its own. */
const attempt = <A>(run: () => A): Exit.Exit<A> => {
  try {
    return Exit.succeed(run())
  } catch (defect) {
    return Exit.die(defect)
  }
}
