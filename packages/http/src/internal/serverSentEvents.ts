/**
 * Encodes events as the text stream that an `EventSource` reads.
 *
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
import * as Sse from "@effect/experimental/Sse"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

// Of every platform that JavaScript runs on; the standard library of the language alone does not declare it.
declare const TextEncoder: new() => { encode(text: string): Uint8Array }

export interface ServerSentEvent {
  /** What a client that comes again sends as `Last-Event-ID`. No line breaks. */
  readonly id?: string | undefined
  /** How soon a client that is cut off comes again. */
  readonly retryMillis?: number | undefined
  /** What a listener is added for. A word. Without one no listener is called: the client only takes note of the id. */
  readonly type?: string | undefined
  /** To be written as JSON, which has no line breaks of its own. */
  readonly data?: object | undefined
}

/** A comment as often keeps proxies from closing a connection on which nothing happens. */
const heartbeat = "15 seconds"

const encoder = new TextEncoder()

const textOf = ({ data, id, retryMillis, type }: ServerSentEvent): string => {
  // Of an event that is called "message" and has no data, the id alone is written.
  const event = Sse.encoder.write({
    _tag: "Event",
    id,
    event: type ?? "message",
    data: type === undefined ? "" : jsonOf(data ?? {})
  })
  if (retryMillis === undefined) return event
  return Sse.encoder.write(new Sse.Retry({ duration: Duration.millis(retryMillis), lastEventId: undefined })) + event
}

/** An event may carry what JSON cannot. */
const jsonOf = (data: object): string => {
  try {
    return JSON.stringify(data)
  } catch {
    return "{}"
  }
}

export const encode = (events: Stream.Stream<ServerSentEvent>): Stream.Stream<Uint8Array> => {
  const beats = Stream.repeatEffect(Effect.as(Effect.sleep(heartbeat), ":\n\n"))
  const texts = Stream.merge(Stream.map(events, textOf), beats, { haltStrategy: "left" })
  return Stream.map(texts, (text) => encoder.encode(text))
}
