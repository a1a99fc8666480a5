/** Disks for tests that can be filled. */
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { expect } from "vitest"
import { temporaryDirectory } from "./children/spawn.ts"

const mount = (directory: string) =>
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", directory], { stdio: "ignore" })

// Lazily: something may still have a file open there when a test fails.
const unmount = (directory: string) => execFileSync("umount", ["-l", directory], { stdio: "ignore" })

/** Whether there can be one here. */
export const canMount: boolean = (() => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "sluice-"))
  try {
    mount(directory)
    unmount(directory)
    return true
  } catch {
    console.log("no small disk can be mounted here (it takes root): the tests of full disks are skipped")
    return false
  } finally {
    fs.rmdirSync(directory)
  }
})()

/** A disk of one megabyte, which can be filled to the last byte. */
export const smallDisk = Effect.gen(function*() {
  const directory = yield* temporaryDirectory
  yield* Effect.acquireRelease(Effect.sync(() => mount(directory)), () => Effect.sync(() => unmount(directory)))
  const ballast = path.join(directory, "ballast")
  return {
    filename: path.join(directory, "small.db"),
    fill: Effect.sync(() => {
      const file = fs.openSync(ballast, "w")
      const block = Buffer.alloc(4096)
      try {
        while (true) fs.writeSync(file, block)
      } catch (error) {
        expect(error).toMatchObject({ code: "ENOSPC" })
      } finally {
        fs.closeSync(file)
      }
    }),
    free: Effect.sync(() => fs.rmSync(ballast))
  }
})
