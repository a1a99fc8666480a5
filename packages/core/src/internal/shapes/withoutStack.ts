/**
 * Makes an error without collecting a stack, which costs several microseconds, and says nothing where only Sluice is on
 * it.
 */

// V8 and JavaScriptCore have this property; elsewhere setting it does nothing.
const stack = Error as { stackTraceLimit?: number }

export const withoutStack = <E>(construct: () => E): E => {
  const limit = stack.stackTraceLimit ?? 10
  stack.stackTraceLimit = 0
  try {
    return construct()
  } finally {
    stack.stackTraceLimit = limit
  }
}
