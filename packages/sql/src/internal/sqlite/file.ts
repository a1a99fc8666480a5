/**
 * Inspects a file without opening it, and checks whether the open file is still the one at its path.
 *
 * SQLite silently continues with a file that was deleted, renamed or replaced, and commits into a lost file. So the
 * store checks this before a read or a commit, at most once a second: two system calls of a few microseconds each,
 * which is less than a turn through the thread pool would cost.
 */
import { StoreUnavailable } from "@sluice/core/QueueError"
import type * as Clock from "effect/Clock"
import * as fs from "node:fs"
import * as path from "node:path"

/** How often it is looked. */
const everyMillis = 1000

/** One of the files of a database. */
interface Watched {
  readonly path: string
  readonly identity: string
}

/** Whether this tells files apart: not every file system numbers them. */
const canTell = (identity: string): boolean => process.platform !== "win32" && !identity.endsWith(":0")

/** Which file is at a path; undefined where there is none. */
const identityOf = (path: string): string | undefined => {
  const stats = fs.statSync(path, { bigint: true, throwIfNoEntry: false })
  return stats && `${stats.dev}:${stats.ino}`
}

/** Whether there is something at a path, as far as that can be seen. */
export const isThere = (filename: string): boolean => {
  try {
    return identityOf(filename) !== undefined
  } catch {
    // Opening it says why.
    return true
  }
}

/**
 * Which file a path leads to, however it is written. One that is not there is made, empty, if it may be: then it is the
 * same for all who open it. Undefined where that cannot be told; opening it says why.
 */
export const fileAt = (filename: string): string | undefined => {
  try {
    // As SQLite makes it.
    if (identityOf(filename) === undefined) fs.closeSync(fs.openSync(filename, "a", 0o644))
    const identity = identityOf(filename)
    return identity === undefined || canTell(identity) ? identity : fs.realpathSync(filename)
  } catch {
    return undefined
  }
}

export class FileWatch {
  private readonly store: string
  private readonly files: ReadonlyArray<Watched>
  private readonly clock: Clock.Clock
  private lookedAt: number
  /** What was found when it was looked last. */
  private found: StoreUnavailable | undefined

  constructor(store: string, files: ReadonlyArray<Watched>, clock: Clock.Clock) {
    this.store = store
    this.files = files
    this.clock = clock
    this.lookedAt = clock.unsafeCurrentTimeMillis()
  }

  /** What is wrong with the file, as far as it has been looked within the last second. */
  look(): StoreUnavailable | undefined {
    const now = this.clock.unsafeCurrentTimeMillis()
    // The clock may jump back.
    if (Math.abs(now - this.lookedAt) < everyMillis) return this.found
    this.lookedAt = now
    return this.found = this.lookNow()
  }

  private lookNow(): StoreUnavailable | undefined {
    for (const { identity, path } of this.files) {
      try {
        const found = identityOf(path)
        if (found !== identity) return this.moved(path, found === undefined)
      } catch {
        // What cannot be seen just now may be there nevertheless: the driver knows better.
      }
    }
    return undefined
  }

  private moved(path: string, isGone: boolean): StoreUnavailable {
    const what = isGone ? "was deleted or renamed" : "was replaced by another file"
    const cause = new Error(
      `${path} ${what} while it was open, so that what is written would be lost. `
        + "Put it back to its place, and this goes on; or restart whatever has it open, to go on with what is there now"
    )
    return new StoreUnavailable({ store: this.store, reason: "moved", cause })
  }
}

/**
 * Watches an open database and its log. Undefined where files cannot be told apart, and where one that is open cannot be
 * taken away.
 */
export const watchFile = (filename: string, clock: Clock.Clock): FileWatch | undefined => {
  try {
    const absolute = path.resolve(filename)
    // SQLite puts its other files beside the file that a link leads to.
    const real = fs.realpathSync(absolute)
    const files = [absolute, `${real}-wal`, `${real}-shm`].flatMap((path) => {
      const identity = identityOf(path)
      return identity !== undefined && canTell(identity) ? [{ path, identity }] : []
    })
    return files.length === 0 ? undefined : new FileWatch(filename, files, clock)
  } catch {
    return undefined
  }
}
