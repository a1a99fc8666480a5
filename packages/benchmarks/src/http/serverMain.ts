/** A program that is a server: `serverMain.js <kind> <directory>`. */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { join } from "node:path"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import type { Running } from "./listening.ts"
import { answerWith } from "./processes.ts"
import type { Answers, Kind, Question } from "./server.ts"

const [, , kind, directory] = process.argv as [string, string, Kind, string]

/** Loads no more than it needs. */
const open = async (): Promise<Effect.Effect<Running, never, Scope.Scope>> => {
  switch (kind) {
    case "stored":
      return (await import("./stored.ts")).stored(join(directory, "http.db"))
    case "plain":
    case "api":
    case "overloaded":
      return (await import("./sluice.ts"))[kind]
    default:
      return (await import("./limits.ts"))[kind]
  }
}

const scope = Effect.runSync(Scope.make())
// Asked at once, a process that is just being started answers later.
const starting = open().then((running) => Effect.runPromise(Scope.extend(running, scope)))

const liveBytes = (): number => {
  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc") as () => void
  collect()
  collect()
  return process.memoryUsage().heapUsed
}

const answerOf = async (question: Question): Promise<Answers[Question]> => {
  const { books, settle, url } = await starting
  switch (question) {
    case "url":
      return url
    case "settled":
      return Effect.runPromise(Effect.zipRight(settle, books))
    case "books":
      return Effect.runPromise(books)
    case "cpu": {
      const { system, user } = process.cpuUsage()
      return (system + user) * 1_000
    }
    case "memory": {
      const { heapUsed, rss } = process.memoryUsage()
      return { heapUsed, rss }
    }
    case "live":
      return liveBytes()
  }
}

answerWith(answerOf)
