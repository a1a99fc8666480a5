// What README.md, packages/*/README.md and docs/guides/*.md tell a reader to do: the lines that install something, and the
// TypeScript blocks with what becomes of them.
//
// A line with `-D` adds to the line before it: what is tested, and what tests it. A block that imports vitest is a test.
// A block that runs an Effect, or does something else at its top level, is a program, and one with `NodeRuntime.runMain` a
// server. A block that declares what it does not have (`declare const`) is a fragment, and so is any other: it compiles.
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { builtinModules } from "node:module"
import { join } from "node:path"
import ts from "typescript"

const list = (root, folder) => existsSync(join(root, folder)) ? readdirSync(join(root, folder)) : []

/** The pages, as paths from the root. */
export const pagesOf = (root) =>
  [
    "README.md",
    ...list(root, "packages").map((name) => `packages/${name}/README.md`),
    ...list(root, "docs/guides").filter((name) => name.endsWith(".md")).map((name) => `docs/guides/${name}`)
  ].filter((page) => existsSync(join(root, page)))

/** The TypeScript blocks of a page. Blank lines before each keep the line numbers of the page. */
export const blocksOf = (markdown) => {
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
const catalogOf = (root) =>
  new Map(
    Array.from(
      readFileSync(join(root, "pnpm-workspace.yaml"), "utf8").matchAll(/^  "?(@?[\w/-]+)"?: (\d+\.\d+)\.\S+$/gm),
      ([, name, version]) => [name, version]
    )
  )

/** The packages of a command such as `npm install @sluice/core effect@3.22`, or of several with `&&`. */
const packagesOf = (command) =>
  command.split(" && ").flatMap((line) => line.split(/\s+/).slice(2)).filter((word) => !word.startsWith("-"))
    .map((spec) => {
      const [, name, version] = /^(@?[^@]+)@?(.*)$/.exec(spec)
      return { spec, name, version }
    })

/** What is wrong with the versions of a line: npm's `latest` of Effect is another major, which does not load. */
const faultsOf = (line, catalog) =>
  packagesOf(line).filter(({ name }) => !name.startsWith("@sluice/")).flatMap(({ name, spec, version }) => {
    const expected = catalog.get(name)
    return expected === undefined || expected === version ? [] : [`${spec} is not ${name}@${expected}`]
  })

/** The packages that a block imports: `effect` for `effect/Schema`, and `@sluice/core` for `@sluice/core/testing`. */
const importsOf = (file) => [
  ...new Set(
    file.statements.filter((each) => ts.isImportDeclaration(each) || ts.isExportDeclaration(each))
      .flatMap(({ moduleSpecifier }) => moduleSpecifier === undefined ? [] : [moduleSpecifier.text])
      .map((id) => /^(@[^/]+\/)?[^/]+/.exec(id)[0])
      .filter((name) => !name.startsWith("node:") && !builtinModules.includes(name))
  )
]

const isDeclared = (statement) =>
  statement.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.DeclareKeyword) ?? false
const acts = (statement) => ts.isExpressionStatement(statement) || ts.isIterationStatement(statement, false)

/** What a page says that a program prints: `// Prints "writing 1", then "writing 2"`. */
const printsOf = (source) =>
  Array.from(source.matchAll(/\/\/ Prints (".*)/g)).flatMap(([, said]) =>
    Array.from(said.matchAll(/"([^"]+)"/g), ([, text]) => text)
  )

/** The first request of a page, as its `curl` says it, and the answer in the line below, if there is one. */
const requestOf = (text) => {
  const found = /curl localhost:3000(\S+) -H '([^:]+): ([^']+)' -d '([^']+)'(?:\n# (\d+) (.*))?/.exec(text)
  if (found === null) return undefined
  const [, path, header, value, body, status, answer] = found
  return { path, headers: { [header]: value }, body, status: Number(status ?? 202), answer }
}

const blockOf = (page, text, { line, source }) => {
  const file = ts.createSourceFile(`${page}.ts`, source, ts.ScriptTarget.Latest, true)
  const declares = file.statements.some(isDeclared)
  const serves = source.includes("NodeRuntime.runMain(")
  const imports = importsOf(file)
  const tests = imports.some((name) => name === "vitest" || name === "@effect/vitest")
  const kind = tests
    ? "test"
    : declares
    ? "fragment"
    : serves
    ? "server"
    : file.statements.some(acts)
    ? "program"
    : "fragment"
  const request = serves ? requestOf(text) : undefined
  const faults = []
  if (declares && /\b(Effect\.run\w+|NodeRuntime\.runMain)\(/.test(source)) faults.push("it runs what it only declares")
  if (serves && request === undefined) {
    faults.push("it is a server, and no `curl localhost:3000/...` on the page asks it")
  }
  return { page, line, source, kind, imports, prints: printsOf(source), request, faults }
}

/** How a page tells users of pnpm to write an `npm install` of it. */
const pnpmOf = (text) => /`(pnpm add[^`]*)` in place of `npm install`/.exec(text)?.[1] ?? "pnpm add"

/**
 * The lines that install something, each with the blocks that run on it: those of its page whose imports it installs, or
 * those of the page's first such line. `faults` is what is wrong.
 */
export const readPages = (root) => {
  const catalog = catalogOf(root)
  const faults = []
  const lines = []
  for (const page of pagesOf(root)) {
    const text = readFileSync(join(root, page), "utf8")
    const own = []
    for (const [index, said] of text.split(/\r?\n/).entries()) {
      if (!/^\s*npm (install|i) \S/.test(said)) continue
      const command = said.trim()
      const pnpm = command.replace(/^npm \S+/, pnpmOf(text))
      const before = own.at(-1)
      if (before !== undefined && / (-D|--save-dev) /.test(command)) {
        before.command += ` && ${command}`
        before.pnpm += ` && ${pnpm}`
      } else own.push({ page, line: index + 1, command, pnpm, blocks: [] })
    }
    for (const { command, line } of own) {
      for (const fault of faultsOf(command, catalog)) faults.push(`${page}:${line}: ${fault}`)
    }
    for (const block of blocksOf(text).map((block) => blockOf(page, text, block))) {
      for (const fault of block.faults) faults.push(`${page}:${block.line}: ${fault}`)
      const missing = own.map(({ command }) => {
        const installed = packagesOf(command).map(({ name }) => name)
        return block.imports.filter((name) => !installed.includes(name))
      })
      const at = missing.findIndex((names) => names.length === 0)
      if (at >= 0) own[at].blocks.push(block)
      else {
        const [least = block.imports] = missing.toSorted((a, b) => a.length - b.length)
        faults.push(`${page}:${block.line}: no line of the page installs ${least.join(", ")}`)
      }
    }
    lines.push(...own)
  }
  if (lines.length === 0) faults.push("no page installs anything")
  return { lines, faults }
}
