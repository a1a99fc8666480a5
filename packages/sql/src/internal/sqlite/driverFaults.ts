/**
 * Why the driver cannot be used in this process, and what to run or write so that it can: it is not installed, it has no
 * native binding, its binding is for another Node, or the process would crash with it.
 */

/** The driver cannot be used. Its message is one line. */
export class DriverUnusable extends Error {
  constructor(what: string, remedy: string) {
    super(`${what}. ${remedy}`)
    // Where it was found out says nothing to anybody.
    this.stack = `Error: ${this.message}`
  }
}

/** The package of Effect's client, as it is installed. Its minor version goes with those of the peers. */
export const clientPackage = "@effect/sql-sqlite-node"
export const clientVersion = "0.53"

export const driverPackage = "better-sqlite3"

const numbersOf = (version: string): readonly [major: number, minor: number] => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return [major, minor]
}

/**
 * Whether the headers of a Node have an `ObjectWrap` that crashes when its object is collected: since 24.19, and in 26. A
 * better-sqlite3 before 13 is built upon it, and one that works is not told apart from one that does not.
 */
const wrapsCrash = (node: string): boolean => {
  const [major, minor] = numbersOf(node)
  return major === 24 ? minor >= 19 : major > 25
}

/** What a process runs on, as `process.versions` tells it. Bun tells the version of Node that it stands in for, too. */
export interface Runtime {
  readonly node: string
  readonly bun?: string | undefined
}

const take13 =
  "Write \"overrides\": { \"better-sqlite3\": \"^13.2.0\" } into package.json (pnpm: the same under overrides in "
  + "pnpm-workspace.yaml) and install again"

/** Whether this version of better-sqlite3 would end the process, or cannot run in it, and then why. */
export const refusedPair = ({ bun, node }: Runtime, driver: string): DriverUnusable | undefined => {
  const isNodeApi = numbersOf(driver)[0] >= 13
  if (!isNodeApi && bun !== undefined) {
    return new DriverUnusable(`better-sqlite3 ${driver} does not run on Bun, which needs better-sqlite3 13`, take13)
  }
  if (!isNodeApi && wrapsCrash(node)) {
    return new DriverUnusable(`better-sqlite3 ${driver} aborts on Node ${node}, which needs better-sqlite3 13`, take13)
  }
  if (isNodeApi && numbersOf(node)[0] < 22) {
    return new DriverUnusable(
      `better-sqlite3 ${driver} crashes on Node ${node}, which needs better-sqlite3 12`,
      "Remove the override of better-sqlite3 and install again, or run Node 22 or later"
    )
  }
  return undefined
}

const rebuild = "Run `npm rebuild better-sqlite3` with the Node that runs this"
const approve = "with pnpm, `pnpm approve-builds` and then `pnpm rebuild better-sqlite3`"

/** What an error says about the driver; undefined if the driver was loaded. */
export const driverFault = (error: unknown, node: string): DriverUnusable | undefined => {
  if (error instanceof DriverUnusable) return error
  if (!(error instanceof Error)) return undefined
  const { message } = error
  const code = "code" in error ? error.code : undefined
  if (code === "ERR_DLOPEN_FAILED") {
    return new DriverUnusable(
      message.includes("NODE_MODULE_VERSION")
        ? `The native binding of better-sqlite3 is for another version of Node than this one, ${node}`
        : `The native binding of better-sqlite3 cannot be loaded (${message.split("\n")[0]})`,
      `${rebuild}; ${approve}`
    )
  }
  if (message.startsWith("Could not locate the bindings file") || message.includes("better_sqlite3.node'")) {
    return new DriverUnusable(
      "better-sqlite3 has no native binding: its install script did not run, or failed",
      `${rebuild}; ${approve}`
    )
  }
  if (code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND") {
    const missing = /^Cannot find (?:package|module) '([^']+)'/.exec(message)?.[1]
    return new DriverUnusable(
      `${missing ?? "A part of the driver"} is not installed`,
      `Run \`npm install ${clientPackage}@${clientVersion}\`, which brings better-sqlite3`
    )
  }
  return undefined
}
