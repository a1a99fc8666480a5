// Compiles the TypeScript blocks of README.md, packages/*/README.md, docs/guides/*.md and of the doc comments in
// packages/*/src against the packages as built, and runs the programs of README.md.
//
// Before that, the lines that install something: npm's `latest` of Effect is another major, which does not load with these
// packages, so each line names the versions that they are built and tested with.
//
// Each block becomes one module of packages/examples/build/readme, because that package depends on all that a reader
// would install. Blank lines before it keep the line numbers of the Markdown file.
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const root = new URL("../", import.meta.url)
const out = new URL("packages/examples/build/readme/", root)
const list = (folder) => existsSync(new URL(folder, root)) ? readdirSync(new URL(folder, root)) : []

const pages = [
  "README.md",
  ...list("packages").map((name) => `packages/${name}/README.md`),
  ...list("docs/guides").filter((name) => name.endsWith(".md")).map((name) => `docs/guides/${name}`)
].filter((page) => existsSync(new URL(page, root)))

const published = list("packages").filter((name) => !["benchmarks", "examples"].includes(name))
const sources = published.flatMap((name) =>
  readdirSync(new URL(`packages/${name}/src/`, root), { recursive: true })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => `packages/${name}/src/${file.replaceAll("\\", "/")}`)
)

// The lines of doc comments, without their asterisks; all other lines are blank, so that line numbers stay.
const docComments = (source) => source.split(/\r?\n/).map((line) => /^\s*\* ?(.*)$/.exec(line)?.[1] ?? "").join("\n")

const blocksOf = (markdown) => {
  const blocks = []
  let open
  for (const [index, line] of markdown.split(/\r?\n/).entries()) {
    const fence = /^\s*(`{3,}|~{3,})\s*(\S*)/.exec(line)
    if (open === undefined && fence !== null) {
      open = { fence: fence[1], language: fence[2], line: index + 1, source: "\n".repeat(index + 1) }
    } else if (open !== undefined && fence !== null && fence[1].startsWith(open.fence) && fence[2] === "") {
      if (open.language === "ts" || open.language === "typescript") blocks.push(open)
      open = undefined
    } else if (open !== undefined) {
      open.source += `${line}\n`
    }
  }
  if (open !== undefined) throw new Error(`the block that opens at line ${open.line} is not closed`)
  return blocks
}

/** The versions of the workspace, which are exact: `effect` is at 3.22.4, and a reader installs `effect@3.22`. */
const catalog = new Map(
  Array.from(
    readFileSync(new URL("pnpm-workspace.yaml", root), "utf8").matchAll(/^  "?(@?[\w/-]+)"?: (\d+\.\d+)\.\S+$/gm),
    ([, name, version]) => [name, version]
  )
)

/** What is wrong with a line such as `npm install @sluice/core effect@3.22`. */
const faultsOf = (line) =>
  line.trim().split(/\s+/).slice(2).filter((name) => !/^(@sluice\/|-)/.test(name)).flatMap((spec) => {
    const [, name, version] = /^(@?[^@]+)@?(.*)$/.exec(spec)
    const expected = catalog.get(name)
    return expected === undefined || expected === version ? [] : [`${spec} is not ${name}@${expected}`]
  })

const installs = pages.flatMap((page) =>
  readFileSync(new URL(page, root), "utf8").split(/\r?\n/).flatMap((line, index) =>
    /^\s*(npm (install|i)|(pnpm|yarn|bun) add) \S/.test(line) ? [{ page, line, at: index + 1 }] : []
  )
)
const faults = installs.flatMap(({ at, line, page }) => faultsOf(line).map((fault) => `${page}:${at}: ${fault}`))
for (const fault of faults) console.error(fault)
console.log(
  `${installs.length} lines install packages: ${faults.length === 0 ? "each names its versions" : "not all name them"}`
)
if (installs.length === 0 || faults.length > 0) process.exit(1)

rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })

let count = 0
for (const page of [...pages, ...sources]) {
  const text = readFileSync(new URL(page, root), "utf8")
  for (const { line, source } of blocksOf(page.endsWith(".ts") ? docComments(text) : text)) {
    writeFileSync(new URL(`${page.replaceAll("/", "__")}.${line}.ts`, out), source)
    count++
  }
}
if (count === 0) throw new Error(`no TypeScript block in ${pages.join(", ")}`)

writeFileSync(
  new URL("tsconfig.json", out),
  JSON.stringify({
    extends: "../../../../tsconfig.base.json",
    compilerOptions: { composite: false, incremental: false, noEmit: true, types: ["node"] },
    include: ["*.ts"]
  })
)

const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc")
const { status } = spawnSync(process.execPath, [tsc, "-p", fileURLToPath(out)], { stdio: "inherit" })
console.log(`${count} TypeScript blocks of ${pages.length} pages: ${status === 0 ? "all compile" : "not all compile"}`)
if (status !== 0) process.exit(status ?? 1)

// The programs of README.md run as they stand, in a folder of their own. A server would run until it is ended.
const programs = readdirSync(out).filter((name) => name.startsWith("README.md.") && name.endsWith(".ts"))
  .map((name) => ({ name, source: readFileSync(new URL(name, out), "utf8") }))
  .filter(({ source }) => source.includes("Effect.runPromise("))
const folder = mkdtempSync(join(tmpdir(), "sluice-readme-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))

const failed = programs.filter(({ name, source }) => {
  const file = fileURLToPath(new URL(name.replace(/\.ts$/, ".mjs"), out))
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 }
  })
  writeFileSync(file, outputText)
  const { status, stderr } = spawnSync(process.execPath, [file], { cwd: folder, encoding: "utf8" })
  if (status !== 0) console.error(`${name}: exit ${status}\n${stderr}`)
  return status !== 0
})
console.log(`${programs.length} programs of README.md: ${failed.length === 0 ? "all run" : "not all run"}`)
process.exit(programs.length > 0 && failed.length === 0 ? 0 : 1)
