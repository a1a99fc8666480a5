/**
 * What an error says, as one text. Effect's errors need not have a message: then their fields say what happened. And
 * what wraps the error of a driver often says less than that: so the causes are a part of it.
 */

/** How many causes of an error are followed: they may be a circle. */
const mostCauses = 5

/** Bounds on the fields of an error, which may hold anything. */
const longestFields = 500
const longestText = 200
const mostMembers = 10
const deepest = 4

/** It never throws, whatever the error is. */
export const messageOf = (error: unknown): string => {
  try {
    return said(error, mostCauses)
  } catch {
    return "an error of which there is no text"
  }
}

/** The same beside the name of the error, which an error without a message need not repeat. */
export const messageBesideName = (error: Error): string => {
  try {
    return saidOf(error, mostCauses, false)
  } catch {
    return ""
  }
}

const said = (error: unknown, causesLeft: number): string => {
  if (error instanceof Error) return saidOf(error, causesLeft, true)
  return typeof error === "object" && error !== null ? shown(error) : String(error)
}

const saidOf = (error: Error, causesLeft: number, isNamed: boolean): string => {
  const { cause } = error
  // Other values are among the fields.
  const isFollowed = (cause instanceof Error || typeof cause === "string") && causesLeft > 0
  const because = isFollowed ? said(cause, causesLeft - 1) : ""
  const own = error.message === "" ? withoutMessage(error, isFollowed, isNamed) : error.message
  if (own === "") return because
  const isThere = because === "" || own.startsWith(because) || own.includes(`: ${because}`)
  return isThere ? own : `${own}: ${because}`
}

const withoutMessage = (error: Error, isCauseSaid: boolean, isNamed: boolean): string => {
  const all = { ...error, cause: isCauseSaid ? undefined : error.cause }
  const unsaid = ["_tag", "name", "message"]
  const fields = Object.entries(all).filter(([key, value]) => value !== undefined && !unsaid.includes(key))
  return [
    ...(isNamed ? [error.name] : []),
    ...(fields.length > 0 ? [shown(Object.fromEntries(fields))] : [])
  ].join(" ")
}

/** An object as JSON, in bounds. */
const shown = (object: object): string => {
  const text = JSON.stringify(bounded(object, deepest))
  return text.length > longestFields ? `${text.slice(0, longestFields)}...` : text
}

const bounded = (value: unknown, levels: number): unknown => {
  if (typeof value === "bigint") return String(value)
  if (typeof value === "string") return value.length > longestText ? `${value.slice(0, longestText)}...` : value
  if (typeof value !== "object" || value === null) return value
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`
  if (value instanceof Error) return messageOf(value)
  if (levels === 0) return "..."
  // What has a JSON of its own, such as `Redacted`, is that.
  if ("toJSON" in value && typeof value.toJSON === "function") return bounded(value.toJSON(), levels - 1)
  const isIterable = Array.isArray(value) || value instanceof Map || value instanceof Set
  const members: ReadonlyArray<unknown> = isIterable ? Array.from(value) : Object.keys(value)
  const first = members.slice(0, mostMembers)
  const more = members.length > mostMembers ? `${members.length - mostMembers} more` : undefined
  if (isIterable) {
    const values = first.map((member) => bounded(member, levels - 1))
    return more === undefined ? values : [...values, more]
  }
  const fields = first.map((key) => [key, bounded(value[key as keyof typeof value], levels - 1)] as const)
  return Object.fromEntries(more === undefined ? fields : [...fields, ["...", more]])
}
