/**
 * The version of a key: a number that each command that succeeds makes one larger, without gaps. A command that may have
 * run, or not, leaves it in doubt: then it is asked for again.
 */
import * as Effect from "effect/Effect"
import { VersionConflict } from "../../QueueError.ts"
import { identityOf, type Key } from "../../Sharding.ts"

export type CurrentVersion = (key: Key) => Effect.Effect<number, unknown>

export const nextVersion = (version: number): number => version + 1

/** Asks for the version of the last command that succeeded. */
export const askVersion = (currentVersion: CurrentVersion, key: Key): Effect.Effect<number, unknown> =>
  Effect.flatMap(
    Effect.suspend(() => currentVersion(key)),
    (version) =>
      Number.isSafeInteger(version) && version >= 0
        ? Effect.succeed(version)
        : Effect.die(
          new RangeError(`the current version of ${JSON.stringify(key)} is ${version}, but must be an integer from 0`)
        )
  )

/** The version is asked for before the next command. If it cannot be, a command that has failed counts as not done. */
export const doubtVersion = (
  lane: { version: number | undefined },
  currentVersion: CurrentVersion | undefined
): void => {
  if (currentVersion !== undefined) lane.version = undefined
}

/** Whether the version of the command for this key was taken, and not that of another, which it has run itself. */
export const isConflictOf = (id: string, error: unknown): boolean =>
  error instanceof VersionConflict && identityOf(error.key) === id
