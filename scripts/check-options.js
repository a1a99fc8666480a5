// Compares the tables of options, as built, with the interfaces that document them, and with the docs.
//
// The doc comment of each option must end with its default as the table has it. A guide has a table of options between
// `<!-- options: WriteBehind -->` and `<!-- end of options -->`, or of some of them: `<!-- options: BatchQueue retry -->`.
// `--write` brings those up to date.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import ts from "typescript"

const root = process.cwd()
const isWriting = process.argv.includes("--write")

/** Where the options of each system are: the file of its table, its interfaces, and those of objects within it. */
const systems = {
  WriteBehind: { file: "core/internal/writeBehind/options", within: { batchBytes: "BatchBytes" } },
  BatchQueue: {
    file: "core/internal/batchQueue/options",
    within: { flush: "Flush", limits: { file: "core/Codec", name: "Limits" } }
  },
  KeyedBatch: { file: "core/internal/keyedBatch/options", interfaces: ["CommonOptions", "Loading", "Initial"] },
  ShardPool: { file: "core/internal/shardPool/options" },
  WriteCoordinator: { file: "sql/internal/coordinator/options" },
  SqliteStore: { file: "sql/internal/sqlite/options" },
  SqlTransaction: { file: "sql/internal/server/options" },
  PostgresStore: {
    file: "sql/internal/postgres/options",
    interfaces: [{ file: "sql/internal/server/options", name: "Options" }, "Options"]
  },
  SqlBatchStore: { file: "sql/internal/store/options" },
  HttpQueues: { file: "http/internal/queuesOptions" },
  GracefulServer: { file: "http/internal/serverOptions", within: { cors: "Cors" } }
}

const problems = []

// --- the interfaces ---------------------------------------------------------------------------------------------------

const sources = new Map()

const sourceOf = (file) => {
  const path = file.replace("/", "/src/")
  if (!sources.has(file)) {
    const text = readFileSync(join(root, `packages/${path}.ts`), "utf8")
    sources.set(file, ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true))
  }
  return sources.get(file)
}

/** The first paragraphs of a doc comment, as one line each. */
const docOf = (member) => {
  const [doc] = ts.getJSDocCommentsAndTags(member)
  const text = doc === undefined ? "" : ts.getTextOfJSDocComment(doc.comment) ?? ""
  return text.split(/\n\s*\n/).map((paragraph) => paragraph.replaceAll(/\s+/g, " ").trim())
}

const isNever = ({ type }) => type?.kind === ts.SyntaxKind.UndefinedKeyword

/** The options of an interface: their docs, and whether they may be left out. */
const membersOf = (file, name) => {
  const source = sourceOf(file)
  const found = source.statements.find((each) => ts.isInterfaceDeclaration(each) && each.name.text === name)
  if (found === undefined) throw new Error(`${file} has no interface ${name}`)
  return found.members.filter((member) => !isNever(member)).map((member) => ({
    name: member.name.getText(source),
    isOptional: member.questionToken !== undefined,
    doc: docOf(member)
  }))
}

// --- the tables -------------------------------------------------------------------------------------------------------

const read = async ({ file, interfaces: [common, ...others] = ["Options"], within = {} }) => {
  const { table } = await import(pathToFileURL(join(root, `packages/${file.replace("/", "/dist/")}.js`)))
  const membersIn = (where) => typeof where === "string" ? membersOf(file, where) : membersOf(where.file, where.name)
  const parts = [membersIn(common), ...others.map((where) => mayBeAbsent(membersIn(where)))]
  return rowsOf(file, "", table, parts, within)
}

const mayBeAbsent = (members) => members.map((member) => ({ ...member, isOptional: true }))

/** Compares a table with its interfaces, and answers what the docs say of each option. */
const rowsOf = (file, prefix, table, parts, within = {}) => {
  const complain = (name, problem) =>
    problems.push(`packages/${file.replace("/", "/src/")}.ts: ${prefix}${name} ${problem}`)
  const names = Object.keys(table)
  const byName = new Map(parts.flat().map((member) => [member.name, member]))
  for (const name of byName.keys()) {
    if (!names.includes(name)) complain(name, "is in the interface, and not in the table")
  }
  for (const part of parts) {
    const places = part.map(({ name }) => names.indexOf(name))
    const wrong = part.find((_, index) => index > 0 && places[index] < places[index - 1])
    if (wrong !== undefined) complain(wrong.name, "has another place in the table than in the interface")
  }
  return Object.entries(table).flatMap(([name, entry]) => {
    const member = byName.get(name)
    if (member === undefined) {
      complain(name, "is in the table, and not in the interface")
      return []
    }
    const { doc, isOptional } = member
    const said = doc.join(" ")
    const written = entry.default === undefined ? undefined : ` Default: ${entry.default}.`
    if (said === "") complain(name, "has no doc comment")
    else if (written === undefined && said.includes("Default:")) {
      complain(name, "has a default in its doc comment alone")
    } else if (written !== undefined && !said.endsWith(written)) complain(name, `must end with "${written.trim()}"`)
    if (said.split("Default:").length > 2) complain(name, "has two defaults in its doc comment")
    if (isOptional !== (entry.default !== undefined)) {
      complain(name, isOptional ? "may be left out, and has no default" : "must be given, and has a default")
    }
    const row = [
      `\`${prefix}${name}\``,
      entry.kind,
      entry.default ?? "required",
      entry.limit ?? "",
      /^.*?\.(?= |$)/.exec(said)?.[0] ?? said
    ]
    if (entry.fields === undefined) return [row]
    const inner = within[name]
    if (inner === undefined) throw new Error(`${file}: where is the interface of ${name}?`)
    const { file: innerFile, name: innerName } = typeof inner === "string" ? { file, name: inner } : inner
    const fields = membersOf(innerFile, innerName)
    // What stands elsewhere is complete there, and in part here.
    const part = innerFile === file ? fields : mayBeAbsent(fields)
    return [row, ...rowsOf(innerFile, `${prefix}${name}.`, entry.fields, [part])]
  })
}

// --- the docs ---------------------------------------------------------------------------------------------------------

const heads = ["option", "type", "default", "limit", "what it does"]

/** A table as dprint has it, without columns that are empty. */
const markdown = (rows) => {
  const all = [heads, ...rows.map((row) => row.map((cell) => cell.replaceAll("|", "\\|")))]
  const columns = heads.flatMap((_, column) =>
    rows.some((row) => row[column] !== "") ? [all.map((row) => row[column])] : []
  )
  const padded = columns.map((cells) => {
    const width = Math.max(3, ...cells.map((cell) => cell.length))
    const [head, ...body] = cells.map((cell) => cell.padEnd(width))
    return [head, "-".repeat(width), ...body]
  })
  return padded[0].map((_, line) => `| ${padded.map((cells) => cells[line]).join(" | ")} |`).join("\n")
}

const marked = /<!-- options: (\w+)((?: \w+)*) -->\n[\s\S]*?<!-- end of options -->/g

const pages = ["docs/guides", "docs"].flatMap((folder) =>
  existsSync(join(root, folder))
    ? readdirSync(join(root, folder)).filter((name) => name.endsWith(".md")).map((name) => `${folder}/${name}`)
    : []
)

const rows = new Map()
for (const [name, system] of Object.entries(systems)) rows.set(name, await read(system))

/** What some page tells of. */
const shown = new Set()
for (const page of pages) {
  const text = readFileSync(join(root, page), "utf8")
  const next = text.replaceAll(marked, (found, name, list) => {
    const fields = list.split(" ").filter((field) => field !== "")
    const all = rows.get(name)
    if (all === undefined) {
      problems.push(`${page}: there is no table of options of ${name}`)
      return found
    }
    for (const field of fields.filter((field) => !all.some(([option]) => option === `\`${field}\``))) {
      problems.push(`${page}: ${name} has no option ${field}`)
    }
    const isMeant = (option) => fields.some((field) => option === `\`${field}\`` || option.startsWith(`\`${field}.`))
    const some = fields.length === 0 ? all : all.filter(([option]) => isMeant(option))
    for (const [option] of some) shown.add(`${name} ${option}`)
    return `<!-- options: ${name}${list} -->\n\n${markdown(some)}\n\n<!-- end of options -->`
  })
  if (next === text) continue
  if (isWriting) writeFileSync(join(root, page), next)
  else problems.push(`${page}: its table of options is not up to date: npm run docs:options`)
}
for (const [name, options] of rows) {
  for (const [option] of options.filter(([option]) => !shown.has(`${name} ${option}`))) {
    problems.push(`docs: no page has ${option} of ${name} in a table of options`)
  }
}

for (const problem of problems) console.error(problem)
const count = Array.from(rows.values(), ({ length }) => length).reduce((sum, length) => sum + length, 0)
console.log(
  `${count} options of ${rows.size} systems: ${
    problems.length === 0 ? "all as documented" : `${problems.length} problems`
  }`
)
process.exit(problems.length === 0 ? 0 : 1)
