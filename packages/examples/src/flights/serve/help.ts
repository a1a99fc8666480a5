/**
 * What a server tells when it has begun: where it is, and what to try.
 */
import { type Address, formatAddress } from "@effect/platform/HttpServer"
import { adminToken } from "./server.ts"

const flight = "{\"date\":\"2001/03/01 12:00\",\"delay\":5,\"distance\":337,\"origin\":\"SFO\",\"destination\":\"LAX\"}"

const urlOf = (address: Address): string =>
  address._tag === "TcpAddress"
    ? `http://${address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname}:${address.port}`
    : formatAddress(address)

export const welcome = (address: Address, hasAdmin: boolean): string => {
  const url = urlOf(address)
  const lines = [
    `flights: serving at ${url}`,
    `  curl -d '${flight}' -H 'content-type: application/json' '${url}/queues/flights?wait=settled'`,
    `  curl ${url}/metrics`,
    `  curl ${url}/health/ready`,
    ...hasAdmin
      ? [`  curl -H "authorization: Bearer $${adminToken}" ${url}/admin/queues`]
      : [`  /admin is not there: set ${adminToken} to a secret of at least 16 characters`],
    `  and in a browser: ${url}/docs`
  ]
  return `${lines.join("\n")}\n`
}
