// Runs every example the way a user would, and ends with 1 where one does not end as it should.
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const directory = mkdtempSync(join(tmpdir(), "sluice-run-all-"))

const writeLines = (name, lines) => {
  const file = join(directory, name)
  writeFileSync(file, `${lines.join("\n")}\n`)
  return file
}

const bundled = new URL("../data/flights-20k.json", import.meta.resolve("vega-datasets"))
const lines = JSON.parse(readFileSync(bundled, "utf8")).slice(0, 3_000).map((flight) => JSON.stringify(flight))
const flights = writeLines("flights.ndjson", lines)
const malformed = writeLines("malformed.ndjson", [...lines.slice(0, 99), "{", ...lines.slice(100)])

/** What is wrong with a result of the flights example; undefined where it is as it should be. */
const wrongWith = (stdout, expected) => {
  const { check, coordinator, flights, queues } = JSON.parse(stdout)
  if (!check.holds) return `the check does not hold: ${JSON.stringify(check)}`
  if (flights !== expected) return `${flights} flights, not ${expected}`
  const { routes, ...others } = queues
  for (const [name, { coalesced, dropped, held, offered, refused, settled }] of Object.entries(others)) {
    if (offered !== flights || offered !== refused + coalesced + dropped + settled + held) {
      return `the counts of ${name} do not add up`
    }
  }
  if (routes.pending.batches !== 0 || routes.kill.batchesInFlight === 0 || routes.restarts !== 1) {
    return `the routes were not all counted, or by a process that was not killed: ${JSON.stringify(routes)}`
  }
  if (routes.deliveries !== routes.storedBatches + routes.kill.batchesCountedTwice) return "wrong number of deliveries"
  const { cancelled, failed, held, offered, refused, settled, succeeded } = coordinator
  if (
    succeeded === 0 || offered !== refused + cancelled + settled + held || settled !== succeeded + failed
  ) {
    return "the counts of the coordinator do not add up"
  }
}

/** What is wrong with a result of the visits example: without the coordinator a commit a write, with it few. */
const wrongWithVisits = ({ stdout }) => {
  const commits = [...stdout.matchAll(/^(?:plain|with a coordinator) +(\d+) commits /gm)].map(([, count]) =>
    Number(count)
  )
  const [plain, coordinated] = commits
  if (commits.length !== 2 || plain !== 291 || coordinated > 30) {
    return `wrong numbers of commits: ${commits.join(", ")}`
  }
  const announced = stdout.match(/^announced: visits /gm) ?? []
  if (announced.length !== 3) return `${announced.length} writes were announced`
  if (!stdout.endsWith("It adds up.\n")) return "it does not add up"
}

/** What is wrong with a result of the accounts example: hundreds of transfers a load, and no money made or lost. */
const wrongWithAccounts = ({ stdout }) => {
  const [requests, loads, saves, before, after] = ["requests", "loads", "saves", "total before", "total after"]
    .map((name) => Number(new RegExp(`^${name} +(\\d+)`, "m").exec(stdout)?.[1]))
  if (requests !== 1_000) return `${requests} requests`
  if (!(loads > 0 && loads <= 5 && saves > 0 && saves <= 5)) return `${loads} loads and ${saves} saves`
  if (before !== 8_000 || after !== before) return `the total was ${before} and is ${after}`
  if (!stdout.endsWith("It adds up.\n")) return "it does not add up"
}

/** What is wrong with a result of the order-book example: every command of both processes has become of something. */
const wrongWithOrderBook = ({ stdout }) => {
  const rows = [...stdout.matchAll(/^(?:first|second) +(\d+) +(\d+) +(\d+) +(\d+)/gm)].map(([, ...cells]) =>
    cells.map(Number)
  )
  if (rows.length !== 2) return `${rows.length} processes`
  if (rows.some(([commands, events, rejected]) => commands !== events + rejected)) return "a command is missing"
  if (rows.every(([, , , conflicts]) => conflicts === 0)) return "there was no conflict"
  const versions = [...stdout.matchAll(/ 1\.\.(\d+) /g)].reduce((sum, [, last]) => sum + Number(last), 0)
  const events = rows.reduce((sum, [, count]) => sum + count, 0)
  if (versions !== events) return `${versions} versions, but ${events} events`
  if (!stdout.endsWith("It adds up.\n")) return "it does not add up"
}

const isMistake = ({ stderr, stdout }) =>
  stdout === "" && /^flights: [^\n]+\n$/.test(stderr) ? undefined : "more than one line, or something on stdout"

const mistake = (...args) => ({ program: "flights", args, code: 2, wrong: isMistake })

const runs = [
  {
    program: "flights",
    args: ["--json"],
    wrong: ({ stdout }) => {
      const { retries, settled } = JSON.parse(stdout).queues.flights
      if (retries === 0) return "no flush was tried again"
      if (settled !== 20_000) return `${settled} flights were written`
      return wrongWith(stdout, 20_000)
    }
  },
  ...["suspend", "reject", "dropNewest", "dropOldest", "coalesceByKey"].map((policy) => ({
    program: "flights",
    args: ["--json", "--policy", policy, "--file", flights, "--sink-delay", "3", "--db", join(directory, "run.sqlite")],
    wrong: ({ stdout }) => wrongWith(stdout, lines.length)
  })),
  {
    program: "flights",
    args: ["--json", "--speed", "1000000", "--file", flights],
    wrong: ({ stdout }) => wrongWith(stdout, lines.length)
  },
  { program: "flights", args: ["--help"], wrong: ({ stdout }) => stdout.includes("--policy") ? undefined : "no help" },
  mistake("--file", malformed, "--json"),
  mistake("--file", join(directory, "nowhere.ndjson")),
  mistake("--policy", "hope"),
  mistake("--rate", "1", "--speed", "1"),
  mistake("--db", join(directory, "nowhere", "flights.sqlite")),
  mistake("--db", flights, "--file", flights),
  { program: "policies", args: [], wrong: ({ stdout }) => stdout.includes("most severe") ? undefined : "no result" },
  { program: "visits", args: [], wrong: wrongWithVisits },
  { program: "accounts", args: [], wrong: wrongWithAccounts },
  { program: "order-book", args: [], wrong: wrongWithOrderBook }
]

const run = ({ args, code = 0, program, wrong }) => {
  const path = fileURLToPath(new URL(`../dist/${program}/main.js`, import.meta.url))
  const ended = spawnSync(process.execPath, [path, ...args], { encoding: "utf8", timeout: 60_000 })
  if (ended.status !== code) return `ended with ${ended.status ?? ended.signal}, not ${code}\n${ended.stderr}`
  return wrong(ended)
}

let failed = false
try {
  for (const example of runs) {
    const startedAt = performance.now()
    const problem = run(example)
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
    const title = [example.program, ...example.args].join(" ").replaceAll(`${directory}/`, "")
    console.log(`${problem === undefined ? "ok   " : "WRONG"} ${title} (${seconds} s)`)
    if (problem !== undefined) console.error(problem)
    failed ||= problem !== undefined
  }
} finally {
  rmSync(directory, { recursive: true, force: true })
}
process.exitCode = failed ? 1 : 0
