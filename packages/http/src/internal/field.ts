/**
 * Where in a value something is wrong, in the sender's terms.
 */
import * as ParseResult from "effect/ParseResult"

/** Long enough to find the place. */
const longestField = 200

/** Such as `address.lines[2]`; empty for the value as a whole. */
export const fieldOf = (path: ReadonlyArray<PropertyKey>): string =>
  path.reduce<string>(
    (field, step) =>
      typeof step === "number" ? `${field}[${step}]` : field === "" ? String(step) : `${field}.${String(step)}`,
    ""
  ).slice(0, longestField)

/** No more of what is wrong with a request is told. */
export const mostFaults = 100

/** What is wrong may be as large as the body. */
const longestMessage = 500

/** An optional field may also be undefined, which a client cannot send. */
const isOfAbsence = /^Expected undefined, /

/**
 * Each field that is wrong, and what may be there. Where a value may be one of several things, the places within it are
 * told, and not that it is none of the others.
 */
export const faultsIn = (
  issue: ParseResult.ParseIssue
): ReadonlyArray<{ readonly field: string; readonly message: string }> => {
  const all = ParseResult.ArrayFormatter.formatIssueSync(issue).slice(0, mostIssues)
  const issues = all.filter(({ message }) => !isOfAbsence.test(message))
  const told = new Map<string, { readonly path: ReadonlyArray<PropertyKey>; readonly messages: Set<string> }>()
  for (const { message, path } of issues.length > 0 ? issues : all) {
    const field = fieldOf(path)
    const same = told.get(field)
    if (same === undefined) told.set(field, { path, messages: new Set([message]) })
    else same.messages.add(message)
  }
  const outer = new Set<string>()
  for (const { path } of told.values()) {
    for (let length = 0; length < path.length; length++) outer.add(fieldOf(path.slice(0, length)))
  }
  return Array.from(told)
    .filter(([field]) => !outer.has(field))
    .slice(0, mostFaults)
    .map(([field, { messages }]) => ({ field, message: Array.from(messages).join(" or ").slice(0, longestMessage) }))
}

/** Several of them may be about one field. */
const mostIssues = 1000
