/**
 * How many transactions have been committed to a SQLite file: what the log itself says, and no counter of ours.
 *
 * The log begins with a header of 32 bytes. Each page that was written follows as a frame, with a header of 24 bytes. In
 * the last frame of a transaction, and in no other, the second number of that header is not zero: it is the size of the
 * database after the commit. See https://www.sqlite.org/fileformat2.html#the_write_ahead_log
 */
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"

const headerBytes = 32
const frameHeaderBytes = 24

/**
 * To be asked while the file is open, because SQLite removes the log with the last connection; and before the log has
 * 4,000 pages or is a minute old, because then it begins anew.
 */
export const countCommits = (filename: string): Effect.Effect<number> =>
  Effect.sync(() => {
    const log = readFileSync(`${filename}-wal`)
    const pageBytes = log.readUInt32BE(8)
    let commits = 0
    for (let at = headerBytes; at < log.length; at += frameHeaderBytes + pageBytes) {
      if (log.readUInt32BE(at + 4) !== 0) commits += 1
    }
    return commits
  })
