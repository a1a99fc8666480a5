// Runs on other versions of Node than the workspace's, and on Bun: the tests of sql, with the driver of SQLite that goes
// with each, and the programs of scripts/runs-on on the packages as packed. README, "Runs on", has a row for each.
//
// The runtimes come from npm, and are kept in a folder outside the workspace. The tests run in a copy of the workspace that
// is installed with the override of docs/guides/stored.md, and the programs where that is installed with npm.
//
// `--all` runs all tests of sql, which takes minutes for each Node.
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { packAll, pnpm, run } from "./pack.js"

const root = fileURLToPath(new URL("../", import.meta.url))
const read = (file) => readFileSync(join(root, file), "utf8")

const nodes = ["22.23.3", "24.21.0"]
const bun = "1.4.5"
const driver = "13.2.0"

/** The tests that are nearest to the driver, to processes that are killed, and to files. */
const files = [
  "runtime",
  "statements",
  "SqliteStore.driver",
  "SqliteStore.open",
  "SqliteStore.shared",
  "SqlTransaction.test",
  "SqlBatchStore.test",
  "WriteCoordinator.test"
]
const isAll = process.argv.includes("--all")

const cache = join(tmpdir(), "sluice-check-nodes")
const folder = mkdtempSync(join(tmpdir(), "sluice-nodes-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))

let faults = 0
const report = (title, isGood, detail = "") => {
  if (!isGood) faults++
  console.log(`${isGood ? "ok  " : "FAIL"} ${title}${isGood ? "" : `\n${detail}`}`)
}

/** A folder of the cache: made whole, or not at all. */
const kept = async (name, make) => {
  const to = join(cache, name)
  if (existsSync(to)) return to
  mkdirSync(cache, { recursive: true })
  const from = mkdtempSync(join(cache, "new-"))
  await make(from)
  renameSync(from, to)
  return to
}

/** Of what a folder of the cache is made from, for this workspace. */
const keyOf = (...parts) => createHash("sha256").update(JSON.stringify([root, ...parts])).digest("hex").slice(0, 12)

const npmInstall = (cwd, ...specs) =>
  run(["npm", "install", "--no-audit", "--no-fund", "--prefer-offline", ...specs], { cwd })

const manifest = (folder, content = {}) =>
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module", ...content }))

const platform = `${process.platform === "win32" ? "win" : process.platform}-${process.arch}`

/** The executable of a Node. */
const nodeAt = async (version) => {
  const at = await kept(`node-${version}`, (to) => {
    manifest(to)
    return npmInstall(to, "--ignore-scripts", `node-${platform}@${version}`)
  })
  const bin = join(at, "node_modules", `node-${platform}`, "bin")
  const said = (await run([join(bin, "node"), "--version"])).trim()
  if (said !== `v${version}`) throw new Error(`${bin} is Node ${said}, not ${version}`)
  return bin
}

const bunAt = async () => {
  const at = await kept(`bun-${bun}`, (to) => {
    manifest(to)
    return npmInstall(to, "--ignore-scripts", `bun@${bun}`)
  })
  const [name] = ["", "-baseline"].map((kind) => `bun-${platform}${kind}`)
    .filter((name) => existsSync(join(at, "node_modules/@oven", name)))
  const bin = join(at, "node_modules/@oven", name, "bin/bun")
  const said = (await run([bin, "--version"])).trim()
  if (said !== bun) throw new Error(`${bin} is Bun ${said}, not ${bun}`)
  return bin
}

/** A block of the guide, as users copy it. */
const blockOfGuide = (language, containing) => {
  const blocks = [...read("docs/guides/stored.md").matchAll(/```(\w+)\n([\s\S]*?)```/g)]
  const found = blocks.find(([, name, text]) => name === language && text.includes(containing))
  if (found === undefined) throw new Error(`docs/guides/stored.md has no ${language} block with ${containing}`)
  return found[2]
}

/** A copy of the workspace, of what the tests of sql need, installed with the override for pnpm. */
const workspace = async () => {
  const settings = read("pnpm-workspace.yaml").replace(/^packages:\n(  - .*\n)+/, "packages:\n  - packages/*\n")
    + `\n${blockOfGuide("yaml", "overrides:")}`
  const lock = read("pnpm-lock.yaml")
  const { devDependencies } = JSON.parse(read("package.json"))
  const key = keyOf(settings, lock, read("packages/core/package.json"), read("packages/sql/package.json"))
  const copy = (name, to) =>
    cpSync(join(root, "packages", name), join(to, "packages", name), {
      recursive: true,
      filter: (from) => !/[\\/](node_modules|build|coverage)$/.test(from)
    })
  const at = await kept(`workspace-${key}`, async (to) => {
    manifest(to, { devDependencies: { vitest: devDependencies.vitest } })
    writeFileSync(join(to, "pnpm-workspace.yaml"), settings)
    writeFileSync(join(to, "pnpm-lock.yaml"), lock)
    for (const name of ["core", "sql"]) copy(name, to)
    await run([...pnpm, "install", "--no-frozen-lockfile", "--prefer-offline"], { cwd: to })
  })
  for (const name of ["core", "sql"]) {
    for (const part of ["src", "dist", "test"]) {
      rmSync(join(at, "packages", name, part), { recursive: true, force: true })
    }
    copy(name, at)
  }
  for (const file of ["vitest.config.ts", "vitest.setup.ts", "vitest.workspace.ts", "tsconfig.base.json"]) {
    cpSync(join(root, file), join(at, file))
  }
  writeFileSync(join(at, "tsconfig.json"), JSON.stringify({ files: [] }))
  return at
}

/** Runs tests of sql, and reports what they have said themselves. */
const test = (at, version, bin) => {
  const out = join(folder, `${version}.json`)
  const { CI: _, SLUICE_CAMPAIGN: __, ...environment } = process.env
  const { status, stderr, stdout } = spawnSync(
    join(bin, "node"),
    [
      join(at, "node_modules/vitest/vitest.mjs"),
      "run",
      "--project=sql",
      "--reporter=json",
      `--outputFile=${out}`,
      ...isAll ? [] : files
    ],
    {
      cwd: at,
      encoding: "utf8",
      maxBuffer: 64 * 1024 * 1024,
      env: { ...environment, PATH: `${bin}:${environment.PATH}`, SLUICE_NODE: version, SLUICE_DRIVER: driver }
    }
  )
  const { numPassedTests = 0, testResults = [] } = existsSync(out) ? JSON.parse(readFileSync(out, "utf8")) : {}
  const failed = testResults.flatMap(({ assertionResults, message, name }) => [
    ...message ? [`${name}: ${message}`] : [],
    ...assertionResults.filter(({ status }) => status === "failed")
      .map(({ failureMessages, fullName }) => `${fullName}\n${failureMessages.join("\n")}`)
  ])
  const isMeant = testResults.some(({ assertionResults, name }) =>
    name.includes("runtime.test") && assertionResults.length > 0
    && assertionResults.every(({ status }) => status === "passed")
  )
  const missing = isAll ? [] : files.filter((file) => !testResults.some(({ name }) => name.includes(file)))
  report(
    `Node ${version}, better-sqlite3 ${driver}: ${numPassedTests} tests of sql in ${testResults.length} files`,
    status === 0 && isMeant && missing.length === 0,
    [...failed, ...missing.map((file) => `no test file ${file}`), failed.length === 0 ? stdout + stderr : ""].join("\n")
  )
}

/** A folder with the packages as packed, installed by npm with the line of README and this manifest. */
const app = async (name, content, tarballs) => {
  const [line] = read("README.md").match(/^npm install .*@sluice\/sql .*$/m) ?? []
  if (line === undefined) throw new Error("README.md has no line that installs @sluice/sql")
  const specs = line.split(" ").slice(2).filter((spec) => !spec.startsWith("@sluice/"))
  const { version: esbuild } = JSON.parse(read("node_modules/.pnpm/node_modules/esbuild/package.json"))
  const key = keyOf(content, specs, esbuild)
  const at = await kept(`${name}-${key}`, async (to) => {
    manifest(to, content)
    // Version 12 is taken from the workspace: here its script would compile it, or download it.
    await npmInstall(to, "--ignore-scripts", ...specs, `esbuild@${esbuild}`, "msgpackr@1")
  })
  for (const [name, tarball] of Object.entries(tarballs)) {
    const to = join(at, "node_modules", name)
    rmSync(to, { recursive: true, force: true })
    mkdirSync(to, { recursive: true })
    await run(["tar", "-xzf", tarball, "-C", to, "--strip-components=1"])
  }
  cpSync(join(root, "scripts/runs-on"), at, { recursive: true })
  return at
}

const programFolder = (at) => mkdtempSync(join(at, "data-"))

const expectedOfCore = {
  flushed: [22, 12],
  handled: ["ada"],
  answers: ["bought", "bought", "sold out"],
  products: [10, 20]
}

const runProgram = (at, executable, ...args) => {
  const { signal, stderr, stdout } = spawnSync(executable, args, { cwd: at, encoding: "utf8", timeout: 300_000 })
  let said
  try {
    said = JSON.parse(stdout)
  } catch {
    // It was killed, or has failed.
  }
  return { said, signal, text: `${stdout}${stderr}` }
}

const isSame = (left, right) => JSON.stringify(left) === JSON.stringify(right)

const checkCore = (title, at, executable, file = "core.js") => {
  const { said, text } = runProgram(at, executable, file)
  report(`${title}: core offers, flushes, batches and answers`, isSame(said, expectedOfCore), text)
}

const checkDurable = (title, at, executable, file = "durable.js") => {
  const data = programFolder(at)
  const filename = join(data, "queues.db")
  const filled = runProgram(at, executable, file, "fill", filename)
  const drained = runProgram(at, executable, file, "drain", filename)
  rmSync(data, { recursive: true, force: true })
  report(
    `${title}: a durable queue loses nothing when its process is killed`,
    filled.signal === "SIGKILL" && isSame(drained.said, ["ada", "bob", "eve"]),
    filled.text + drained.text
  )
}

const checkRefused = (title, at, executable, parts, file = "durable.js") => {
  const { said, text } = runProgram(at, executable, file, "open", ":memory:")
  const isRefused = said?.reason === "driver" && parts.every((part) => said.message.includes(part))
  report(`${title}: is refused, "${parts[0]}"`, isRefused, text)
}

const esbuild = async (at, file, format) => {
  const to = file.replace(".js", format === "cjs" ? ".bundle.cjs" : ".bundle.mjs")
  const options = [
    "--bundle",
    "--platform=node",
    `--format=${format}`,
    "--external:better-sqlite3",
    "--log-level=error"
  ]
  await run([process.execPath, join(at, "node_modules/esbuild/bin/esbuild"), file, ...options, `--outfile=${to}`], {
    cwd: at
  })
  return to
}

const here = process.versions.node
if (!here.startsWith("20.")) throw new Error(`this is Node ${here}; run it with Node 20, as the workspace is installed`)

const started = Date.now()
const bins = await Promise.all(nodes.map(nodeAt))
const bunBin = await bunAt()
const tarballs = await packAll(folder)
const withNew = await app("app-13", JSON.parse(blockOfGuide("json", "better-sqlite3")), tarballs)
const withOld = await app("app-12", {}, tarballs)

// The binding of the workspace, for the Node of the workspace.
const require = createRequire(join(root, "packages/sql/package.json"))
const binding = "build/Release/better_sqlite3.node"
const { version: installedOld } = JSON.parse(
  readFileSync(join(withOld, "node_modules/better-sqlite3/package.json"), "utf8")
)
mkdirSync(join(withOld, "node_modules/better-sqlite3/build/Release"), { recursive: true })
cpSync(
  join(require.resolve("better-sqlite3/package.json"), "..", binding),
  join(withOld, "node_modules/better-sqlite3", binding)
)

checkCore(`Node ${here}`, withOld, process.execPath)
checkDurable(`Node ${here}, better-sqlite3 ${installedOld}`, withOld, process.execPath)
checkRefused(`Node ${here}, better-sqlite3 ${driver}`, withNew, process.execPath, [`crashes on Node ${here}`])
for (const [index, version] of nodes.entries()) {
  const executable = join(bins[index], "node")
  checkCore(`Node ${version}`, withNew, executable)
  checkDurable(`Node ${version}, better-sqlite3 ${driver}`, withNew, executable)
  const why = version.startsWith("24.")
    ? [`aborts on Node ${version}`, "\"overrides\": { \"better-sqlite3\""]
    : ["is for another version of Node", "npm rebuild better-sqlite3"]
  checkRefused(`Node ${version}, better-sqlite3 ${installedOld} of Node ${here}`, withOld, executable, why)
}
checkCore(`Bun ${bun}`, withNew, bunBin)
checkDurable(`Bun ${bun}, better-sqlite3 ${driver}`, withNew, bunBin)
checkRefused(`Bun ${bun}, better-sqlite3 ${installedOld}`, withOld, bunBin, ["does not run on Bun"])
const bundledOn = join(bins.at(-1), "node")
for (const format of ["esm", "cjs"]) {
  const title = `esbuild, ${format}, on Node ${nodes.at(-1)}`
  const durable = await esbuild(withNew, "durable.js", format)
  checkCore(title, withNew, bundledOn, await esbuild(withNew, "core.js", format))
  checkDurable(title, withNew, bundledOn, durable)
  // Where the driver is looked for differs in a bundle.
  const from = await esbuild(withOld, "durable.js", format)
  checkRefused(`${title}, better-sqlite3 ${installedOld}`, withOld, bundledOn, [`aborts on Node ${nodes.at(-1)}`], from)
}

const at = await workspace()
for (const [index, version] of nodes.entries()) test(at, version, bins[index])

console.log(
  `${faults === 0 ? "all of it runs" : `${faults} do not run`}, ${Math.round((Date.now() - started) / 1000)} s`
)
process.exitCode = faults === 0 ? 0 : 1
