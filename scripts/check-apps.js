// Runs the apps of examples/apps as their users would: outside of the workspace, on the packages as they are published.
//
// The packages are packed, the apps are copied to a folder of their own, and pnpm installs what their manifests name
// there. Only `@sluice/*` is the tarballs. Each app is compiled by its own tsconfig.json, and then checks itself.
import { cpSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"
import { packAll, pnpm, run } from "./pack.js"

const apps = fileURLToPath(new URL("../examples/apps/", import.meta.url))
const root = fileURLToPath(new URL("../", import.meta.url))
const folder = realpathSync(mkdtempSync(join(tmpdir(), "sluice-apps-")))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))

const names = readdirSync(apps, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name)
const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`

/** Copies the sources of the apps: what they have installed or built in place is theirs. */
const copy = () => {
  for (const name of names) {
    cpSync(join(apps, name), join(folder, name), {
      recursive: true,
      filter: (path) => !/[\\/](node_modules|dist)$/.test(path)
    })
  }
}

/**
 * Installs all apps at once, each with what it declares and nothing else. Versions are those of the workspace's lock
 * file, where they fit; so they are at hand, and better-sqlite3 is built already.
 */
const install = async () => {
  const tarballs = await packAll(folder)
  const overrides = Object.entries(tarballs).map(([name, path]) => `  "${name}": ${JSON.stringify(`file:${path}`)}\n`)
  const workspace = readFileSync(join(root, "pnpm-workspace.yaml"), "utf8")
  const builds = /^onlyBuiltDependencies:\n(  - .*\n)+(#.*\n)*ignoredBuiltDependencies:\n(  - .*\n)+/m.exec(workspace)
  if (builds === null) throw new Error("pnpm-workspace.yaml does not say which packages are built")
  writeFileSync(join(folder, "pnpm-workspace.yaml"), `packages: ["*"]\noverrides:\n${overrides.join("")}${builds[0]}`)
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true }))
  cpSync(join(root, "pnpm-lock.yaml"), join(folder, "pnpm-lock.yaml"))
  await run([...pnpm, "install", "--no-frozen-lockfile", "--prefer-offline"], { cwd: folder })
}

// What all of them import is read once.
const sourceFiles = new Map()

/** Compiles an app, and returns how many errors there are. */
const compile = (name) => {
  const cwd = join(folder, name)
  const { errors, fileNames, options } = ts.getParsedCommandLineOfConfigFile(join(cwd, "tsconfig.json"), {}, ts.sys)
  const host = ts.createCompilerHost(options)
  const read = host.getSourceFile
  host.getSourceFile = (file, ...rest) => {
    if (!sourceFiles.has(file)) sourceFiles.set(file, read.call(host, file, ...rest))
    return sourceFiles.get(file)
  }
  const program = ts.createProgram(fileNames, options, host)
  const diagnostics = [...errors, ...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics]
  const format = { getCanonicalFileName: (file) => file, getCurrentDirectory: () => cwd, getNewLine: () => "\n" }
  if (diagnostics.length > 0) console.error(ts.formatDiagnostics(diagnostics, format))
  return diagnostics.length
}

/** Runs the check of an app, and returns whether it passed. */
const check = async (name) => {
  try {
    console.log((await run(["npm", "run", "--silent", "check"], { cwd: join(folder, name), timeout: 120_000 })).trim())
    return true
  } catch (error) {
    console.error(`${name}: ${error.message}`)
    return false
  }
}

const startedAt = performance.now()
copy()
await install()
console.log(`${names.length} apps are installed on the packed packages (${seconds(startedAt)})`)

const compiledAt = performance.now()
const errors = names.map(compile).reduce((sum, count) => sum + count, 0)
console.log(`${errors === 0 ? "all compile" : `${errors} errors`} (${seconds(compiledAt)})`)
if (names.length === 0 || errors > 0) process.exit(1)

const checkedAt = performance.now()
const failed = []
for (const name of names) if (!await check(name)) failed.push(name)
console.log(failed.length === 0 ? `all hold (${seconds(checkedAt)})` : `${failed.join(", ")} failed`)
process.exitCode = failed.length === 0 ? 0 : 1
