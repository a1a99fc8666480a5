/**
 * Copies values that a schema returns unchanged, because the caller may change them before they are stored.
 */
import type * as SchemaAST from "effect/SchemaAST"
import { getParseOptionsAnnotation } from "effect/SchemaAST"
import { isPlain } from "./inspection.ts"

// Of every platform that JavaScript runs on; the standard library of the language alone does not declare them.
declare const structuredClone: (value: unknown) => unknown

export interface Options {
  readonly maxItemBytes: number
  readonly maxDepth: number
  /** Whether the format carries what is neither plain nor an array. */
  readonly carries: (value: unknown) => boolean
  /** Through the format and back. It may throw. */
  readonly roundTrip: (value: unknown) => unknown
}

export class Copying {
  private readonly options: Options
  /** How many more values an item may have: each needs a byte at least. It ends a circle, too. */
  private left = 0

  constructor(options: Options) {
    this.options = options
  }

  /** Whether the last one had more in it than it may have, so that it was not copied. */
  get isTooLarge(): boolean {
    return this.left < 0
  }

  /**
   * A copy, each of whose properties was read once. Some of what cannot be stored is left as it is, which is for the
   * inspection to find: what is nested too deeply, and what the format does not carry.
   */
  copy(value: unknown): unknown {
    this.left = this.options.maxItemBytes
    return this.copyAny(value, 1)
  }

  private copyAny(value: unknown, depth: number): unknown {
    if (typeof value !== "object" || value === null) return value
    if (Array.isArray(value)) return depth > this.options.maxDepth ? value : this.copyArray(value, depth)
    if (isPlain(value)) return depth > this.options.maxDepth ? value : this.copyObject(value, depth)
    return this.options.carries(value) ? this.clone(value) : value
  }

  private copyArray(values: ReadonlyArray<unknown>, depth: number): ReadonlyArray<unknown> {
    const { length } = values
    const copy: Array<unknown> = []
    // Before it is gone through: it may be long, and have next to nothing in it.
    this.left -= length
    for (let i = 0; i < length && this.left >= 0; i++) copy.push(this.copyAny(values[i], depth + 1))
    return copy
  }

  private copyObject(object: Record<string, unknown>, depth: number): Record<string, unknown> {
    const copy: Record<string, unknown> = {}
    for (const key of Object.keys(object)) {
      const value = this.copyAny(object[key], depth + 1)
      if (value !== undefined) this.left -= 1
      if (this.left < 0) break
      if (key !== "__proto__") copy[key] = value
      // The inspection is to find it.
      else Object.defineProperty(copy, key, { value, enumerable: true })
    }
    return copy
  }

  private clone(value: object): unknown {
    if (isTypedArray(value)) return copyTypedArray.call(value)
    try {
      const clone = structuredClone(value) as object
      if (Object.getPrototypeOf(clone) === Object.getPrototypeOf(value)) return clone
    } catch {
      // What can be stored need not be what can be cloned.
    }
    try {
      return this.options.roundTrip(value)
    } catch {
      // The format is asked again, and says so.
      return value
    }
  }
}

/** Only what a view shows of its buffer, which may be a large one that many share. */
const copyTypedArray: () => unknown = Object.getPrototypeOf(Uint8Array.prototype).slice

const isTypedArray = (value: object): boolean => ArrayBuffer.isView(value) && !(value instanceof DataView)

/** Whether a schema, where it encodes, hands anything back that it was given: an object that somebody else may hold. */
export const aliases = (ast: SchemaAST.AST, seen = new Set<SchemaAST.AST>()): boolean => {
  if (seen.has(ast)) return false
  seen.add(ast)
  const any = (asts: ReadonlyArray<SchemaAST.AST>) => asts.some((each) => aliases(each, seen))
  // Fields that it does not know are handed on.
  const options = getParseOptionsAnnotation(ast)
  if (options._tag === "Some" && options.value.onExcessProperty === "preserve") return true
  switch (ast._tag) {
    case "AnyKeyword":
    case "UnknownKeyword":
    case "VoidKeyword":
    case "ObjectKeyword":
    // Its behaviour is unknown.
    case "Declaration":
      return true
    case "TypeLiteral": {
      const { indexSignatures, propertySignatures } = ast
      // That of no properties takes everything but null and undefined.
      if (propertySignatures.length === 0 && indexSignatures.length === 0) return true
      return any([...propertySignatures, ...indexSignatures].map(({ type }) => type))
    }
    case "TupleType":
      return any([...ast.elements, ...ast.rest].map(({ type }) => type))
    case "Union":
      return any(ast.types)
    // What comes of it goes through this one last.
    case "Refinement":
    case "Transformation":
      return aliases(ast.from, seen)
    case "Suspend":
      return aliases(ast.f(), seen)
    default:
      return false
  }
}
