import { HttpApiBuilder, HttpServer } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Admin, GracefulServer, HttpQueue, HttpQueues, Ingest, Watch } from "@sluice/http"
import { SqliteStore } from "@sluice/sql"
import { Config, Layer } from "effect"
import { createServer } from "node:http"
import { Api, Reading } from "./Api.ts"
import { Readings } from "./Readings.ts"

const SqlLive = SqliteStore.layerConfig({
  filename: Config.string("DATABASE").pipe(Config.withDefault("telemetry.db"))
})

const QueuesLive = HttpQueues.layer([HttpQueue.writeBehind(Readings, { schema: Reading })]).pipe(
  Layer.provide(Readings.Default),
  Layer.provide(SqlLive)
)

const ServerLive = HttpApiBuilder.serve().pipe(
  HttpServer.withLogAddress,
  Layer.provide(HttpApiBuilder.api(Api)),
  Layer.provide([Ingest.layer(Api), Admin.layerConfig(Api), Watch.layer(Api)]),
  Layer.provide(QueuesLive),
  Layer.provide(GracefulServer.layer(
    NodeHttpServer.layerConfig(() => createServer(), { port: Config.integer("PORT").pipe(Config.withDefault(3000)) })
  ))
)

// SIGTERM: running requests get their answers, then the queue is drained into the file.
NodeRuntime.runMain(Layer.launch(ServerLive))
