/**
 * What the user of the program can get wrong. Each is told in one line, and ends the program with exit code 2.
 */
import * as Data from "effect/Data"

/** Everything on one line, and not too long: it may quote a file. */
const oneLine = (text: string): string => {
  const line = text.replaceAll(/\s+/g, " ").trim()
  return line.length > 400 ? `${line.slice(0, 400)}...` : line
}

export class BadOption extends Data.TaggedError("BadOption")<{ readonly problem: string }> {
  override get message(): string {
    return oneLine(this.problem)
  }
}

export class UnreadableFile extends Data.TaggedError("UnreadableFile")<{
  readonly file: string
  readonly problem: string
}> {
  override get message(): string {
    return oneLine(`${this.file}: ${this.problem}`)
  }
}

export class MalformedFlight extends Data.TaggedError("MalformedFlight")<{
  readonly file: string
  /** 1 for the first. */
  readonly line: number
  readonly problem: string
}> {
  override get message(): string {
    return oneLine(`${this.file}:${this.line}: ${this.problem}`)
  }
}

export class UnusableDatabase extends Data.TaggedError("UnusableDatabase")<{
  readonly file: string
  readonly problem: string
}> {
  override get message(): string {
    return oneLine(`database ${this.file}: ${this.problem}`)
  }
}

export type UserError = BadOption | UnreadableFile | MalformedFlight | UnusableDatabase

/** What is wrong, from whatever a library has thrown: the innermost cause says it best. */
export const problemOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? problemOf(error.cause) : error.message
}
