/** Server-sent events as text by `Sse`, against text that is put together by hand. */
import * as Sse from "@effect/experimental/Sse"
import { type Plan, timedSync, timesItsTime } from "../Benchmark.ts"

const events = 20_000

const dataOf = (number: number) =>
  JSON.stringify({ number, queue: "readings", atMillis: 1_700_000_000_000, event: { _tag: "Settled", size: 100 } })

const lengthOf = (number: number): number =>
  `id: ${number}\n`.length + "event: Settled\n".length + `data: ${dataOf(number)}\n\n`.length

const written = Array.from({ length: events }, (_, number) => lengthOf(number)).reduce((sum, length) => sum + length)

const writing = (write: (number: number) => string) => () => {
  let length = 0
  for (let number = 0; number < events; number++) length += write(number).length
  if (length !== written) throw new Error(`${length} characters instead of ${written}`)
}

const encoder = timedSync(
  "Sse",
  events,
  writing((number) => Sse.encoder.write({ _tag: "Event", id: `${number}`, event: "Settled", data: dataOf(number) }))
)

const byHand = timedSync(
  "events by hand",
  events,
  writing((number) => [`id: ${number}\n`, `event: Settled\ndata: ${dataOf(number)}\n`, "\n"].join(""))
)

export const serverSentEvents: Plan = {
  cases: [encoder, byHand],
  ratios: [timesItsTime("server-sent events by Sse, against text by hand", encoder.name, byHand.name)]
}
