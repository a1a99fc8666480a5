/**
 * Checks an encoded item before it is stored: whether the format supports it, whether its text is well-formed, and how
 * deep and how large it is.
 */
import type { Malformation } from "../../QueueError.ts"
import * as Result from "../../Result.ts"

/**
 * What is wrong with an item.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fault {
  readonly reason: Malformation
  /** Where in the item, such as `address.lines[2]`. */
  readonly path: string
  readonly detail: string
}

/** What is answered in place of a size where there is something wrong. */
export const malformed = -1

export class Inspection {
  private readonly limits: { readonly maxItemBytes: number; readonly maxDepth: number }
  private readonly carries: (value: unknown) => boolean
  private fault: Fault | undefined
  /** Whether there was anything in the last value that only the format vouches for, and that has a size of its own. */
  isVouchedFor = false

  constructor(
    limits: { readonly maxItemBytes: number; readonly maxDepth: number },
    carries: (value: unknown) => boolean
  ) {
    this.limits = limits
    this.carries = carries
  }

  inspect(value: unknown): Result.Result<{ readonly value: unknown; readonly bytes: number }, Fault> {
    this.isVouchedFor = false
    const bytes = this.measure(value, 0)
    return bytes === malformed ? Result.fail(this.fault!) : this.sized(value, bytes)
  }

  /** A value with this many bytes, if that is within the limit. */
  sized(value: unknown, bytes: number): Result.Result<{ readonly value: unknown; readonly bytes: number }, Fault> {
    const { maxItemBytes } = this.limits
    return bytes > maxItemBytes
      ? Result.fail({ reason: "too-large", path: "", detail: `it has ${bytes} bytes, and may have ${maxItemBytes}` })
      : Result.succeed({ value, bytes })
  }

  /** How many bytes a value has as JSON, or a few more. Each item that is offered comes through here. */
  private measure(value: unknown, depth: number): number {
    switch (typeof value) {
      case "string": {
        const bytes = jsonBytes(value)
        return bytes === malformed ? this.fail("text", notWellFormed) : bytes + 2
      }
      case "number":
        if ((value | 0) === value && value < 1e8 && value > -1e7) return 8
        if (Number.isFinite(value)) return longestNumber
        break
      case "boolean":
        return 5
      case "object":
        if (value === null) return 4
        if (Array.isArray(value)) return this.measureArray(value, depth + 1)
        if (isPlain(value)) return this.measureObject(value, depth + 1)
        break
    }
    if (!this.carries(value)) return this.fail("unsupported", `the format cannot carry ${nameOf(value)}`)
    this.isVouchedFor = true
    return 8
  }

  private measureArray(values: ReadonlyArray<unknown>, depth: number): number {
    if (depth > this.limits.maxDepth) return this.failDepth()
    let bytes = 2
    for (let i = 0; i < values.length; i++) {
      const size = this.measure(values[i], depth)
      if (size === malformed) return this.failIn(`[${i}]`)
      bytes += size + 1
    }
    return bytes
  }

  private measureObject(object: Record<string, unknown>, depth: number): number {
    if (depth > this.limits.maxDepth) return this.failDepth()
    let bytes = 2
    for (const key in object) {
      const value = object[key]
      // It is left out, and is as absent when it is read as it was before.
      if (value === undefined) continue
      const keyBytes = jsonBytes(key)
      if (keyBytes === malformed) return this.fail("text", `a key of it is ${notWellFormed}`)
      if (key === "__proto__") return this.fail("unsupported", "it has a key \"__proto__\", which would be lost")
      const size = this.measure(value, depth)
      if (size === malformed) return this.failIn(key)
      bytes += keyBytes + size + 4
    }
    return bytes
  }

  private fail(reason: Malformation, detail: string): number {
    this.fault = { reason, path: "", detail }
    return malformed
  }

  private failDepth(): number {
    return this.fail("too-deep", `it is nested deeper than ${this.limits.maxDepth}`)
  }

  /** Puts the way to a fault in front of where it is. */
  private failIn(step: string): number {
    const { path, ...fault } = this.fault!
    const way = path === "" || path.startsWith("[") ? `${step}${path}` : `${step}.${path}`
    // Of a very deep item the way would be longer than the item.
    this.fault = { ...fault, path: way.slice(0, longestPath) }
    return malformed
  }
}

const longestPath = 200

const notWellFormed = "text that is not well-formed (half of a surrogate pair)"

/** How many bytes text has as UTF-8. */
export const utf8Bytes = (text: string): number => textBytes(text, false)

/** How many bytes text has in JSON, but for its quotes. */
const jsonBytes = (text: string): number =>
  // Of long text it says that three times as fast.
  text.length > 64 && !hasMoreBytes.test(text) ? text.length : textBytes(text, true)

/** Anything but ASCII that stands for itself. */
const hasMoreBytes = /[^ !#-[\]-\x7f]/

const textBytes = (text: string, isEscaped: boolean): number => {
  let bytes = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) {
      if (!isEscaped) continue
      // Of control characters these have a short escape: `\b`, `\t`, `\n`, `\f` and `\r`.
      if (unit < 0x20) bytes += unit >= 8 && unit <= 13 && unit !== 11 ? 1 : 5
      else if (unit === 0x22 || unit === 0x5c) bytes += 1
    } else if (unit < 0x800) bytes += 1
    else if (unit < 0xd800 || unit > 0xdfff) bytes += 2
    else {
      const next = text.charCodeAt(i + 1)
      // Not `next < 0xdc00 ||`, because of NaN at the end.
      if (unit > 0xdbff || !(next >= 0xdc00 && next <= 0xdfff)) return malformed
      bytes += 2
      i += 1
    }
  }
  return bytes
}

/** As `-2.2250738585072014e-308` has. */
const longestNumber = 24

export const isPlain = (value: object): value is Record<string, unknown> => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

const nameOf = (value: unknown): string => {
  if (typeof value === "number" || value === undefined) return String(value)
  if (typeof value !== "object" || value === null) return `a ${typeof value}`
  const { constructor } = value
  return typeof constructor === "function" && constructor.name !== "" ? `a ${constructor.name}` : "such an object"
}
