import * as fs from "node:fs"

/** Writes a line at once, because there is no later for a process that is killed. Waits where nobody reads. */
export const say = (line) => {
  let rest = Buffer.from(`${line}\n`)
  while (rest.length > 0) {
    try {
      rest = rest.subarray(fs.writeSync(1, rest))
    } catch (error) {
      if (error.code !== "EAGAIN") throw error
    }
  }
}
