/** A program that puts load on servers, as it is told. */
import autocannon from "autocannon"
import { quantile } from "../statistics.ts"
import type { Load, Outcome } from "./load.ts"
import { answerWith } from "./processes.ts"

/** How often autocannon looks whether it has ended. */
const lookEveryMillis = 20

/** It cuts all connections at its own end: that is left to come after ours. */
const longestSeconds = 3_600

/** What is not in the types: how many requests a connection makes, of which it looks after each answer. */
interface Connection {
  reqsMade: number
  responseMax: number | undefined
}

const generate = async ({ body, connections, contentType, until, url }: Load): Promise<Outcome> => {
  const answers: Record<string, number> = {}
  const bodies: Record<string, string> = {}
  const latencies: Array<number> = []
  const clients: Array<Connection> = []
  /** Those that have had an answer: their next request does not have to wait for a connection. */
  const opened = new Set<unknown>()
  let answered = 0
  let countedFrom = 0
  let countedTo = 0
  const options: autocannon.Options = {
    url,
    method: "POST",
    headers: { "content-type": contentType },
    connections,
    pipelining: 1,
    sampleInt: lookEveryMillis,
    duration: longestSeconds,
    ..."requests" in until && { amount: until.requests },
    setupClient: (client) => void clients.push(client as unknown as Connection),
    requests: [{
      body,
      onResponse: (status, answer) => {
        bodies[status] = answer
      }
    }]
  }
  const ended = new Promise<autocannon.Result>((resolve, reject) => {
    const instance = autocannon(options, (error, result) => error ? reject(error as Error) : resolve(result))
    instance.on("response", (client, status, _bytes, millis) => {
      answered += 1
      if (opened.has(client)) latencies.push(millis * 1e6)
      else opened.add(client)
      answers[status] = (answers[status] ?? 0) + 1
      if (answered < connections) return
      const now = performance.now()
      if (answered === connections) {
        countedFrom = now
        return
      }
      countedTo = now
    })
  })
  // Nobody is cut off: a request that is under way may have been accepted.
  const last = "seconds" in until && setTimeout(() => {
    for (const client of clients) client.responseMax = client.reqsMade
  }, until.seconds * 1_000)
  const { errors } = await ended
  if (last !== false) clearTimeout(last)
  return {
    answers,
    bodies,
    errors,
    counted: answered - connections,
    nanos: (countedTo - countedFrom) * 1e6,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99)
  }
}

answerWith(generate)
