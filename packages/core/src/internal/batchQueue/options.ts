/**
 * The checks of the options of a `BatchQueue`, and their defaults.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Codec from "../../Codec.ts"
import * as FlushPolicy from "../../FlushPolicy.ts"
import * as Check from "../../unstable/OptionCheck.ts"
import type { InvalidOption } from "../../QueueError.ts"
import { malformed, utf8Bytes } from "../codec/inspection.ts"
import { checkPolicy } from "../intake/policyCheck.ts"

type Millis = Duration.DurationInput | undefined

/** The options that are checked here, as `BatchQueue.Options` has them. */
interface Unchecked {
  readonly name: string
  readonly capacity?: number | undefined
  readonly flush?: {
    readonly size?: number | undefined
    readonly pushes?: number | undefined
    readonly bytes?: number | undefined
    readonly linger?: Millis
  } | undefined
  readonly workers?: number | undefined
  readonly batches?: number | undefined
  readonly inlineDelay?: Millis
  readonly cooldown?: Millis
  readonly schema: unknown
  readonly process: unknown
  readonly buffer?: unknown
  readonly policy?: unknown
  readonly retry?: unknown
  readonly onProcessError?: unknown
  readonly onInternalError?: unknown
  readonly onDrop?: unknown
  readonly decide?: unknown
  readonly isolate?: unknown
  readonly maxDeliveries?: number | undefined
  readonly leaseDuration?: Millis
  readonly pollInterval?: Millis
  readonly format?: Codec.Format | undefined
  readonly limits?: Partial<Codec.Limits> | undefined
  readonly maxPending?: number | {
    readonly items: number
    readonly whenFull: "suspend" | "reject"
  } | undefined
  readonly idWindow?: Millis
  readonly drainTimeout?: Millis
}

export interface Checked {
  readonly capacity: number
  readonly workers: number
  readonly batches: number
  readonly flushPolicy: FlushPolicy.FlushPolicy
  readonly inlineDelayMillis: number
  /** Undefined: what has run out of retries is set aside. */
  readonly cooldownMillis: number | undefined
  readonly isolate: "bisect" | "each" | undefined
  readonly maxDeliveries: number
  readonly leaseMillis: number
  readonly pollMillis: number
  readonly idWindowMillis: number
  readonly drainTimeoutMillis: number
  readonly maxPending: { readonly items: number; readonly whenFull: "suspend" | "reject" } | undefined
}

/** Whether a store gives some text back as it was. */
export const isText = (text: unknown): boolean =>
  typeof text === "string" && text !== "" && !text.includes("\0") && utf8Bytes(text) !== malformed
  && utf8Bytes(text) <= 512

export const checkOptions = (options: Unchecked): Effect.Effect<Checked, InvalidOption> =>
  Effect.gen(function*() {
    const { batches = 1, capacity = 10_000, flush = {}, format = Codec.json, maxDeliveries, name, workers = 1 } =
      options
    yield* Check.name("BatchQueue", name)
    yield* Check.check(
      isText(name),
      "BatchQueue",
      "name",
      name,
      "well-formed text of at most 512 bytes, without NUL"
    )
    yield* checkFunctions(options, format)
    yield* Check.positiveInteger(name, "capacity", capacity)
    yield* Check.positiveInteger(name, "batches", batches)
    yield* Check.check(
      Number.isSafeInteger(workers) && workers >= 0,
      name,
      "workers",
      workers,
      "an integer of at least 0"
    )
    const limit = (field: "size" | "pushes" | "bytes") =>
      Check.check(
        flush[field] === undefined || Number.isSafeInteger(flush[field]) && flush[field] >= 0,
        name,
        `flush.${field}`,
        flush[field],
        "an integer of at least 0"
      )
    yield* Effect.all([limit("size"), limit("pushes"), limit("bytes")])
    const lingerMillis = yield* Check.millis(name, "flush.linger", flush.linger ?? 0)
    const hasOther = [flush.pushes, flush.bytes, lingerMillis].some((other) => other !== undefined && other > 0)
    const flushPolicy = FlushPolicy.make({ ...flush, size: flush.size ?? (hasOther ? 0 : 1), linger: lingerMillis })
    if (maxDeliveries !== undefined) yield* Check.positiveInteger(name, "maxDeliveries", maxDeliveries)
    const limits = { ...Codec.defaultLimits, ...options.limits }
    yield* Check.positiveInteger(name, "limits.maxItemBytes", limits.maxItemBytes)
    yield* Check.positiveInteger(name, "limits.maxDepth", limits.maxDepth)
    const maxPending = typeof options.maxPending === "number"
      ? { items: options.maxPending, whenFull: "suspend" as const }
      : options.maxPending
    if (maxPending !== undefined) yield* Check.positiveInteger(name, "maxPending", maxPending.items)
    yield* Check.check(
      maxPending === undefined || maxPending.whenFull === "suspend" || maxPending.whenFull === "reject",
      name,
      "maxPending.whenFull",
      maxPending?.whenFull,
      "\"suspend\" or \"reject\""
    )
    const { isolate } = options
    const isIsolate = isolate === undefined || isolate === "bisect" || isolate === "each"
    yield* Check.check(isIsolate, name, "isolate", isolate, "\"bisect\" or \"each\"")
    const millis = (field: keyof typeof durations | "cooldown", least: number) =>
      Effect.tap(
        Check.millis(name, field, options[field] ?? (field === "cooldown" ? 0 : durations[field])),
        (value) =>
          Check.check(
            value >= least && value < Infinity,
            name,
            field,
            options[field],
            `finite, and at least ${least} milliseconds`
          )
      )
    return {
      capacity,
      workers,
      batches,
      flushPolicy,
      inlineDelayMillis: yield* millis("inlineDelay", 0),
      cooldownMillis: options.cooldown === undefined ? undefined : yield* millis("cooldown", 0),
      isolate: isIsolate ? isolate : undefined,
      maxDeliveries: maxDeliveries ?? Infinity,
      leaseMillis: yield* millis("leaseDuration", 10),
      pollMillis: yield* millis("pollInterval", 1),
      idWindowMillis: yield* millis("idWindow", 1),
      drainTimeoutMillis: yield* millis("drainTimeout", 0),
      maxPending
    }
  })

const checkFormat = (queue: string, format: Codec.Format | null): Check.Check => {
  const functions = Check.withFunctions(queue, "format", format, ["encode", "decode"], ["carries"])
  const name = format?.name
  const limit = "1 to 32 letters, digits, \".\", \"_\" and \"-\""
  const named = Check.check(/^[\w.-]{1,32}$/.test(String(name)), queue, "format.name", name, limit)
  return format === null ? functions : Effect.zipRight(named, functions)
}

/** What is called later: where it is no function it would take every batch with it. */
const checkFunctions = (options: Unchecked, format: Codec.Format): Check.Check =>
  Effect.gen(function*() {
    const { buffer, flush = {}, name, policy, schema } = options
    yield* Check.check(Schema.isSchema(schema), name, "schema", schema, "a Schema")
    yield* Check.requiredFunction(name, "process", options.process)
    yield* Check.optionalSchedule(name, "retry", options.retry)
    for (const field of ["decide", "onProcessError", "onInternalError", "onDrop"] as const) {
      yield* Check.optionalFunction(name, field, options[field])
    }
    yield* checkFormat(name, format)
    if (policy !== undefined) yield* checkPolicy(name, policy)
    const ofMerging = Predicate.hasProperty(buffer, "merge") ? ["key", "merge"] : []
    const ofBuffer = ["empty", "push", "size", "pushes", "items", ...ofMerging]
    if (buffer !== undefined) yield* Check.withFunctions(name, "buffer", buffer, ofBuffer)
    const isLimits = typeof flush === "object" && flush !== null
    yield* Check.check(isLimits, name, "flush", flush, "an object with size, pushes, bytes or linger")
  })

/** The default durations, in milliseconds. */
const durations = {
  inlineDelay: 100,
  leaseDuration: 30_000,
  pollInterval: 1000,
  idWindow: 24 * 60 * 60 * 1000,
  drainTimeout: 30_000
}

/** A lease must outlast what keeps it from being renewed, or a process takes its own away. */
export const checkLease = (
  name: string,
  leaseMillis: number,
  longestWaitMillis: number | undefined
): Effect.Effect<void, InvalidOption> =>
  Check.check(
    longestWaitMillis === undefined || leaseMillis >= 3 * longestWaitMillis,
    name,
    "leaseDuration",
    leaseMillis,
    `at least ${
      3 * (longestWaitMillis ?? 0)
    } milliseconds, three times as long as the store may wait for its turn to write`
  )
