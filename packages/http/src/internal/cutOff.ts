/**
 * Makes sure that a request ends when its client disconnects.
 *
 * The platform waits until Node has sent an answer, and takes the end of the connection for the end of the request. On
 * Node there are gaps in both:
 *
 * - an answer to a connection that is destroyed, but has not reported it yet, is never sent: `end` does not call back;
 * - neither is an answer that waits behind the answer to an earlier request of the same connection. Such an answer does
 *   not learn either that the connection is over.
 *
 * Each would leave a fiber forever, and a closing server would wait for it. So `end` also calls back when the
 * connection is over, as it does for every other Node stream, and waiting answers are told.
 *
 * @see docs/upstream/platform-node-answer-to-a-closed-connection.md
 */
import type { HttpServerRequest } from "@effect/platform/HttpServerRequest"

type Listener = () => void

/** What is needed of Node's own, whose types are not there on other platforms. */
interface Emitter {
  readonly on: (event: string, listener: Listener) => unknown
  readonly once: (event: string, listener: Listener) => unknown
  readonly emit: (event: string) => unknown
}

interface Answer extends Emitter {
  /** None while it stands in line. */
  readonly socket: Emitter | null
  readonly closed: boolean
  readonly destroy: () => unknown
  end: (...args: Array<unknown>) => unknown
}

/** The request of the platform for Node, as it is inside. */
interface NodeRequest {
  readonly source: { readonly socket: Emitter }
  /** An upgrade has an answer once it is asked for, which ends the upgrade. */
  response: Answer | (() => Answer)
}

const isNodeRequest = (request: object): request is NodeRequest =>
  "response" in request
  && (typeof request.response === "function" || request.response instanceof Object && "end" in request.response)

/** Answers that have been seen to. */
const known = new WeakSet<Answer>()

/**
 * To be called as soon as a request has come. `onCut` is called where its connection is over before all of the answer is
 * sent. On another platform than Node, and for a request that has been seen to, it does nothing.
 */
export const endWithClient = (request: HttpServerRequest, onCut?: Listener): void => {
  if (!isNodeRequest(request)) return
  const { response, source: { socket } } = request
  if (typeof response !== "function") return seeTo(response, socket, onCut)
  // Node takes its own listener from a connection that is to be upgraded, and an error without one ends the process.
  socket.on("error", () => {})
  request.response = () => {
    const answer = response()
    seeTo(answer, socket, onCut)
    return answer
  }
}

const seeTo = (answer: Answer, socket: Emitter, onCut: Listener | undefined): void => {
  if (known.has(answer)) return
  known.add(answer)
  callBackWhenOver(answer)
  if (answer.socket === null) standInLine(answer, socket)
  if (onCut === undefined) return
  let isSent = false
  answer.once("finish", () => isSent = true)
  answer.once("close", () => isSent || onCut())
}

const callBackWhenOver = (answer: Answer): void => {
  const { end } = answer
  answer.end = (...args) => {
    const callback = args[args.length - 1]
    if (typeof callback !== "function") return end.apply(answer, args)
    let isCalled = false
    const once = () => {
      if (isCalled) return
      isCalled = true
      callback()
    }
    if (answer.closed) void Promise.resolve().then(once)
    else answer.once("close", once)
    return end.apply(answer, [...args.slice(0, -1), once])
  }
}

/** The answers of a connection that wait for their turn. One listener a connection: a client may send any number. */
const lines = new WeakMap<Emitter, Set<Answer>>()

const standInLine = (answer: Answer, socket: Emitter): void => {
  let line = lines.get(socket)
  if (line === undefined) {
    const waiting = line = new Set()
    lines.set(socket, waiting)
    socket.once("close", () => waiting.forEach(close))
  }
  line.add(answer)
  // Its turn has come: from now on Node tells it by itself.
  answer.once("socket", () => line.delete(answer))
}

const close = (answer: Answer): void => {
  answer.destroy()
  answer.emit("close")
}
