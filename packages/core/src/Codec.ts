/**
 * From items to the bytes that a store keeps, and back: a Schema, a format, and an envelope around them.
 *
 * The envelope is a line of text before the bytes of the format: `sluice/2 1b7d3c9e json size 1700000000000 a*3,5`. It
 * holds its own version, a checksum, the format, why the batch was flushed, when it was opened, and when its items were
 * offered. So a reader can tell a newer version from a broken batch, and never returns an item whose bytes have
 * changed.
 *
 * Items are checked one by one when they are offered. So the caller learns that an item cannot be stored, and the other
 * items are not affected.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import type { Trigger } from "./Batch.ts"
import { aliases, Copying } from "./internal/codec/copying.ts"
import {
  broken,
  lineOf,
  readHeader,
  readTimes,
  seal,
  type Unreadable,
  version as envelopeVersion
} from "./internal/codec/envelope.ts"
import { type Fault, Inspection } from "./internal/codec/inspection.ts"
import { isAsynchronous, WatchedSchema } from "./internal/codec/watchedSchema.ts"
import { InvalidOption } from "./QueueError.ts"
import * as Result from "./Result.ts"

// Every JavaScript platform has these; the standard library of the language does not declare them.
declare const TextEncoder: new() => { encode(text: string): Uint8Array }
declare const TextDecoder: new(label: "utf-8", options: { readonly fatal: boolean }) => {
  decode(bytes: Uint8Array): string
}

/**
 * How encoded items become bytes. You can supply your own format: `decode` must return what `encode` was given.
 *
 * @since 0.1.0
 * @category models
 */
export interface Format {
  /** The name in the envelope: at most 32 letters, digits, `.`, `_` and `-`. Batches with another name are not read. */
  readonly name: string
  /** Returns the bytes of some values. It may throw. */
  readonly encode: (values: ReadonlyArray<unknown>) => Uint8Array
  /** Returns the values again. It may throw. */
  readonly decode: (bytes: Uint8Array) => unknown
  /**
   * Whether it supports a value other than null, a boolean, a finite number, text, an array and a plain object: for
   * example a Date, NaN, a bigint, or `undefined` in an array. An item with such a value is encoded once by itself when
   * it is offered, so that the format can refuse it and its size is known. Default: it supports none of them.
   */
  readonly carries?: ((value: unknown) => boolean) | undefined
}

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true })

/**
 * JSON, as UTF-8.
 *
 * @since 0.1.0
 * @category formats
 */
export const json: Format = {
  name: "json",
  encode: (values) => encoder.encode(JSON.stringify(values)),
  decode: (bytes) => JSON.parse(decoder.decode(bytes))
}

/**
 * Limits on the items of a batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  /** How many bytes an item may have, counted as in JSON, except that a number counts 8 or 24. Default: 1 MiB. */
  readonly maxItemBytes: number
  /** How deeply arrays and objects may be nested. Default: 64. */
  readonly maxDepth: number
}

/**
 * The default limits of an item.
 *
 * @since 0.1.0
 * @category defaults
 */
export const defaultLimits: Limits = { maxItemBytes: 1024 * 1024, maxDepth: 64 }

/**
 * An item as encoded by its schema, and its size.
 *
 * @since 0.1.0
 * @category models
 */
export interface EncodedItem {
  readonly value: unknown
  /** The bytes of its JSON, or a few more: a number counts 8, or 24 if it is not a small integer. */
  readonly bytes: number
}

/**
 * What an envelope says about its batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Envelope {
  readonly trigger: Trigger
  readonly openedAtMillis: number
  /** When each item was offered, in milliseconds. Absent: when the batch was opened. */
  readonly offeredAtMillis?: ReadonlyArray<number> | undefined
}

/**
 * A decoded batch.
 *
 * @since 0.1.0
 * @category models
 */
export interface DecodedBatch<out A> extends Envelope {
  readonly items: ReadonlyArray<A>
  /** When each of the items was offered. Envelopes of the first version do not say it. */
  readonly offeredAtMillis: ReadonlyArray<number>
}

/**
 * A batch whose items are still encoded by their schema.
 *
 * @since 0.1.0
 * @category models
 */
export interface EncodedBatch extends Envelope {
  readonly values: ReadonlyArray<unknown>
  /** When each of the items was offered, as far as the envelope says so: those of the first version do not. */
  readonly offeredAtMillis: ReadonlyArray<number>
}

/**
 * A codec for items of type `A`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Codec<in out A> {
  /**
   * Encodes one item, or says what is wrong with it. The result shares nothing with the item: if the schema returns its
   * input, as `Schema.Unknown` does, the value is copied. Never throws.
   */
  readonly encodeItem: (item: A) => Result.Result<EncodedItem, Fault>
  /** Decodes one item. Never throws. */
  readonly decodeItem: (value: unknown) => Result.Result<A, Fault>
  /** Returns the bytes of a batch of encoded items. Throws what the format throws. */
  readonly encodeBatch: (values: ReadonlyArray<unknown>, envelope: Envelope) => Uint8Array
  /** Reads a batch, but leaves its items encoded. Never throws. */
  readonly readBatch: (bytes: Uint8Array) => Result.Result<EncodedBatch, Unreadable>
  /** Decodes a batch. Never throws. */
  readonly decodeBatch: (bytes: Uint8Array) => Result.Result<DecodedBatch<A>, Unreadable>
}

export type { Unreadable } from "./internal/codec/envelope.ts"
export type { Fault } from "./internal/codec/inspection.ts"

/**
 * Checks a plain value, such as external JSON, before a schema decodes it: that its text is well-formed, how deep and
 * how large it is, and that it has no key `__proto__`. On deeply nested values, a schema would overflow the stack.
 * Never throws.
 *
 * @since 0.1.0
 * @category checks
 */
export const inspect = (limits?: Partial<Limits>): (value: unknown) => Result.Result<EncodedItem, Fault> => {
  const inspection = new Inspection({ ...defaultLimits, ...limits }, carriesNothing)
  return (value) => {
    try {
      return inspection.inspect(value)
    } catch (error) {
      return Result.fail(thrown(error))
    }
  }
}

/**
 * The newest envelope version that this release reads. It is also the version that it writes.
 *
 * @since 0.1.0
 * @category constants
 */
export const version: number = envelopeVersion

/**
 * Makes a codec. The schema is compiled once. It must have no requirements and must not be asynchronous: an item whose
 * encoding or decoding is asynchronous is refused as malformed. To find out, an item is decoded when it is offered, until
 * each part of the schema that is used has been seen to decode without an Effect. Throws `InvalidOption` if the schema
 * is not a schema, or if a function of the format is not a function.
 *
 * @example
 * ```ts
 * import { Codec } from "@sluice/core"
 * import { Schema } from "effect"
 *
 * const Order = Schema.Struct({ id: Schema.String, at: Schema.Date })
 * const codec = Codec.make(Order)
 * const bytes = codec.encodeBatch([{ id: "a-1", at: "2026-01-01T00:00:00.000Z" }], {
 *   trigger: "size",
 *   openedAtMillis: 1_767_225_600_000
 * })
 * codec.decodeBatch(bytes) // { _tag: "Success", success: { items: [{ id: "a-1", at: a Date }], ... } }
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A, I>(
  schema: Schema.Schema<A, I>,
  options?: { readonly format?: Format | undefined; readonly limits?: Partial<Limits> | undefined }
): Codec<A> => makeWith(schema, undefined, options)

/**
 * Makes a codec of a schema that needs these services.
 *
 * @internal
 */
export const makeWith = <A, I, R>(
  needing: Schema.Schema<A, I, R>,
  services: Context.Context<R> | undefined,
  options?: { readonly format?: Format | undefined; readonly limits?: Partial<Limits> | undefined }
): Codec<A> => {
  // The watched schema gets them.
  const schema = needing as Schema.Schema<A, I>
  const format = options?.format ?? json
  const refuse = (field: string, value: unknown, limit: string): never => {
    throw new InvalidOption({ queue: "Codec", field, value, limit })
  }
  if (!Schema.isSchema(schema)) refuse("schema", schema, "a Schema")
  for (const field of ["encode", "decode"] as const) {
    if (typeof format[field] !== "function") refuse(`format.${field}`, format[field], "a function")
  }
  const limits = { ...defaultLimits, ...options?.limits }
  const watched = new WatchedSchema(schema, services)
  const encode = ParseResult.encodeUnknownEither(watched.schema)
  const decodeOne = ParseResult.decodeUnknownEither(watched.schema)
  const decode = ParseResult.decodeUnknownEither(Schema.Array(services === undefined ? schema : watched.schema))
  const carries = format.carries ?? carriesNothing
  const inspection = new Inspection(limits, carries)
  const roundTrip = (value: unknown) => (format.decode(format.encode([value])) as ReadonlyArray<unknown>)[0]
  const copying = aliases(schema.ast) ? new Copying({ ...limits, carries, roundTrip }) : undefined
  const records = hasRecords(schema.ast)
  const formats = new Map([[json.name, json], [format.name, format]])
  /** The format may still throw at a value that it claims to support, and only the format knows its size. */
  const tryOut = ({ bytes, value }: EncodedItem): Result.Result<EncodedItem, Fault> => {
    let body: Uint8Array
    try {
      body = format.encode([value])
    } catch (error) {
      return Result.fail({ reason: "unsupported", path: "", detail: thrown(error).detail })
    }
    return inspection.sized(value, Math.max(bytes, body.length))
  }
  const readBatch = (bytes: Uint8Array): Result.Result<EncodedBatch, Unreadable> => {
    try {
      const header = readHeader(bytes)
      if (Result.isFailure(header)) return header
      const { bodyAt, format, openedAtMillis, trigger } = header.success
      const reader = formats.get(format)
      if (reader === undefined) return broken(`its format is ${JSON.stringify(format)}`)
      const values = reader.decode(bytes.subarray(bodyAt))
      if (!Array.isArray(values)) return broken("its values are no Array")
      const offeredAtMillis = readTimes(header.success, values.length)
      if (offeredAtMillis === undefined) return broken("it does not say when each of its items was offered")
      return Result.succeed({ values, trigger, openedAtMillis, offeredAtMillis })
    } catch (error) {
      return broken(thrown(error).detail)
    }
  }
  return {
    encodeItem: (item) => {
      try {
        // A record that a schema makes anew would get it as its prototype.
        if (records && hasProto(item)) return Result.fail(protoFault)
        watched.inDoubt = false
        const encoded = encode(item)
        if (Either.isLeft(encoded)) return Result.fail(faultOf(encoded.left))
        if (watched.inDoubt) {
          const decoded = decodeOne(encoded.right)
          if (Either.isLeft(decoded) && isAsynchronous(decoded.left)) return Result.fail(asynchronousFault)
        }
        const value = copying === undefined ? encoded.right : copying.copy(encoded.right)
        if (copying?.isTooLarge) return Result.fail(tooLargeFault(limits))
        const inspected = inspection.inspect(value)
        return Result.isSuccess(inspected) && inspection.isVouchedFor ? tryOut(inspected.success) : inspected
      } catch (error) {
        return Result.fail(thrown(error))
      }
    },
    decodeItem: (value) => {
      try {
        const decoded = decodeOne(value)
        return Either.isLeft(decoded) ? Result.fail(faultOf(decoded.left)) : Result.succeed(decoded.right)
      } catch (error) {
        return Result.fail(thrown(error))
      }
    },
    encodeBatch: (values, envelope) => {
      const line = lineOf(format.name, envelope)
      // As one string, which avoids a copy.
      return seal(
        format === json
          ? encoder.encode(line + JSON.stringify(values))
          : withLine(line, format.encode(values))
      )
    },
    readBatch,
    decodeBatch: (bytes) => {
      const read = readBatch(bytes)
      if (Result.isFailure(read)) return read
      try {
        const { values, ...envelope } = read.success
        const decoded = decode(values)
        return Either.isLeft(decoded)
          ? broken(detailOf(decoded.left))
          : Result.succeed({ items: decoded.right, ...envelope })
      } catch (error) {
        return broken(thrown(error).detail)
      }
    }
  }
}

const withLine = (line: string, body: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(line.length + body.length)
  // It has no character beyond ASCII.
  for (let i = 0; i < line.length; i++) bytes[i] = line.charCodeAt(i)
  bytes.set(body, line.length)
  return bytes
}

const carriesNothing = (): boolean => false

const detailOf = (error: ParseResult.ParseIssue): string => ParseResult.TreeFormatter.formatIssueSync(error)

const faultOf = (error: ParseResult.ParseIssue): Fault => ({ reason: "type", path: "", detail: detailOf(error) })

/** Converts what the user's schema or format threw. Deep nesting overflows the stack of a schema. */
const thrown = (error: unknown): Fault => {
  const detail = error instanceof Error ? error.message : "it threw what is no error"
  return { reason: error instanceof RangeError ? "too-deep" : "type", path: "", detail }
}

const tooLargeFault = ({ maxItemBytes }: Limits): Fault => ({
  reason: "too-large",
  path: "",
  detail: `it has more than ${maxItemBytes} bytes, and may have ${maxItemBytes}`
})

const asynchronousFault: Fault = {
  reason: "unsupported",
  path: "",
  detail: "its schema decodes it asynchronously, but what is stored is decoded synchronously"
}

const protoFault: Fault = {
  reason: "unsupported",
  path: "",
  detail: "it has a key \"__proto__\", which would be lost"
}

/** Whether there is a `__proto__` of its own anywhere in an item. */
const hasProto = (value: unknown): boolean => {
  if (typeof value !== "object" || value === null) return false
  if (Object.hasOwn(value, "__proto__")) return true
  return Array.isArray(value) ? value.some(hasProto) : Object.values(value).some(hasProto)
}

/** Whether a schema makes objects of keys that it is not told beforehand. */
const hasRecords = (ast: SchemaAST.AST, seen = new Set<SchemaAST.AST>()): boolean => {
  if (seen.has(ast)) return false
  seen.add(ast)
  const any = (asts: ReadonlyArray<SchemaAST.AST>) => asts.some((each) => hasRecords(each, seen))
  switch (ast._tag) {
    case "TypeLiteral":
      return ast.indexSignatures.length > 0 || any(ast.propertySignatures.map(({ type }) => type))
    case "TupleType":
      return any([...ast.elements, ...ast.rest].map(({ type }) => type))
    case "Union":
      return any(ast.types)
    case "Refinement":
      return hasRecords(ast.from, seen)
    case "Transformation":
      return any([ast.from, ast.to])
    case "Suspend":
      return hasRecords(ast.f(), seen)
    case "Declaration":
      return any(ast.typeParameters)
    default:
      return false
  }
}
