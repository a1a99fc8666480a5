// Runs the queues under one environment after another.
import { Command } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Schema, Stream } from "effect"
import assert from "node:assert/strict"
import { fileURLToPath } from "node:url"

const Outcome = Schema.parseJson(Schema.Struct({
  audit: Schema.Struct({ accepted: Schema.Int, dropped: Schema.Int, full: Schema.Boolean }),
  emails: Schema.Struct({ pending: Schema.Int }),
  orders: Schema.Struct({ full: Schema.Int }),
  stocks: Schema.Struct({ batches: Schema.Int })
}))

const textOf = <E, R>(stream: Stream.Stream<Uint8Array, E, R>) => Stream.mkString(Stream.decodeText(stream))

const run = (env: Record<string, string>) =>
  Effect.gen(function*() {
    const queues = yield* Command.make(process.execPath, fileURLToPath(new URL("main.js", import.meta.url))).pipe(
      Command.env(env),
      Command.start
    )
    return yield* Effect.all({
      exitCode: queues.exitCode,
      stdout: textOf(queues.stdout),
      stderr: textOf(queues.stderr)
    }, { concurrency: "unbounded" })
  }).pipe(Effect.scoped)

const outcomeOf = (env: Record<string, string>) =>
  Effect.flatMap(run(env), ({ exitCode, stderr, stdout }) => {
    assert.equal(exitCode, 0, stdout + stderr)
    return Schema.decode(Outcome)(stdout)
  })

const errorOf = (env: Record<string, string>, names: string) =>
  Effect.map(run(env), ({ exitCode, stderr, stdout }) => {
    const text = stdout + stderr
    assert.equal(exitCode, 1, text)
    assert.ok(text.includes(names), `${names} is not named in: ${text}`)
    return text.split("\n").find((line) => line.includes(names))?.trim() ?? ""
  })

const check = Effect.gen(function*() {
  const unset = yield* outcomeOf({})
  assert.deepEqual(unset.audit, { accepted: 50, dropped: 0, full: false })
  assert.deepEqual([unset.orders.full, unset.stocks.batches], [0, 1])
  yield* Console.log("from-environment: without variables, the defaults")

  const dropping = yield* outcomeOf({ AUDIT_CAPACITY: "3", AUDIT_POLICY: "dropNewest", AUDIT_BATCH_SIZE: "100" })
  assert.deepEqual(dropping.audit, { accepted: 3, dropped: 47, full: false })
  const set = yield* outcomeOf({
    AUDIT_CAPACITY: "3",
    AUDIT_POLICY: "reject",
    AUDIT_BATCH_SIZE: "100",
    EMAILS_WORKERS: "0",
    ORDERS_CAPACITY: "2",
    ORDERS_POLICY: "reject",
    STOCKS_MIN_DURATION: "1 second",
    STOCKS_BATCH_SIZE: "10"
  })
  assert.deepEqual(set.audit, { accepted: 3, dropped: 0, full: true })
  assert.deepEqual([set.emails.pending, set.stocks.batches], [5, 5])
  assert.ok(set.orders.full > 0)
  yield* Console.log("  with variables, what they say: capacities, policies, workers, sizes of batches")

  const wrong = {
    AUDIT_POLICY: "sometimes",
    AUDIT_CAPACITY: "0",
    AUDIT_BATCH_SIZE: "many",
    EMAILS_MAX_PENDING: "-1",
    STOCKS_MIN_DURATION: "soon"
  }
  for (const [name, value] of Object.entries(wrong)) {
    yield* Console.log(`  ${name}=${value}: ${yield* errorOf({ [name]: value }, name)}`)
  }
})

check.pipe(Effect.provide(NodeContext.layer), NodeRuntime.runMain)
