// Compiles a user's project (scripts/consumer) against the packages as they would be published: strictly, without
// skipping their declarations, in every combination of how modules are found and `exactOptionalPropertyTypes`.
//
// The packages are packed and unpacked, and what they depend on is linked from the workspace. Errors in the declarations
// of others are passed over, and said.
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, relative, sep } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"
import { packAll, published, run } from "./pack.js"

const root = fileURLToPath(new URL("../", import.meta.url))
const project = realpathSync(mkdtempSync(join(tmpdir(), "sluice-consumer-")))
const modules = join(project, "node_modules")
process.on("exit", () => rmSync(project, { recursive: true, force: true }))

const link = (name, from) => {
  const to = join(modules, name)
  mkdirSync(dirname(to), { recursive: true })
  rmSync(to, { force: true })
  symlinkSync(realpathSync(join(from, "node_modules", name)), to)
}

const tarballs = await packAll(join(project, "tarballs"))

const installed = async (name) => {
  const folder = join(root, "packages", name)
  const to = join(modules, "@sluice", name)
  mkdirSync(to, { recursive: true })
  await run(["tar", "-xzf", tarballs[`@sluice/${name}`], "-C", to, "--strip-components=1"])
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(to, "package.json"), "utf8"))
  for (const other of Object.keys({ ...dependencies, ...peerDependencies })) {
    if (!other.startsWith("@sluice/")) link(other, folder)
  }
  return to
}

/** Whether a file of a package's src is a module that users can import. */
const isPublic = (file) => file.endsWith(".ts") && !/(^|\/)internal\/|^testing\/laws\//.test(file)

const packages = await Promise.all(published.map(installed))

const publicModules = published.flatMap((name, at) =>
  readdirSync(join(packages[at], "src"), { recursive: true })
    .map((file) => file.replaceAll(sep, "/"))
    .filter(isPublic)
    .map((file) => ({ name, file, source: join(packages[at], "src", file) }))
)

// The app alone would not load what it does not use.
const imports = publicModules.map(({ file, name }) => {
  const path = file.replace(/(^|\/)index\.ts$/, "").replace(/\.ts$/, "")
  return `import * as _ from "${["@sluice", name, path].filter(Boolean).join("/")}"`
})
writeFileSync(join(project, "package.json"), JSON.stringify({ type: "module" }))
writeFileSync(
  join(project, "everything.ts"),
  imports.map((line, at) => `${line.replace("_", `m${at}`)}\nexport type T${at} = typeof m${at}\n`).join("")
)
cpSync(join(root, "scripts/consumer"), project, { recursive: true })
const files = readdirSync(project).filter((file) => file.endsWith(".ts")).map((file) => join(project, file))

const isOurs = (file) => file === undefined || file.fileName.startsWith(project + sep)

/** The package of a file that is not ours. */
const ownerOf = ({ fileName }) =>
  /.*node_modules[\\/]((?:@[^\\/]+[\\/])?[^\\/]+)/.exec(fileName)?.[1] ?? relative(root, fileName)

/** What a public declaration shows and should not: a mark of `stripInternal`, or a class that is internal. */
const shownInternals = (program) => {
  const checker = program.getTypeChecker()
  const found = []
  for (const file of program.getSourceFiles()) {
    const path = packages.map((folder) => relative(join(folder, "dist"), file.fileName).replaceAll(sep, "/"))
      .find((path) => !path.startsWith(".."))
    if (path === undefined) continue
    const where = file.fileName.slice(modules.length + 1)
    if (file.text.includes("@internal")) found.push(`${where}: @internal`)
    if (!isPublic(path) || path.startsWith("unstable/")) continue
    for (const { importClause, moduleSpecifier } of file.statements.filter(ts.isImportDeclaration)) {
      if (!moduleSpecifier.text.includes("/internal/")) continue
      const bindings = importClause?.namedBindings
      const classes = bindings === undefined || ts.isNamespaceImport(bindings)
        ? [moduleSpecifier.text]
        : bindings.elements.map(({ name }) => checker.getAliasedSymbol(checker.getSymbolAtLocation(name)))
          .filter(({ flags }) => flags & ts.SymbolFlags.Class).map(({ name }) => name)
      for (const name of classes) found.push(`${where}: ${name} is internal`)
    }
  }
  return found
}

/** Interfaces with a member that is marked as internal. It is stripped, so a double would compile, and not do. */
const halfPublic = publicModules.flatMap(({ file, name, source }) =>
  ts.createSourceFile(file, readFileSync(source, "utf8"), ts.ScriptTarget.Latest, true).statements
    .filter(ts.isInterfaceDeclaration)
    .flatMap(({ members, name: { text } }) =>
      members.filter((member) => member.getFullText().includes("@internal"))
        .map((member) => `@sluice/${name}/${file}: ${text}.${member.name?.getText()} is internal`)
    )
)

const host = {
  getCanonicalFileName: (file) => file,
  getCurrentDirectory: () => project,
  getNewLine: () => "\n"
}

const compile = (way, exactOptionalPropertyTypes) => {
  const program = ts.createProgram(files, {
    target: ts.ScriptTarget.ES2022,
    // The declarations of Effect name `URL`, `AbortSignal` and `ReadableStream`.
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts"],
    types: [],
    strict: true,
    skipLibCheck: false,
    exactOptionalPropertyTypes,
    declaration: true,
    noEmit: true,
    ...way === "NodeNext"
      ? { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext }
      : { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler }
  })
  const diagnostics = ts.getPreEmitDiagnostics(program)
  const ours = diagnostics.filter(({ file }) => isOurs(file))
  const passedOver = new Map()
  for (const { file } of diagnostics) {
    if (!isOurs(file)) passedOver.set(ownerOf(file), (passedOver.get(ownerOf(file)) ?? 0) + 1)
  }
  const shown = shownInternals(program)
  const title = `${way}, exactOptionalPropertyTypes ${exactOptionalPropertyTypes ? "on" : "off"}`
  console.log(`${title}: ${ours.length + shown.length === 0 ? "compiles" : "does not compile"}`)
  for (const [owner, count] of passedOver) console.log(`  passed over: ${count} in ${owner}`)
  if (ours.length > 0) console.log(ts.formatDiagnostics(ours, host))
  for (const line of shown) console.log(`  ${line}`)
  return ours.length + shown.length
}

for (const line of halfPublic) console.log(line)

let errors = halfPublic.length
for (const way of ["NodeNext", "Bundler"]) {
  for (const exact of [true, false]) errors += compile(way, exact)
}
process.exitCode = errors === 0 ? 0 : 1
