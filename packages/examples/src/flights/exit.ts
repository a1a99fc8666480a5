/**
 * How the program ends.
 *
 * | code | when |
 * | --- | --- |
 * | 0 | it adds up, or help was asked for |
 * | 1 | it does not add up, or something broke |
 * | 2 | the user's mistake: an option, a file, a line, a database |
 * | 130, 143 | Ctrl-C, or SIGTERM: what had been offered was drained and adds up |
 *
 * With `--serve` there is no other end than Ctrl-C or SIGTERM, and so the code is 0 where all was drained.
 */
import type { Teardown } from "@effect/platform/Runtime"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"

const codes: Partial<Record<NodeJS.Signals, number>> = { SIGINT: 130, SIGTERM: 143 }

let received: { readonly signal: NodeJS.Signals; readonly atMillis: number } | undefined

const onSignal = (signal: NodeJS.Signals): void => {
  if (received === undefined) {
    received = { signal, atMillis: Date.now() }
    return
  }
  if (Date.now() - received.atMillis > 1000) process.exit(codes[signal])
}

/** Whoever read our output has gone, as with `| head`. */
const ignoreBrokenPipe = (error: NodeJS.ErrnoException): void => {
  if (error.code !== "EPIPE") throw error
}

/**
 * `NodeRuntime.runMain` interrupts the program at the first signal, and lets a second one kill it. But under
 * `npm start` one Ctrl-C comes twice, from the terminal and from npm. So only one that comes later ends it at once.
 */
export const listen = (): void => {
  process.on("SIGINT", onSignal)
  process.on("SIGTERM", onSignal)
  process.stdout.on("error", ignoreBrokenPipe)
  process.stderr.on("error", ignoreBrokenPipe)
}

let isServing = false

/** From now on an interruption is how the program is meant to end. */
export const serveUntilInterrupted = (): void => {
  isServing = true
}

export const teardown: Teardown = (exit, onExit) => {
  const failed = Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)
  const interrupted = Exit.isFailure(exit) && !failed
  const code = Number(process.exitCode ?? 0)
  if (code !== 0) return onExit(code)
  if (failed) return onExit(1)
  onExit(interrupted && !isServing ? codes[received?.signal ?? "SIGINT"] ?? 1 : 0)
}
