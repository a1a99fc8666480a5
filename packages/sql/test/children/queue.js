// Runs a durable queue on a file or a server, as it is told in JSON: it offers, handles, and says what it does. What it
// handles it notes in a file that outlives it, before anybody else can know of it.
import { BatchQueue } from "@sluice/core"
import { Cause, Duration, Effect, FiberId, Redacted, Schema, Stream } from "effect"
import * as fs from "node:fs"
import { PostgresStore, SqlBatchStore, SqliteStore } from "../../dist/index.js"
import { say } from "./say.js"

const {
  // What was offered before, by a process that was killed, and is offered again under its id.
  again = [],
  // When it is to kill itself: { at: "stored" | "handling" | "handled" | "closing", nth, millis }
  die,
  // Whether it ends when there is nothing left to handle.
  drain = false,
  filename,
  handleMillis = 0,
  noted,
  options,
  // The address of a database, in place of a file.
  postgres,
  // How many fibers offer, and what their items are called: { fibers, prefix }
  produce,
  // What it is called in what it notes.
  who
} = JSON.parse(process.argv[2])

const notes = fs.openSync(noted, "a")
const note = (what, ids) => fs.writeSync(notes, `${what} ${who} ${ids.join(",")}\n`)

let reached = 0
const dieAt = (moment) => {
  if (die?.at !== moment) return
  reached += 1
  if (reached === die.nth) process.kill(process.pid, "SIGKILL")
}

const tell = (line) => Effect.sync(() => say(line))

const breakForOthers = Effect.async((resume) => void setImmediate(() => resume(Effect.void)))

// Words from outside that handlers and producers wait for.
const words = new Set()
const listeners = new Set()
process.stdin.setEncoding("utf8").on("data", (text) => {
  for (const word of text.split("\n")) words.add(word)
  for (const look of listeners) look()
})
const heard = (word) =>
  Effect.async((resume) => {
    const look = () => {
      if (!words.has(word)) return
      listeners.delete(look)
      resume(Effect.void)
    }
    listeners.add(look)
    look()
    return Effect.sync(() => listeners.delete(look))
  })

// What an item is called tells what is done with it.
const has = (ids, word) => ids.some((id) => id.includes(word))

const handle = ({ items }) =>
  Effect.gen(function*() {
    note("begin", items)
    if (has(items, "poison")) process.kill(process.pid, "SIGKILL")
    yield* handleMillis > 0 ? Effect.sleep(handleMillis) : breakForOthers
    if (has(items, "long")) yield* Effect.sleep(3000)
    if (has(items, "held")) yield* heard("go")
    dieAt("handling")
    note("end", items)
    dieAt("handled")
    if (has(items, "freeze")) process.kill(process.pid, "SIGSTOP")
  })

const toldOf = (event) => {
  switch (event._tag) {
    case "LeaseWasLost":
      return tell(`lost ${event.claims.map(({ sequence }) => sequence).join(",")}`)
    case "DeadLettered":
      return tell(`dead ${event.sequence} ${event.reason}`)
    case "Released":
      return tell(`released ${event.claims.map(({ sequence }) => sequence).join(",")}`)
    default:
      return Effect.void
  }
}

const program = Effect.gen(function*() {
  const queue = yield* BatchQueue.make({
    name: "test",
    schema: Schema.String,
    pollInterval: 20,
    process: handle,
    metrics: false,
    onInternalError: (cause, operation) => tell(`error ${operation} ${Cause.squash(cause)?.reason}`),
    onProcessError: () => Effect.void,
    ...options
  })
  yield* Effect.forkScoped(Stream.runForEach(queue.events, toldOf))
  yield* breakForOthers
  say("open")

  const stored = (id) =>
    Effect.sync(() => {
      say(`stored ${id}`)
      dieAt("stored")
    })
  const begin = (...ids) => Effect.forEach(ids, (id) => tell(`offering ${id}`), { discard: true })
  const offerOnce = (id) => Effect.zipRight(queue.offerStored(id, { id }), stored(id))
  const kinds = [
    (id) => Effect.zipRight(begin(`${id}.once`), offerOnce(`${id}.once`)),
    (id) => Effect.all([begin(`${id}.plain`), queue.offerStored(`${id}.plain`), stored(`${id}.plain`)]),
    (id) => {
      const ids = [1, 2, 3, 4, 5].map((part) => `${id}.${part}.flushed`)
      return Effect.all([begin(...ids), queue.offerAll(ids), queue.flush, Effect.forEach(ids, stored)])
    }
  ]
  yield* Effect.forEach(again, offerOnce, { concurrency: "unbounded" })
  if (produce !== undefined) {
    let next = 0
    const offerOne = Effect.suspend(() => {
      const number = next++
      const pause = Effect.sleep(produce.pauseMillis ?? 2)
      return Effect.zipRight(kinds[number % kinds.length](`${produce.prefix}.${number}`), pause)
    })
    const producing = Effect.repeat(offerOne, { until: () => words.has("enough") })
    yield* Effect.all(Array.from({ length: produce.fibers }, () => producing), {
      concurrency: "unbounded",
      discard: true
    })
    say("produced")
  }
  const isLeft = Effect.map(queue.stats, ({ pending }) => pending.batches > 0)
  if (drain) yield* Effect.repeat(Effect.zipLeft(isLeft, Effect.sleep(10)), { while: (left) => left })
  else yield* Effect.never
}).pipe(
  Effect.scoped,
  Effect.provide(SqlBatchStore.layer()),
  Effect.provide(database())
)

// A lease has to outlast a wait for another process, three times over.
function database() {
  const waitMillis = Math.floor(Duration.toMillis(options?.leaseDuration ?? "30 seconds") / 3)
  return postgres === undefined
    ? SqliteStore.layer({ filename, busyTimeout: waitMillis })
    : PostgresStore.layer({
      url: Redacted.make(postgres),
      maxConnections: 4,
      acquireTimeout: Math.floor(waitMillis / 2),
      operationTimeout: Math.floor(waitMillis / 2)
    })
}

const fiber = Effect.runFork(program)
fiber.addObserver((exit) => {
  const isEnd = exit._tag === "Success" || Cause.isInterruptedOnly(exit.cause)
  if (!isEnd) console.error(Cause.pretty(exit.cause))
  say("closed")
  process.exit(isEnd ? 0 : 1)
})
process.on("SIGTERM", () => {
  say("closing")
  if (die?.at === "closing") setTimeout(() => process.kill(process.pid, "SIGKILL"), die.millis)
  fiber.unsafeInterruptAsFork(FiberId.none)
})
