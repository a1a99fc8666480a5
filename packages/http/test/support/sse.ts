/**
 * A client of server-sent events, on a connection of its own that can be read or not.
 */
import { Sse } from "@effect/experimental"
import { Effect } from "effect"
import { get, type IncomingHttpHeaders } from "node:http"
import { pause, secret } from "./operating.ts"

export interface Live {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Everything that has come, as text. */
  readonly text: () => string
  /** The events that have come, and when to come again. */
  readonly seen: Array<Sse.AnyEvent>
  /** The events that have come, with their data as JSON. */
  readonly events: () => ReadonlyArray<{ readonly id: string | undefined; readonly event: string; readonly data: any }>
  /** Reads no more, or again. */
  readonly stopReading: () => void
  readonly readOn: () => void
  /** Goes away, without a word. */
  readonly disconnect: () => void
  /** How it ended: by the server, or not in order. */
  readonly end: () => "ended" | "aborted" | undefined
}

/** Connects, and reads until told otherwise. */
export const connect = (
  { url }: { readonly url: string },
  path = "/admin/events",
  headers: Record<string, string> = {}
): Effect.Effect<Live> =>
  Effect.async<Live>((resume) => {
    const request = get(`${url}${path}`, {
      agent: false,
      headers: { authorization: `Bearer ${secret}`, ...headers }
    }, (response) => {
      const seen: Array<Sse.AnyEvent> = []
      let text = ""
      let end: "ended" | "aborted" | undefined
      const parser = Sse.makeParser((event) => seen.push(event))
      response.setEncoding("utf8")
      response.on("data", (piece: string) => {
        text += piece
        parser.feed(piece)
      })
      response.on("end", () => {
        end = "ended"
      })
      response.on("error", () => {
        end ??= "aborted"
      })
      resume(Effect.succeed({
        status: response.statusCode ?? 0,
        headers: response.headers,
        text: () => text,
        seen,
        events: () =>
          seen.flatMap((event) =>
            event._tag === "Event" ? [{ id: event.id, event: event.event, data: JSON.parse(event.data) }] : []
          ),
        stopReading: () => response.pause(),
        readOn: () => response.resume(),
        disconnect: () => request.destroy(),
        end: () => end
      }))
    })
    request.on("error", () => {})
  }).pipe(Effect.tap((live) => live.status === 200 ? beginningOf(live) : Effect.void))

/** Whoever is told when to come again is subscribed in the same step. */
const beginningOf = (live: Live): Effect.Effect<void> =>
  Effect.whileLoop({ while: () => !live.text().includes("retry"), body: () => pause(), step: () => {} })
