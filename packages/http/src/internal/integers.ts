/**
 * Finds the integers in a JSON text that a JavaScript number cannot represent: `JSON.parse` rounds them.
 */
import type { ItemFault } from "../HttpError.ts"
import { fieldOf } from "./field.ts"
import type { Mounted } from "./mounted.ts"

/** An integer that would be another one. */
export interface Inexact {
  readonly path: ReadonlyArray<PropertyKey>
  readonly message: string
}

/** Integers with fewer digits are held, so that hardly any text is looked at more closely. */
const fewestDigits = 16
/** Of as many digits, those up to here. */
const largest = String(Number.MAX_SAFE_INTEGER)

const isDigit = (unit: number): boolean => unit >= 48 && unit <= 57

/** Whether there are digits in a row that no number may hold. In a row of as many, one is at every such step. */
const hasManyDigits = (text: string): boolean => {
  for (let at = fewestDigits - 1; at < text.length; at += fewestDigits) {
    if (!isDigit(text.charCodeAt(at))) continue
    let from = at
    let end = at + 1
    while (isDigit(text.charCodeAt(from - 1))) from -= 1
    while (isDigit(text.charCodeAt(end))) end += 1
    if (end - from > fewestDigits || end - from === fewestDigits && text.slice(from, end) > largest) return true
  }
  return false
}

/** Where in an array or an object the scan is. */
interface Place {
  readonly isArray: boolean
  index: number
  /** Where the key stands, with its quotes. */
  key: readonly [from: number, to: number]
}

const none: ReadonlyArray<never> = []

/** The integers of a valid JSON text, up to a number. */
export const inexactIntegers = (text: string, most: number): ReadonlyArray<Inexact> => {
  if (!hasManyDigits(text)) return none
  const found: Array<Inexact> = []
  const places: Array<Place> = []
  let isKey = false
  for (let at = 0; at < text.length && found.length < most;) {
    const unit = text.charCodeAt(at)
    const place = places[places.length - 1]
    let end = at + 1
    let literal: string | undefined
    switch (unit) {
      case 0x22: // "
        end = endOfString(text, at)
        if (isKey) place.key = [at, end]
        break
      case 0x7b: // {
      case 0x5b: // [
        isKey = unit === 0x7b
        places.push({ isArray: !isKey, index: 0, key: [0, 0] })
        break
      case 0x7d: // }
      case 0x5d: // ]
        isKey = false
        places.pop()
        break
      case 0x2c: // ,
        isKey = !place.isArray
        place.index += 1
        break
      case 0x3a: // :
        isKey = false
        break
      default:
        if (!isDigit(unit)) break
        while (isDigit(text.charCodeAt(end))) end += 1
        if (end - at < fewestDigits) break
        literal = integerAt(text, at, end)
        if (literal !== undefined && digitsOf(Number(literal)) !== literal) {
          found.push({ path: pathOf(text, places), message: messageOf(literal) })
        }
    }
    at = end
  }
  return found
}

const backslash = 92

const endOfString = (text: string, from: number): number => {
  for (let at = from + 1;;) {
    const quote = text.indexOf("\"", at)
    let escapes = 0
    while (text.charCodeAt(quote - 1 - escapes) === backslash) escapes += 1
    at = quote + 1
    if (escapes % 2 === 0) return at
  }
}

/** The integer that these digits are, with its minus; undefined where they are a part of another number. */
const integerAt = (text: string, from: number, end: number): string | undefined => {
  const start = text[from - 1] === "-" ? from - 1 : from
  return /[.eE]/.test(text.charAt(end)) || /[.eE+]/.test(text.charAt(start - 1)) ? undefined : text.slice(start, end)
}

/** All the digits of a number as it is written, which has an exponent from 1e21 on. */
const digitsOf = (value: number): string => {
  const [digits, exponent = "0"] = String(value).split("e+")
  const [whole, fraction = ""] = digits.split(".")
  return whole + fraction.padEnd(Number(exponent), "0")
}

const longestLiteral = 50

const shorten = (text: string): string => text.length > longestLiteral ? `${text.slice(0, longestLiteral)}...` : text

const messageOf = (literal: string): string =>
  `the integer ${shorten(literal)} would become ${shorten(digitsOf(Number(literal)))}: it can be sent as a string`

const pathOf = (text: string, places: ReadonlyArray<Place>): ReadonlyArray<PropertyKey> =>
  places.map(({ index, isArray, key: [from, to] }) => isArray ? index : JSON.parse(text.slice(from, to)))

/** What is inexact in a text, unless its queue rounds. */
export const inexactOf = ({ queue }: Mounted, text: string, most: number): ReadonlyArray<Inexact> =>
  queue.unsafeIntegers === "round" ? [] : inexactIntegers(text, most)

export const inexactFault = ({ message, path }: Inexact, isArray: boolean): ItemFault => {
  const [position, field] = isArray ? [Number(path[0]), path.slice(1)] : [0, path]
  return { position, field: fieldOf(field), reason: "inexact", message }
}
