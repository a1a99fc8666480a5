// Does what the pages tell a reader to do, outside the workspace: runs each `npm install` line in a fresh folder, with npm
// and with pnpm, and then the blocks of its pages as they stand. Each is compiled strictly. A program must end well and
// print what its page says, a test must pass, and a server must answer the request of its page and end at a SIGTERM. A
// line that stands on several pages is run once.
//
// The packages are packed, and a registry of this process serves them under `@sluice`. All else comes from npm's, or from
// the cache. The install script of better-sqlite3 gets the binding of the workspace where it would download one, so that
// the check needs neither GitHub nor a compiler. TypeScript and the types of Node are those of the workspace.
//
// `--plan <root>` only looks at the pages, and needs no network: packages/core/test/check-install.test.ts plants what it
// must find.
import { fork } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { setTimeout } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { manifestOf, packAll, pnpm, run } from "./pack.js"
import { readPages } from "./pages.js"

const plan = process.argv.indexOf("--plan")
const root = plan < 0 ? fileURLToPath(new URL("../", import.meta.url)) : process.argv[plan + 1]

const { faults, lines } = readPages(root)
for (const fault of faults) console.error(fault)
if (plan >= 0 || faults.length > 0) process.exit(faults.length === 0 ? 0 : 1)

const base = realpathSync(mkdtempSync(join(tmpdir(), "sluice-install-")))
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc")
const listenOnAnyPort = new URL("install/listenOnAnyPort.js", import.meta.url).href

// What runs a script, such as `npm test`, tells it of the workspace. The folders have nothing to do with that.
const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) =>
    !/^npm_(lifecycle|package|command|config_(local_prefix|loglevel))/.test(name)
  )
)

/** Serves the tarballs as npm's registry would. */
const serve = async (tarballs) => {
  const documents = new Map()
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url)
    if (path.endsWith(".tgz")) response.end(readFileSync(join(base, "tarballs", basename(path))))
    else response.writeHead(documents.has(path) ? 200 : 404).end(documents.get(path) ?? "{}")
  })
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve))
  server.unref()
  const address = `http://127.0.0.1:${server.address().port}/`
  for (const [name, tarball] of Object.entries(tarballs)) {
    const manifest = await manifestOf(tarball)
    const integrity = `sha512-${createHash("sha512").update(readFileSync(tarball)).digest("base64")}`
    const dist = { tarball: address + basename(tarball), integrity }
    const versions = { [manifest.version]: { ...manifest, dist } }
    documents.set(`/${name}`, JSON.stringify({ name, "dist-tags": { latest: manifest.version }, versions }))
  }
  return address
}

/** Puts the binding of the workspace where the install script of better-sqlite3 looks for one before it downloads it. */
const offerBinding = async () => {
  const folder = join(root, "packages/sql/node_modules/better-sqlite3")
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
  const bindings = join(base, "bindings")
  mkdirSync(bindings)
  const file = `better-sqlite3-v${version}-node-v${process.versions.modules}-${process.platform}-${process.arch}.tar.gz`
  await run(["tar", "-czf", join(bindings, file), "build/Release/better_sqlite3.node"], { cwd: folder })
  writeFileSync(join(base, ".prebuild-installrc"), JSON.stringify({ "local-prebuilds": bindings }))
}

const tsconfig = {
  compilerOptions: {
    strict: true,
    target: "ES2022",
    module: "NodeNext",
    moduleResolution: "NodeNext",
    skipLibCheck: true, // `check:consumer` looks at the declarations
    types: ["node"],
    typeRoots: [join(root, "node_modules/@types")]
  }
}

/** Compiles the blocks of a folder. Each has a folder of its own, for the files that it writes. */
const compile = async (folder, blocks) => {
  for (const { kind, name, source } of blocks) {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, kind === "test" ? "main.test.ts" : "main.ts"), source)
  }
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(tsconfig))
  await run([process.execPath, tsc, "-p", folder], { cwd: folder, env })
}

/** Starts a block, and tells what it printed and how it ended. Nothing takes ten minutes, except what hangs. */
const start = (folder, { name }, ...execArgv) => {
  const child = fork(join(folder, name, "main.js"), [], { cwd: join(folder, name), env, execArgv, silent: true })
  const limit = globalThis.setTimeout(() => child.kill("SIGKILL"), 600_000)
  const printed = { stdout: "", stderr: "" }
  for (const stream of ["stdout", "stderr"]) child[stream].on("data", (text) => printed[stream] += text)
  const ended = new Promise((resolve) => {
    child.on("close", (code, signal) => {
      clearTimeout(limit)
      resolve({ ...printed, end: signal ?? `exit ${code}` })
    })
  })
  return { child, ended }
}

/** What is wrong with the end of a program, and with what it printed. */
const faultsOf = ({ prints }, { end, stderr, stdout }) =>
  end !== "exit 0" || stderr !== ""
    ? [`${end}\n${stdout}${stderr}`]
    : prints.filter((text) => !stdout.includes(text)).map((text) => `it does not print "${text}", but\n${stdout}`)

const runProgram = async (folder, block) => faultsOf(block, await start(folder, block).ended)

const runTest = (folder, { name }) =>
  run([process.execPath, "node_modules/vitest/vitest.mjs", "run", `${name}/main.test.ts`], { cwd: folder, env })
    .then(() => [], (error) => [error.message])

/** Asks until the server has started, which it says itself. */
const ask = async (port, { body, headers, path }) => {
  for (;;) {
    const response = await fetch(`http://localhost:${port}${path}`, { method: "POST", headers, body })
    const text = await response.text()
    if (response.status !== 503) return { status: response.status, text }
    await setTimeout(50)
  }
}

const runServer = async (folder, block) => {
  const { child, ended } = start(folder, block, "--import", listenOnAnyPort)
  const port = await Promise.race([new Promise((resolve) => child.once("message", resolve)), ended])
  if (typeof port !== "number") return [`it ends before it listens: ${port.end}\n${port.stdout}${port.stderr}`]
  const { answer, status } = block.request
  const faults = await ask(port, block.request).then(
    (found) =>
      found.status === status && found.text === (answer ?? found.text)
        ? []
        : [`it answers ${found.status} ${found.text}`],
    (error) => [`it does not answer: ${error.cause ?? error}`]
  )
  child.kill("SIGTERM")
  return [...faults, ...faultsOf(block, await ended)]
}

const runs = { fragment: () => [], program: runProgram, server: runServer, test: runTest }
const counts = { fragment: 0, program: 0, server: 0, test: 0 }

/** Runs a line in a fresh folder, and what is on the pages that have it. */
const follow = async (manager, address, [command, blocks]) => {
  const folder = mkdtempSync(join(base, `${manager}-`))
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }))
  const settings = [`@sluice:registry=${address}`, "prefer-offline=true", "audit=false", "fund=false"]
  writeFileSync(join(folder, ".npmrc"), settings.join("\n"))
  for (const line of command.split(" && ")) {
    const [, ...args] = line.split(/\s+/)
    await run(manager === "pnpm" ? [...pnpm, ...args] : ["npm", ...args], { cwd: folder, env })
  }
  await compile(folder, blocks)
  const faults = []
  for (const block of blocks) {
    counts[block.kind]++
    const found = await runs[block.kind](folder, block)
    faults.push(...found.map((fault) => `  ${block.page}:${block.line}: ${fault}`))
  }
  return faults
}

/** The commands of a manager, each once, with the blocks of all pages that have it. */
const commandsOf = (manager) => {
  const commands = new Map()
  for (const line of lines) {
    const command = manager === "pnpm" ? line.pnpm : line.command
    const named = line.blocks.map((block) => ({ ...block, name: `${block.page.replaceAll("/", "_")}.${block.line}` }))
    commands.set(command, [...commands.get(command) ?? [], ...named])
  }
  return [...commands]
}

const check = async (manager, address) => {
  let failures = 0
  for (const each of commandsOf(manager)) {
    const faults = await follow(manager, address, each).catch((error) => [error.message])
    console.log(`${faults.length === 0 ? "works" : "fails"}: ${each[0]}`)
    for (const fault of faults) console.error(fault)
    failures += faults.length
  }
  return failures
}

try {
  mkdirSync(join(base, "tarballs"))
  const address = await serve(await packAll(join(base, "tarballs")))
  await offerBinding()
  const [ofNpm, ofPnpm] = await Promise.all(["npm", "pnpm"].map((manager) => check(manager, address)))
  const failures = ofNpm + ofPnpm
  const { fragment, program, server, test } = counts
  console.log(
    `${program} programs, ${server} servers and ${test} tests ran, ${fragment} fragments compiled, ${failures} faults`
  )
  process.exitCode = program > 0 && server > 0 && failures === 0 ? 0 : 1
} finally {
  rmSync(base, { recursive: true, force: true })
}
