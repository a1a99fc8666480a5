/**
 * What `fetch` cannot do: a request in pieces, half a request, a client that goes away; and a store, a sink and a gate
 * that a test holds back.
 */
import { BatchStore } from "@sluice/core"
import { FaultyStore } from "@sluice/core/testing"
import { Effect, Layer, type Scope } from "effect"
import { connect as connectSocket, type Socket } from "node:net"

/** The answer to a request that was written by hand. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: any
}

/** One connection, on which a test writes bytes. */
export class Raw {
  readonly socket: Socket
  /** Whether the other side has ended it, or cut it off. */
  isOver = false
  error: Error | undefined
  private received = Buffer.alloc(0)
  private changed: () => void = () => {}

  constructor(socket: Socket) {
    this.socket = socket
    socket.on("data", (bytes: Buffer) => {
      this.received = Buffer.concat([this.received, bytes])
      this.changed()
    })
    const over = () => {
      this.isOver = true
      this.changed()
    }
    socket.on("end", over)
    socket.on("close", over)
    socket.on("error", (error) => {
      this.error = error
      over()
    })
  }

  readonly send = (bytes: string | Uint8Array): Effect.Effect<void> =>
    Effect.async((resume) => {
      this.socket.write(bytes, () => resume(Effect.void))
    })

  /** The next complete answer. Dies where the connection is over before that. */
  readonly answer: Effect.Effect<Answer> = Effect.async((resume) => {
    const look = () => {
      const answer = this.parse()
      if (answer !== undefined) resume(Effect.succeed(answer))
      else if (this.isOver) {
        const got = JSON.stringify(this.received.toString("latin1").slice(0, 500))
        resume(Effect.dieMessage(`no complete answer: ${this.error?.message ?? "ended"}, after ${got}`))
      }
    }
    this.changed = look
    look()
  })

  /** Waits until the other side has ended it. */
  readonly over: Effect.Effect<void> = Effect.async((resume) => {
    const look = () => {
      if (this.isOver) resume(Effect.void)
    }
    this.changed = look
    look()
  })

  /** What has come, and is no part of an answer that was read. */
  get text(): string {
    return this.received.toString("latin1")
  }

  /** Whether anything of an answer has come. */
  get hasAnswer(): boolean {
    return this.received.length > 0
  }

  private parse(): Answer | undefined {
    const end = this.received.indexOf("\r\n\r\n")
    if (end < 0) return undefined
    const [first, ...lines] = this.received.subarray(0, end).toString("latin1").split("\r\n")
    const status = Number(first.split(" ")[1])
    const headers: Record<string, string> = {}
    for (const line of lines) headers[line.slice(0, line.indexOf(":")).toLowerCase()] = line.split(": ")[1]
    const from = end + 4
    if (status < 200) {
      this.received = this.received.subarray(from)
      return this.parse()
    }
    const isChunked = headers["transfer-encoding"] === "chunked"
    const hasNone = status === 204 || status === 304
    const length = headers["content-length"] === undefined ? undefined : Number(headers["content-length"])
    if (isChunked) {
      const body = unchunk(this.received.subarray(from))
      if (body === undefined) return undefined
      this.received = this.received.subarray(from + body.size)
      return { status, headers, body: bodyOf(headers, body.text) }
    }
    if (length === undefined ? !this.isOver && !hasNone : this.received.length < from + length) return undefined
    const to = length === undefined ? this.received.length : from + length
    const text = this.received.subarray(from, to).toString("utf8")
    this.received = this.received.subarray(to)
    return { status, headers, body: bodyOf(headers, text) }
  }
}

const bodyOf = (headers: Answer["headers"], text: string): unknown =>
  headers["content-type"]?.startsWith("application/json") === true ? JSON.parse(text) : text

/** The text of a body in chunks, and how many bytes it takes; undefined where it is not complete. */
const unchunk = (bytes: Buffer): { readonly text: string; readonly size: number } | undefined => {
  const pieces: Array<Buffer> = []
  let at = 0
  while (true) {
    const end = bytes.indexOf("\r\n", at)
    if (end < 0) return undefined
    const length = Number.parseInt(bytes.subarray(at, end).toString("latin1"), 16)
    const from = end + 2
    if (bytes.length < from + length + 2) return undefined
    pieces.push(bytes.subarray(from, from + length))
    at = from + length + 2
    if (length === 0) return { text: Buffer.concat(pieces).toString("utf8"), size: at }
  }
}

/** A connection to a server, which ends with the scope. */
export const connect = ({ port }: { readonly port: number }): Effect.Effect<Raw, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.async<Raw>((resume) => {
      const socket = connectSocket({ port, host: "127.0.0.1", noDelay: true }, () => resume(Effect.succeed(raw)))
      const raw = new Raw(socket)
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

export const json = "application/json"
export const ndjson = "application/x-ndjson"

/** The beginning of a POST, with all that must be in it. */
export const head = (path: string, headers: Readonly<Record<string, string | number>>): string =>
  [`POST ${path} HTTP/1.1`, "host: localhost", ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)]
    .join("\r\n") + "\r\n\r\n"

/** The beginning of a POST whose body comes in chunks. */
export const chunkedHead = (path: string, type: string, headers: Readonly<Record<string, string>> = {}): string =>
  head(path, { "content-type": type, "transfer-encoding": "chunked", ...headers })

/** A chunk of a body. */
export const chunk = (content: string | Uint8Array): Buffer => {
  const bytes = Buffer.from(content)
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")])
}

export const lastChunk = "0\r\n\r\n"

/** Waits, a task of the event loop at a time, until something is so. A test that waits in vain runs into its timeout. */
export const until = (condition: () => boolean | Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const now = condition()
    return typeof now === "boolean" ? Effect.succeed(now) : now
  }).pipe(
    Effect.tap((is) => is ? Effect.void : Effect.sleep(5)),
    Effect.repeat({ until: (is) => is }),
    Effect.asVoid
  )

/** What a test opens and closes, and how many wait at it now. */
export interface Hold {
  readonly pass: Effect.Effect<void>
  readonly open: Effect.Effect<void>
  readonly close: Effect.Effect<void>
  readonly waiting: () => number
}

/** Nothing passes until it is opened. */
export const makeHold = (): Hold => {
  const latch = Effect.unsafeMakeLatch(false)
  let waiting = 0
  return {
    pass: Effect.suspend(() => {
      waiting += 1
      return Effect.ensuring(latch.await, Effect.sync(() => waiting -= 1))
    }),
    open: Effect.asVoid(latch.open),
    close: Effect.asVoid(latch.close),
    waiting: () => waiting
  }
}

/** A store in memory that stores nothing while it is held back. */
export const heldStore = (hold: Hold): Layer.Layer<BatchStore.BatchStore> =>
  Layer.effect(
    BatchStore.BatchStore,
    Effect.map(BatchStore.BatchStore, (memory): BatchStore.BatchStore => {
      const store = FaultyStore.make(memory, FaultyStore.never)
      return {
        ...store,
        queue: (name) =>
          Effect.map(store.queue(name), (queue) => ({
            ...queue,
            append: (append) => Effect.zipRight(hold.pass, queue.append(append))
          }))
      }
    })
  ).pipe(Layer.provide(BatchStore.layerMemory))

/** A store that is shared by all servers of a test. */
export const sharedStore: Effect.Effect<Layer.Layer<BatchStore.BatchStore>, never, Scope.Scope> = Effect.map(
  Layer.build(BatchStore.layerMemory),
  Layer.succeedContext
)

/** The counts of an answer: those that are not named are 0. */
export const counts = (some: Readonly<Record<string, number>>): Record<string, number> => ({
  items: 0,
  accepted: 0,
  coalesced: 0,
  dropped: 0,
  duplicates: 0,
  stored: 0,
  settled: 0,
  ...some
})
