// A process that sends the orders of the outbox to the receiver.
import { FetchHttpClient, HttpClient, HttpClientRequest } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer } from "effect"
import { DatabaseLive, type Order, outboxLive } from "./Orders.ts"

const WorkerLive = Layer.unwrapEffect(Effect.gen(function*() {
  const name = yield* Config.string("WORKER")
  const receiver = yield* Config.string("RECEIVER")
  const client = HttpClient.filterStatusOk(yield* HttpClient.HttpClient)
  const send = (order: Order) =>
    HttpClientRequest.post(receiver).pipe(
      HttpClientRequest.setHeader("worker", name),
      HttpClientRequest.bodyUnsafeJson(order),
      client.execute
    )
  return outboxLive({ workers: 4, send })
}))

// SIGTERM: handlers that run may end, and what they have not begun is left to the others.
WorkerLive.pipe(Layer.provide([DatabaseLive, FetchHttpClient.layer]), Layer.launch, NodeRuntime.runMain)
