// Compiles the TypeScript blocks of README.md, packages/*/README.md, docs/guides/*.md and of the doc comments in
// packages/*/src against the packages as built, and looks at what the pages say of installs (see pages.js). It needs no
// network: `check-install.js` does what the pages say.
//
// Each block becomes one module of packages/examples/build/readme, because that package depends on all that a reader
// would install. Blank lines before it keep the line numbers of the Markdown file.
import { spawnSync } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import { published } from "./pack.js"
import { blocksOf, pagesOf, readPages } from "./pages.js"

const root = new URL("../", import.meta.url)
const out = new URL("packages/examples/build/readme/", root)

const { faults } = readPages(fileURLToPath(root))
for (const fault of faults) console.error(fault)
if (faults.length > 0) process.exit(1)

const pages = pagesOf(fileURLToPath(root))
const sources = published.flatMap((name) =>
  readdirSync(new URL(`packages/${name}/src/`, root), { recursive: true })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => `packages/${name}/src/${file.replaceAll("\\", "/")}`)
)

// The lines of doc comments, without their asterisks; all other lines are blank, so that line numbers stay.
const docComments = (source) => source.split(/\r?\n/).map((line) => /^\s*\* ?(.*)$/.exec(line)?.[1] ?? "").join("\n")

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
process.exitCode = status ?? 1
