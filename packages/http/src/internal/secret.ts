/**
 * Compares a token with a secret in constant time.
 */
import * as Check from "@sluice/core/unstable/OptionCheck"
import * as Redacted from "effect/Redacted"

/** The shortest token that may be configured, in characters. */
const shortestToken = 16

/** A token that is too short would be guessed, and an empty one is what a request without any has. */
export const checkToken = (module: string, token: Redacted.Redacted): Check.Check =>
  Check.check(
    isSendable(Redacted.value(token)) && Redacted.value(token).length >= shortestToken,
    module,
    "token",
    "<redacted>",
    `at least ${shortestToken} characters of ASCII, without space around them`
  )

/** What comes through a header as it is. */
const isSendable = (token: string): boolean => /^[\x20-\x7e]*$/.test(token) && token.trim() === token

/** Takes a time that depends on the length of what was given, and on nothing else. */
export const isSecret = (given: string, secret: Redacted.Redacted): boolean => {
  const expected = Redacted.value(secret)
  let difference = given.length ^ expected.length
  for (let i = 0; i < given.length; i++) difference |= given.charCodeAt(i) ^ expected.charCodeAt(i % expected.length)
  return difference === 0
}

const scheme = /^Bearer +/i

/** The token of a header `Authorization`; empty where there is none. */
export const tokenOf = (authorization: string | undefined): string =>
  authorization !== undefined && scheme.test(authorization) ? authorization.replace(scheme, "").trimEnd() : ""
