// Looks at everything that a public declaration shows, and at what that shows in turn: it is made of our own types, and
// of those of Effect that stay what they are from one major to the next. Run after `npm run build`.
//
// Shown here what breaks it in packages/core/test/declaration-rule.test.ts.
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs"
import { join, relative, sep } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const root = realpathSync(process.argv[2] ?? fileURLToPath(new URL("../", import.meta.url)))
const posix = (path) => path.replaceAll(sep, "/")

/** What no public declaration shows: modules of Effect. */
const hidden = /\/node_modules\/effect\/dist\/dts\/(Chunk|Either)\.d\.ts$/

/** The declarations of a package that its `exports` open. */
const publicFiles = (folder) => {
  const { exports } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
  const closed = Object.keys(exports).filter((key) => exports[key] === null)
    .map((key) => key.replace("./", "").replace("*", ""))
  return readdirSync(join(folder, "dist"), { recursive: true }).map(posix)
    .filter((file) => file.endsWith(".d.ts") && !closed.some((path) => file.startsWith(path)))
    .map((file) => join(folder, "dist", file))
}

const folders = ["core", "http", "sql"].map((name) => join(root, "packages", name)).filter((folder) =>
  existsSync(folder)
)
const files = folders.flatMap(publicFiles)
if (files.length === 0) throw new Error("there are no declarations: run `npm run build`")

const program = ts.createProgram(files, {
  target: ts.ScriptTarget.ES2022,
  lib: ["lib.es2022.d.ts"],
  types: [],
  strict: true,
  skipLibCheck: true,
  noEmit: true,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext
})
const checker = program.getTypeChecker()

const isOurs = (file) => folders.some((folder) => file.startsWith(posix(join(folder, "dist")) + "/"))
const target = (symbol) => symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol

const found = new Set()
const seen = new Set()
const pending = files.flatMap((file) => {
  const module = checker.getSymbolAtLocation(program.getSourceFile(file))
  return module === undefined ? [] : checker.getExportsOfModule(module)
})

/** Where a symbol is declared, and what is said of one that is hidden. */
const fileOf = (symbol) => symbol.declarations?.[0]?.getSourceFile().fileName ?? ""
const nameOf = (symbol) => `${symbol.name} of effect/${hidden.exec(fileOf(target(symbol)))[1]}`

const look = (node) => {
  const symbol = ts.isIdentifier(node) ? checker.getSymbolAtLocation(node) : undefined
  if (symbol !== undefined) {
    const file = fileOf(target(symbol))
    if (isOurs(file)) pending.push(target(symbol))
    else if (hidden.test(file)) {
      const source = node.getSourceFile()
      const { line } = source.getLineAndCharacterOfPosition(node.getStart())
      found.add(`${posix(relative(root, source.fileName))}:${line + 1}: ${nameOf(symbol)}`)
    }
  }
  ts.forEachChild(node, look)
}

while (pending.length > 0) {
  const symbol = target(pending.pop())
  if (seen.has(symbol)) continue
  seen.add(symbol)
  for (const declaration of symbol.declarations ?? []) {
    // The exports of a module that is shown as a whole are those of its file.
    if (isOurs(declaration.getSourceFile().fileName)) look(declaration)
  }
  if (hidden.test(fileOf(symbol))) found.add(`${nameOf(symbol)} is exported`)
}

console.log(`${files.length} public modules, ${seen.size} declarations`)
for (const line of found) console.log(line)
process.exitCode = found.size === 0 ? 0 : 1
