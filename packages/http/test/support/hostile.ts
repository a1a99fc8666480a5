/**
 * Requests that a server must refuse, each from a number: what is wrong with one may be anything.
 */
import { SeededScheduler } from "@sluice/core/testing"
import { json, ndjson } from "./raw.ts"

/** A request, and what may be answered. */
export interface Hostile {
  readonly kind: string
  readonly bytes: Buffer
  /**
   * - `refusal`: there must be an answer, and it is one of 400 to 499;
   * - `anything`: it is no HTTP, so there may be no answer; where there is one it is from 200 to 499.
   */
  readonly expect: "refusal" | "anything"
  /** What follows on the connection is no request any more. */
  readonly breaksConnection: boolean
}

export const maxBodyBytes = 256 * 1024

class Choice {
  private readonly next: () => number

  constructor(seed: number) {
    this.next = SeededScheduler.mulberry32(seed)
    // The first numbers of neighbouring seeds are alike.
    for (let i = 0; i < 5; i++) this.next()
  }

  below(limit: number): number {
    return Math.floor(this.next() / 2 ** 32 * limit)
  }

  of<A>(choices: ReadonlyArray<A>): A {
    return choices[this.below(choices.length)]
  }

  maybe(probability: number): boolean {
    return this.next() / 2 ** 32 < probability
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)))
  }

  text(length: number, alphabet: string): string {
    return Array.from({ length }, () => alphabet[this.below(alphabet.length)]).join("")
  }
}

const goodReading = JSON.stringify({ sensor: "roof", celsius: 21 })
const goodEmail = JSON.stringify({ to: "ada" })
const queues = ["readings", "emails"] as const
const goodFor = (queue: typeof queues[number]): string => queue === "readings" ? goodReading : goodEmail

interface Parts {
  readonly method?: string
  readonly path: string
  readonly headers?: ReadonlyArray<readonly [string, string]>
  readonly body?: string | Buffer
  /** What the request says of the length of its body. */
  readonly length?: "known" | "chunked" | "none"
}

const write = ({ body = "", headers = [], length = "known", method = "POST", path }: Parts, choice: Choice): Buffer => {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body)
  const framing: ReadonlyArray<readonly [string, string]> = length === "known"
    ? [["content-length", String(bytes.length)]]
    : length === "chunked"
    ? [["transfer-encoding", "chunked"]]
    : []
  const first = [
    `${method} ${path} HTTP/1.1`,
    "host: localhost",
    ...[...headers, ...framing].map(([name, value]) => `${name}: ${value}`)
  ].join("\r\n") + "\r\n\r\n"
  const parts: Array<Uint8Array> = [Buffer.from(first, "latin1")]
  if (length !== "chunked") parts.push(bytes)
  else {
    for (let at = 0; at < bytes.length;) {
      const size = 1 + choice.below(4096)
      const piece = bytes.subarray(at, at + size)
      parts.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n"))
      at += size
    }
    parts.push(Buffer.from("0\r\n\r\n"))
  }
  return Buffer.concat(parts)
}

const typed = (type: string) => [["content-type", type]] as const

const framing = (choice: Choice): "known" | "chunked" => choice.of(["known", "chunked"])

/** A value that is an item of neither queue. */
const wrongValue = (choice: Choice, depth = 0): unknown => {
  switch (choice.below(depth > 4 ? 6 : 9)) {
    case 0:
      return null
    case 1:
      return choice.maybe(0.5)
    case 2:
      return choice.below(1000) - 500
    case 3:
      return choice.text(choice.below(20), "abc \u0000\n\"\\ä€")
    case 4:
      return { sensor: choice.of([1, null, [], {}]), celsius: choice.of(["1", null, 1]), to: choice.of(["", 1, null]) }
    case 5:
      return { [choice.of(["constructor", "prototype", "toString", "hasOwnProperty", "length"])]: { x: 1 } }
    case 6:
      return [wrongValue(choice, depth + 1)]
    case 7:
      return { a: wrongValue(choice, depth + 1), to: 1, sensor: {} }
    default:
      return Array.from({ length: 1 + choice.below(5) }, () => wrongValue(choice, depth + 1))
  }
}

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** A text that is no JSON, but nearly. */
const wrongText = (choice: Choice): string => {
  let text = choice.of([goodReading, goodEmail, `[${goodReading},${goodReading}]`, "[]", "{}", "1e5", "\"a\""])
  for (let i = 0; i <= choice.below(4); i++) {
    const at = choice.below(text.length + 1)
    text = choice.of([
      text.slice(0, at),
      text.slice(0, at) + choice.of(["\"", "{", "}", "[", "]", ",", ":", "\\", "\u0000", "'", "/*", "NaN"])
      + text.slice(at),
      text.slice(at)
    ])
  }
  return isJson(text) ? `${text}}` : text
}

type Make = (choice: Choice) => Omit<Hostile, "kind">

const refusal = (choice: Choice, parts: Parts): Omit<Hostile, "kind"> => ({
  bytes: write(parts, choice),
  expect: "refusal",
  breaksConnection: false
})

const anything = (bytes: Buffer): Omit<Hostile, "kind"> => ({ bytes, expect: "anything", breaksConnection: true })

/** Paths at which there is no queue, whatever comes. */
const nowhere = [
  "/queues/..",
  "/queues/../queues/readings",
  "/queues/./readings",
  "/x/../queues/readings",
  "/queues/%2e%2e/readings",
  "/queues/%2e%2e%2freadings",
  "/queues/readings%00",
  "/queues/%00readings",
  "/queues/%",
  "/queues/%zz",
  "/queues/%c3%28",
  "/queues/%ed%a0%80",
  "/queues/readings%",
  "/queues/readings/../readings",
  "/queues\\readings",
  "/queues/readings%3Fwait=x",
  "/queues/readings%2f",
  "/queues/ readings".replace(" ", "%20"),
  "/queues/re\u00e4dings",
  "/queues/__proto__",
  "/queues/constructor",
  "/queues/%5f%5fproto%5f%5f",
  "/queues/;readings",
  "/queues/*",
  "/queues/:name",
  "*",
  "queues/readings",
  `/queues/${"a".repeat(200)}`,
  `/queues/${"%61".repeat(1000)}`,
  `/${"../".repeat(500)}queues/readings`,
  "/queues/readings\u00a0"
]

/** Paths that may lead to a queue. */
const perhaps = [
  "/queues/readings;x=1",
  "/queues/readings#x",
  "/queues/readings?",
  "/queues/readings/",
  "/queues/readings//",
  "//queues//readings",
  "/queues/Readings",
  "/queues/%72eadings",
  "http://localhost/queues/readings",
  "http://evil.example:1/queues/readings",
  "https://[::1]/queues/emails",
  "HTTP://LOCALHOST/queues/emails",
  "file:///queues/readings",
  "http:///queues/readings",
  "//localhost/queues/readings",
  "/queues/readings?wait=%",
  "/queues/readings?wait=%ff",
  "/queues/readings?%=%&&&==&a[b]=c&a.b=c",
  "/queues/readings?__proto__=1&constructor=2&wait=",
  "/queues/readings?wait=stored&wait=settled&wait=x",
  `/queues/readings?${"a=b&".repeat(1500)}`,
  `/queues/readings?${"a".repeat(8000)}`,
  "/queues/readings??wait=x",
  "/queues/readings?wait[]=settled",
  "/queues/readings?wait\u00e4=1",
  "/queues/emails?wait=stored%00"
]

const adminPaths = [
  "/admin/queues",
  "/admin/queues/readings",
  "/admin/queues/readings/pause",
  "/admin/queues/emails/pause",
  "/admin/queues/readings/drain",
  "/admin/queues/emails/drain?timeoutMillis=0",
  "/admin/queues/emails/dead-letters",
  "/admin/queues/emails/dead-letters/1",
  "/admin/queues/emails/dead-letters/redrive",
  "/admin/queues/emails/dead-letters/discard",
  "/admin/queues/ghost/drain",
  "/admin/events",
  "/admin/queues/readings/events",
  "/admin/queues/%zz/drain"
]

const oddTypes = [
  "",
  "text/plain",
  "application/jsonp",
  "application/json/",
  "application",
  "/",
  ";",
  "application/json;charset=utf-7",
  "application/json;charset=\"",
  "application/json;charset=utf-16le",
  "multipart/form-data",
  "multipart/form-data; boundary=",
  "application/x-www-form-urlencoded",
  `application/${"x".repeat(5000)}`,
  "application/json\u00e4",
  "application/json,application/json",
  "application/x-ndjson x",
  "constructor",
  "__proto__"
]

const makes: Readonly<Record<string, Make>> = {
  "no JSON": (choice) =>
    refusal(choice, {
      path: `/queues/${choice.of(queues)}`,
      headers: typed(json),
      body: wrongText(choice),
      length: framing(choice)
    }),
  "wrong items": (choice) =>
    refusal(choice, {
      path: `/queues/${choice.of(queues)}`,
      headers: typed(choice.of([json, ndjson])),
      body: JSON.stringify(wrongValue(choice)),
      length: framing(choice)
    }),
  "an array that is wrong at its end": (choice) =>
    refusal(choice, {
      path: "/queues/readings",
      headers: typed(json),
      body: `[${`${goodReading},`.repeat(1 + choice.below(20))}${JSON.stringify(wrongValue(choice))}]`
    }),
  "deep nesting": (choice) => {
    const depth = choice.of([65, 100, 1000, 5000, 7000])
    const [open, shut] = choice.of([["[", "]"], ["{\"a\":", "}"]])
    const inner = open === "[" ? "" : "1"
    const value = open.repeat(depth) + inner + (choice.maybe(0.7) ? shut.repeat(depth) : "")
    const body = choice.of([value, `{"to":"a","body":${value}}`, `[{"to":"a","body":${value}}]`])
    return refusal(choice, { path: "/queues/emails", headers: typed(choice.of([json, ndjson])), body })
  },
  "very deep nesting": (choice) => {
    const depth = 50_000 + choice.below(50_001)
    const value = "[".repeat(depth) + (choice.maybe(0.8) ? "]".repeat(depth) : "")
    return refusal(choice, {
      path: "/queues/emails",
      headers: typed(choice.of([json, ndjson])),
      body: `{"to":"a","body":${value}}`,
      length: framing(choice)
    })
  },
  "a body over the limit": (choice) => {
    const size = maxBodyBytes + 1 + choice.below(maxBodyBytes)
    return refusal(choice, {
      path: `/queues/${choice.of(queues)}`,
      headers: typed(choice.of([json, ndjson])),
      body: choice.of([
        `{"sensor":"${"x".repeat(size)}","celsius":1,"to":"x"}`,
        " ".repeat(size) + "{",
        "[".repeat(size)
      ]),
      length: framing(choice)
    })
  },
  "text that is not well-formed": (choice) => {
    const lone = choice.of(["\\ud800", "\\udfff", "\\udc00\\ud800", "x\\uDBFF"])
    const item = choice.of([`{"to":"${lone}"}`, `{"to":"a","body":["${lone}"]}`, `{"to":"a","body":{"${lone}":1}}`])
    return refusal(choice, {
      path: "/queues/emails",
      headers: typed(choice.of([json, ndjson])),
      body: item,
      length: framing(choice)
    })
  },
  "bytes that are not UTF-8": (choice) =>
    refusal(choice, {
      path: `/queues/${choice.of(queues)}`,
      headers: typed(choice.of([json, ndjson])),
      body: Buffer.concat([
        Buffer.from(choice.of(["", "{\"to\":\"", "\""])),
        choice.of([
          Buffer.from([0xff]),
          Buffer.from([0xc0, 0x80]),
          Buffer.from([0xed, 0xa0, 0x80]),
          Buffer.from([0xe2])
        ]),
        choice.bytes(choice.below(50)).map((byte) => byte === 10 ? 11 : byte)
      ]),
      length: framing(choice)
    }),
  "a key __proto__": (choice) => {
    const proto = choice.of(["__proto__", "\\u005f_proto__"])
    return refusal(choice, {
      path: "/queues/emails",
      headers: typed(choice.of([json, ndjson])),
      body: choice.of([
        `{"to":"a","${proto}":{"to":"b"}}`,
        `{"to":"a","body":{"${proto}":null}}`,
        `{"${proto}":{"to":"a"}}`,
        `{"to":"a","body":[{"constructor":{"prototype":{"${proto}":1}}}]}`
      ])
    })
  },
  "a path to nowhere": (choice) =>
    refusal(choice, { path: choice.of(nowhere), headers: typed(choice.of([json, ndjson])), body: goodReading }),
  "an odd path": (choice) =>
    refusal(choice, { path: choice.of(perhaps), headers: typed(choice.of([json, ndjson])), body: "{}" }),
  "a random path": (choice) =>
    refusal(choice, {
      path: `/${choice.of(["", "queues/", "admin/", "health/", "metrics/", "docs/"])}${
        choice.text(1 + choice.below(60), "aq/%.;?&=+2eEfF0zZ~!*'()@:,$[]|^`{}\\\u00e4\u00ff-_")
      }`,
      headers: typed(json),
      body: "{}"
    }),
  "a wrong wait": (choice) =>
    refusal(choice, {
      path: `/queues/readings?wait=${
        choice.of(["", "x", "stored", "Settled", "settled%20", "null", "a&wait=settled"])
      }`,
      headers: typed(choice.of([json, ndjson])),
      body: goodReading
    }),
  "a wrong token": (choice) => {
    const authorization = choice.of([
      undefined,
      "",
      "Bearer",
      "Bearer ",
      "Basic YTpi",
      "Bearer a token for operator",
      "Bearer a token for operatorss",
      `Bearer ${"a".repeat(4000)}`,
      "Bearer \u00e4\u00ff",
      "a token for operators",
      `Bearer ${choice.text(21, "abcdefghijklmnopqrstuvwxyz ")}x`
    ])
    return refusal(choice, {
      method: choice.of(["GET", "POST", "DELETE"]),
      path: choice.of(adminPaths),
      headers: [...authorization === undefined ? [] : [["authorization", authorization] as const], ...typed(json)],
      body: choice.of(["", "{\"ids\":\"all\"}", "{"])
    })
  },
  "odd headers": (choice) =>
    refusal(choice, {
      path: `/queues/${choice.of(queues)}`,
      headers: [
        ...typed(json),
        ...choice.of<ReadonlyArray<readonly [string, string]>>([
          [["x", "y".repeat(8000)]],
          Array.from({ length: 500 }, (_, i) => [`x-${i}`, "1"] as const),
          [["accept", "\u00ff"]],
          [["content-type", "text/plain"]],
          [["traceparent", "00-zz-zz-00"], ["b3", "x-y-z"]],
          [["traceparent", `00-${"0".repeat(32)}-${"0".repeat(16)}-01`]],
          [["x-forwarded-for", "%"], ["forwarded", ";"]],
          [["cookie", "=; =; __proto__=1; a"]],
          [["range", "bytes=0-"]],
          [["te", "trailers"], ["trailer", "x"]],
          [["connection", "x-a, keep-alive"], ["keep-alive", "timeout=-1"]],
          [["host", ""], ["host", "a b"]],
          [["origin", "null"], ["access-control-request-method", "POST"]],
          [["if-none-match", "*"], ["if-modified-since", "never"]]
        ])
      ],
      body: "{}"
    }),
  "what is expected": (choice) => ({
    bytes: write({
      path: "/queues/readings",
      headers: [...typed(json), ["expect", choice.of(["100-continue", "banana", "100-continue, x"])]],
      body: "{}"
    }, choice),
    expect: "refusal",
    breaksConnection: true
  }),
  "an upgrade": (choice) =>
    anything(write({
      method: choice.of(["GET", "POST"]),
      path: choice.of(["/queues/readings", "/health/live", "/x", "/%zz"]),
      headers: [
        ["connection", "upgrade"],
        ["upgrade", choice.of(["websocket", "h2c", "x"])],
        ["sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="],
        ["sec-websocket-version", "13"],
        ...typed(json)
      ],
      body: "{}"
    }, choice)),
  "an odd Idempotency-Key": (choice) =>
    refusal(choice, {
      path: `/queues/${choice.of(queues)}`,
      headers: [...typed(choice.of([json, ndjson])), [
        "idempotency-key",
        choice.of(["", " ", "a b", "\u00e4", "x".repeat(256), "x".repeat(4000), "a, b"])
      ]],
      body: goodReading
    }),
  "another method": (choice) => {
    const method = choice.of(["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "M-SEARCH", "LOCK", "PURGE"])
    const queue = choice.of(queues)
    return refusal(choice, {
      method,
      path: choice.of([`/queues/${queue}`, "/queues", "/metrics", "/%zz"]),
      headers: typed(json),
      body: goodFor(queue)
    })
  },
  "an odd method": (choice) =>
    anything(
      write({
        method: choice.of(["CONNECT", "FOO", "post", "P\u00d6ST", "", "__proto__", "POST POST", "HEAD"]),
        path: choice.of(["/queues/readings", "localhost:80", "*"]),
        headers: typed(json),
        body: "{}"
      }, choice)
    ),
  "an odd kind": (choice) => {
    const queue = choice.of(queues)
    return refusal(choice, {
      path: `/queues/${queue}`,
      headers: choice.maybe(0.2)
        ? [...typed(json), ["content-encoding", choice.of(["gzip", "br", "x", "identity, identity", ","])]]
        : choice.maybe(0.1)
        ? []
        : typed(choice.of(oddTypes)),
      body: goodFor(queue)
    })
  },
  "lines of garbage": (choice) =>
    refusal(choice, {
      path: `/queues/${choice.of(queues)}${choice.of(["", "?x=y"])}`,
      headers: typed(choice.of([ndjson, "application/jsonl", "application/ndjson; charset=utf-8"])),
      body: choice.of(["", "\n\n", "\r\n \n"]) + choice.of([
        // A blank line would be no line.
        `${wrongText(choice)}x`,
        JSON.stringify(wrongValue(choice)),
        choice.text(1 + choice.below(100), "{}[]\",:x"),
        "\u0000"
      ]) + `\n${goodReading}\n${goodEmail}\n`,
      length: framing(choice)
    }),
  "a wrong length": (choice) => {
    const queue = choice.of(queues)
    const good = goodFor(queue)
    const length = choice.of([
      "-1",
      "x",
      "1e3",
      "0x10",
      "1, 1",
      String(2 ** 64),
      "",
      "5",
      "3",
      "0",
      "99999999999999999999"
    ])
    return anything(Buffer.from(
      `POST /queues/${queue} HTTP/1.1\r\nhost: x\r\ncontent-type: ${choice.of([json, ndjson])}\r\n`
        + `content-length: ${length}\r\n${
          choice.of(["", "content-length: 7\r\n", "transfer-encoding: chunked\r\n"])
        }\r\n`
        // Cut in front of its last brace, it is nothing whatever is read of it.
        + good.slice(0, -1)
    ))
  },
  "wrong chunks": (choice) =>
    anything(Buffer.from(
      `POST /queues/readings HTTP/1.1\r\nhost: x\r\ncontent-type: ${choice.of([json, ndjson])}\r\n`
        + "transfer-encoding: chunked\r\n\r\n"
        + choice.of([
          "zz\r\n{}",
          "-1\r\n{}",
          "ffffffffffffffffff\r\n{",
          "2\r\n{}x\r\n",
          "2\r\n{}\n\n0",
          "2;a=\u0000\r\n{}\r\n"
        ])
    )),
  "garbage": (choice) => anything(choice.bytes(1 + choice.below(500))),
  "garbage in a request": (choice) => {
    const bytes = write({ path: "/queues/readings", headers: typed(json), body: "{}" }, choice)
    for (let i = 0; i <= choice.below(10); i++) bytes[choice.below(bytes.length)] = choice.below(256)
    return anything(bytes)
  }
}

const kinds = Object.keys(makes)

/** Kinds that are dear to send come up more seldom. */
const weightOf = (kind: string): number => kind === "very deep nesting" || kind.includes("over the limit") ? 0.15 : 1

const totalWeight = kinds.reduce((sum, kind) => sum + weightOf(kind), 0)

/** The request of a number. */
export const hostile = (seed: number): Hostile => {
  const choice = new Choice(seed)
  let at = choice.below(1_000_000) / 1_000_000 * totalWeight
  const kind = kinds.find((kind) => (at -= weightOf(kind)) < 0) ?? kinds[0]
  return { kind, ...makes[kind](choice) }
}
