import { SqliteStore, SqlTransaction } from "@sluice/sql"
import { Effect } from "effect"
import { mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { flightLines, run, temporaryDirectory, writeLines } from "./support/flights.ts"

const directory = temporaryDirectory()
const lines = flightLines(300)
const good = writeLines(directory, "good.ndjson", lines)

const withLine = (name: string, number: number, line: string): string =>
  writeLines(directory, name, lines.map((other, index) => index === number - 1 ? line : other))

const noJson = withLine("no-json.ndjson", 250, "{\"date\":")
const wrongType = withLine("wrong-type.ndjson", 7, lines[6].replace(/"delay":-?\d+/, "\"delay\":\"late\""))
const noDate = withLine("no-date.ndjson", 300, lines[299].replace(/"date":"[^"]+"/, "\"date\":\"2001/02/30 10:00\""))
const notDatabase = writeLines(directory, "not-a.sqlite", ["This is no database.".repeat(100)])
mkdirSync(join(directory, "folder"))

const mistakes: ReadonlyArray<readonly [string, ReadonlyArray<string>, RegExp]> = [
  ["a line that is no JSON", ["--file", noJson], /no-json\.ndjson:250: /],
  ["a field of a wrong type", ["--file", wrongType], /wrong-type\.ndjson:7: delay: /],
  ["a date that does not exist", ["--file", noDate], /no-date\.ndjson:300: date: /],
  ["a malformed line, with --json", ["--json", "--file", wrongType], /wrong-type\.ndjson:7: delay: /],
  [
    "a file that does not exist",
    ["--file", join(directory, "nowhere.ndjson")],
    /nowhere\.ndjson: there is no such file/
  ],
  ["a directory for a file", ["--file", join(directory, "folder")], /folder: must be a regular file/],
  ["a policy that does not exist", ["--policy", "hope"], /--policy must be one of suspend, /],
  ["an option that does not exist", ["--polcy", "suspend"], /--polcy/],
  [
    "a database in no directory",
    ["--file", good, "--db", join(directory, "nowhere", "x.sqlite")],
    /database .*x\.sqlite: its directory does not exist/
  ],
  ["a database that is none", ["--file", good, "--db", notDatabase], /not-a\.sqlite: the file is not a database/],
  [
    "a directory for a database",
    ["--file", good, "--db", join(directory, "folder")],
    /database .*folder: it cannot be opened: it must be a file/
  ],
  [
    "a database whose name SQLite would not take as it is",
    ["--file", good, "--db", join(directory, "what?.sqlite")],
    /database .*what\?\.sqlite: it must be a path without "\?"/
  ]
]

describe("a mistake of the user", () => {
  it.concurrent.each(mistakes)(
    "%s is told in one line: exit code 2, and nothing on stdout",
    async (_, args, message) => {
      const { code, stderr: said, stdout } = await run(...args)
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
      // On a machine that is busy it takes more than a second, and a line of progress comes before.
      const stderr = said.replaceAll(/^\d+ % read; .*\n/gm, "")
      expect(stderr).toMatch(message)
      expect(stderr).toMatch(/^flights: [^\n]+\n$/)
      expect(stderr).not.toContain("    at ")
    }
  )

  it.concurrent("a database that another program is writing to is waited for, and then told in one line", async () => {
    const db = join(directory, "locked.sqlite")
    const { code, stderr, stdout } = await Effect.runPromise(
      SqlTransaction.withTransaction(Effect.promise(() => run("--file", good, "--db", db))).pipe(
        Effect.provide(SqliteStore.layer({ filename: db }))
      )
    )
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(stderr).toMatch(/^flights: database [^\n]*locked\.sqlite: another program is writing to it, [^\n]+\n$/)
  })

  it("leaves a file that is no database as it was", async () => {
    const before = readFileSync(notDatabase)
    await run("--file", good, "--db", notDatabase)
    expect(readFileSync(notDatabase).equals(before)).toBe(true)
  })
})

describe("--help", () => {
  it("names every option: exit code 0", async () => {
    const { code, stderr, stdout } = await run("--help")
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    for (const option of ["policy", "rate", "speed", "seed", "sink-delay", "file", "db", "json"]) {
      expect(stdout).toContain(`--${option}`)
    }
  })
})
