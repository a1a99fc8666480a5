/**
 * The line of text before the bytes of a batch, and the checksum in it.
 *
 * `sluice/2 c0ffee00 json size 1700000000000 a*3,5` is: the version; a checksum of every other byte of the envelope,
 * which later versions have at the same place, so that a flipped digit is not mistaken for a newer version; the format;
 * the trigger; when the batch was opened; and when its items were offered, unless that was the same moment.
 *
 * The checksum is that of the bytes before it, seeded with that of the bytes after it. The bytes before it are fewer
 * than 16, for which every step is invertible, so a change of the seed is never lost.
 */
import { type Trigger, triggers } from "../../Batch.ts"
import * as Result from "../../Result.ts"
import { xxHash32 } from "./checksum.ts"

declare const TextDecoder: new(label: "utf-8", options: { readonly fatal: boolean }) => {
  decode(bytes: Uint8Array): string
}

const decoder = new TextDecoder("utf-8", { fatal: true })

/**
 * Why a batch cannot be read:
 *
 * - `Newer`: it was written by a newer version of Sluice, which a rolling deployment has running elsewhere;
 * - `Corrupt`: its bytes are not those that were written, as its checksum says, or it has no envelope at all;
 * - `Broken`: its bytes are as they were written, as far as can be told, but they are no batch of this schema and format.
 *
 * @since 0.1.0
 * @category models
 */
export type Unreadable =
  | { readonly _tag: "Newer"; readonly version: number }
  | { readonly _tag: "Corrupt"; readonly detail: string }
  | { readonly _tag: "Broken"; readonly detail: string }

/** The version of the envelope that this writes, and the newest that it reads. */
export const version = 2

/** What an envelope says, and where its body begins. */
export interface Header {
  readonly format: string
  readonly trigger: Trigger
  readonly openedAtMillis: number
  readonly bodyAt: number
  /** When the items were offered, as it is written; it is read once it is known how many items there are. */
  readonly times: string
}

// --- writing ----------------------------------------------------------------------------------------------------------

const start = `sluice/${version} `
const digits = 8
const noChecksum = "0".repeat(digits)

/** The line, with a checksum that is yet to be put in. Every character of it is one byte. */
export const lineOf = (
  format: string,
  envelope: {
    readonly trigger: Trigger
    readonly openedAtMillis: number
    readonly offeredAtMillis?: ReadonlyArray<number> | undefined
  }
): string => {
  const openedAtMillis = whole(envelope.openedAtMillis)
  const times = envelope.offeredAtMillis === undefined ? "" : writeTimes(envelope.offeredAtMillis, openedAtMillis)
  const line = `${start}${noChecksum} ${format} ${envelope.trigger} ${openedAtMillis}`
  return times === "" ? `${line}\n` : `${line} ${times}\n`
}

/** Puts the checksum into an envelope. */
export const seal = (bytes: Uint8Array): Uint8Array => {
  const checksum = checksumOf(bytes, start.length)
  for (let i = 0; i < digits; i++) bytes[start.length + i] = digitOf(checksum, i)
  return bytes
}

const isSealed = (bytes: Uint8Array, at: number): boolean => {
  if (at + digits > bytes.length) return false
  const checksum = checksumOf(bytes, at)
  for (let i = 0; i < digits; i++) if (bytes[at + i] !== digitOf(checksum, i)) return false
  return true
}

const checksumOf = (bytes: Uint8Array, at: number): number => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return xxHash32(view, xxHash32(view, 0, at + digits), 0, at)
}

const hexDigits = Array.from("0123456789abcdef", (digit) => digit.charCodeAt(0))

/** What is written of a checksum at one place of its eight. */
const digitOf = (checksum: number, place: number): number => hexDigits[checksum >>> 4 * (digits - 1 - place) & 15]

/** A clock may be set to anything, and none of its times may make a batch unreadable. */
const whole = (millis: number): number =>
  Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Math.round(millis) || 0))

/**
 * Each run of equal times as its distance from the run before, and how long it is, to the base of 36: `a*3,5` is three
 * times 10 ms after the opening, and once 5 ms after that. Nothing where each is that of the opening.
 */
const writeTimes = (times: ReadonlyArray<number>, openedAtMillis: number): string => {
  let text = ""
  let before = openedAtMillis
  for (let i = 0; i < times.length;) {
    const time = whole(times[i])
    const from = i
    while (i < times.length && whole(times[i]) === time) i++
    if (from === 0 && i === times.length && time === openedAtMillis) return ""
    const run = (time - before).toString(36)
    text += `${from === 0 ? "" : ","}${run}${i - from === 1 ? "" : `*${(i - from).toString(36)}`}`
    before = time
  }
  return text
}

// --- reading ----------------------------------------------------------------------------------------------------------

const newline = 10
const startPattern = /^sluice\/([1-9]\d{0,5}) /
const longestStart = "sluice/999999 ".length
const firstPattern = /^sluice\/1(?: ([\w.-]{1,32}) ([a-z]+) (\d{1,16})$| )/
const longestFirst = 128
/** As it would be if the version were another digit than what was written. */
const looksLaterPattern = /^sluice\/1 [\da-f]{8} /
const linePattern = /^ ([\w.-]{1,32}) ([a-z]{1,32}) (-?\d{1,16})(?: ([\da-z*,-]+))?$/

/**
 * Reads the line of an envelope, once its checksum is found to be right. In time that goes by the number of bytes,
 * whatever they are. Throws where the line is no text.
 */
export const readHeader = (bytes: Uint8Array): Result.Result<Header, Unreadable> => {
  let found = version
  let at = start.length
  if (!isOfThisVersion(bytes)) {
    const begin = startPattern.exec(textOf(bytes, longestStart))
    if (begin === null) return corrupt("it has no envelope of Sluice")
    found = Number(begin[1])
    if (found === 1) return readFirst(bytes)
    at = begin[0].length
  }
  const after = at + digits
  if (!isSealed(bytes, at)) return corrupt("its checksum is not that of its bytes")
  if (found > version) return Result.fail({ _tag: "Newer", version: found })
  const end = bytes.indexOf(newline, after)
  const line = linePattern.exec(end < 0 ? "" : decoder.decode(bytes.subarray(after, end)))
  if (line === null) return broken("its envelope is none of its version")
  return headerOf(line, end)
}

const startBytes = Array.from(start, (character) => character.charCodeAt(0))

const isOfThisVersion = (bytes: Uint8Array): boolean => startBytes.every((byte, i) => bytes[i] === byte)

/** The first bytes, up to a number, each as one character. */
const textOf = (bytes: Uint8Array, most: number): string => {
  let text = ""
  for (let i = 0; i < most && i < bytes.length; i++) text += String.fromCharCode(bytes[i])
  return text
}

/** The first version has no checksum, and no times. */
const readFirst = (bytes: Uint8Array): Result.Result<Header, Unreadable> => {
  const end = bytes.subarray(0, longestFirst).indexOf(newline)
  const line = firstPattern.exec(end < 0 ? "" : decoder.decode(bytes.subarray(0, end)))
  if (line?.[1] !== undefined) return headerOf(line, end)
  if (looksLaterPattern.test(textOf(bytes, longestFirst))) {
    return corrupt("its envelope is none of its version")
  }
  return broken(line === null ? "its envelope has no end" : "its envelope is cut off")
}

const headerOf = (line: RegExpExecArray, end: number): Result.Result<Header, Unreadable> => {
  const [, format, trigger, openedAt, times = ""] = line
  if (!isTrigger(trigger)) return broken(`its trigger is ${JSON.stringify(trigger)}`)
  return Result.succeed({ format, trigger, openedAtMillis: Number(openedAt), bodyAt: end + 1, times })
}

const timePattern = /^(-?[\da-z]{1,12})(?:\*([\da-z]{1,10}))?$/

/**
 * When each of so many items was offered; undefined where it does not say that of each. There are no more runs than
 * items, and nothing is longer than they are.
 */
export const readTimes = ({ openedAtMillis, times }: Header, items: number): ReadonlyArray<number> | undefined => {
  if (times === "") return Array.from<number>({ length: items }).fill(openedAtMillis)
  const offeredAtMillis: Array<number> = []
  let time = openedAtMillis
  for (let from = 0; from <= times.length;) {
    const comma = times.indexOf(",", from)
    const to = comma < 0 ? times.length : comma
    const run = timePattern.exec(times.slice(from, Math.min(to, from + longestRun)))
    if (run === null) return undefined
    time += Number.parseInt(run[1], 36)
    const count = run[2] === undefined ? 1 : Number.parseInt(run[2], 36)
    if (count === 0 || count > items - offeredAtMillis.length) return undefined
    for (let i = 0; i < count; i++) offeredAtMillis.push(time)
    from = to + 1
  }
  return offeredAtMillis.length === items ? offeredAtMillis : undefined
}

/** One more than a run can have, so that one that is longer is none. */
const longestRun = 1 + 12 + 1 + 10 + 1

const isTrigger = (text: string): text is Trigger => (triggers as ReadonlyArray<string>).includes(text)

export const broken = (detail: string): Result.Result<never, Unreadable> => Result.fail({ _tag: "Broken", detail })

const corrupt = (detail: string): Result.Result<never, Unreadable> => Result.fail({ _tag: "Corrupt", detail })
