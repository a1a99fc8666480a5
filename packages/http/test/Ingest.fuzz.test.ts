import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { type Answer, connect, type Raw } from "./support/raw.ts"
import { hostile, maxBodyBytes } from "./support/hostile.ts"
import { ask, post, serve } from "./support/server.ts"

const seed = Number(process.env["SLUICE_SEED"] ?? Math.floor(Math.random() * 2 ** 31))
const requests = Number(process.env["SLUICE_FUZZ_REQUESTS"] ?? 10_000)
const connections = 16

/** What is wrong with what the server did with a request. */
interface Finding {
  readonly request: number
  readonly kind: string
  readonly sent: string
  readonly got: string
}

const isRefusal = ({ status }: Answer) => status >= 400 && status < 500

describe("requests that are wrong, at random", () => {
  it.scopedLive(
    `are refused, never answered with a 5xx, and leave nothing in (SLUICE_SEED=${seed})`,
    () =>
      Effect.gen(function*() {
        const server = yield* serve({
          queues: { maxBodyBytes, maxLineBytes: maxBodyBytes },
          readings: { capacity: 10_000 },
          node: { requestTimeout: 0, headersTimeout: 60_000 }
        })
        const findings: Array<Finding> = []
        const statuses = new Map<string, Map<string, number>>()
        let next = 0
        const isMore = () => next < requests

        const exchange = (client: Raw, request: number) =>
          Effect.gen(function*() {
            const { breaksConnection, bytes, expect, kind } = hostile(seed + request)
            const got = (status: string) => {
              const ofKind = statuses.get(kind) ?? new Map<string, number>()
              statuses.set(kind, ofKind.set(status, (ofKind.get(status) ?? 0) + 1))
            }
            const found = (got: string) =>
              findings.push({ request, kind, sent: bytes.toString("latin1").slice(0, 300), got })
            client.socket.write(bytes)
            if (expect === "anything") {
              // Half a request would be waited for.
              client.socket.end()
              yield* client.over
              const text = client.text
              const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]
              got(status ?? "none")
              if (status !== undefined && status >= "5") found(text.slice(0, 300))
            } else {
              const answer = yield* Effect.exit(client.answer)
              if (answer._tag === "Failure") found(`no answer: ${answer.cause}`)
              else {
                got(String(answer.value.status))
                if (!isRefusal(answer.value)) found(JSON.stringify(answer.value))
              }
            }
            return breaksConnection || client.isOver
          })

        const worker = Effect.gen(function*() {
          while (isMore()) {
            yield* Effect.scoped(Effect.gen(function*() {
              const client = yield* connect(server)
              while (isMore()) {
                const isOver = yield* exchange(client, next++)
                if (isOver) return
              }
            }))
          }
        })
        yield* Effect.all(Array.from({ length: connections }, () => worker), { concurrency: "unbounded" })
        if (process.env["SLUICE_FUZZ_VERBOSE"] !== undefined) {
          console.log(Object.fromEntries(Array.from(statuses, ([kind, of]) => [kind, Object.fromEntries(of)])))
        }

        expect(findings.slice(0, 5)).toEqual([])
        for (const { offered, refused } of [yield* server.readings.metrics, yield* server.emails.metrics]) {
          expect(offered - refused).toBe(0)
        }
        expect([server.flushed, server.sent]).toEqual([[], []])
        expect((yield* ask(server, "/health/ready")).status).toBe(200)
        expect((yield* post(server, "/queues/readings", { sensor: "roof", celsius: 1 })).status).toBe(202)
        expect((yield* post(server, "/queues/emails?wait=stored", { to: "ada" })).status).toBe(202)
      })
  )
})
