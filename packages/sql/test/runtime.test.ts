/** What these tests run on. `npm run check:nodes` runs them on other versions, and says which it means. */
import Database from "better-sqlite3"
import { createRequire } from "node:module"
import { expect, it } from "vitest"

// What the workspace has, unless it is said.
const {
  SLUICE_DRIVER: driver = "12.11.1",
  SLUICE_NODE: node = process.versions.node
} = process.env

it("the Node and the driver are those that are meant", () => {
  const database = new Database(":memory:")
  expect(database.prepare("SELECT 1 AS one").get()).toEqual({ one: 1 })
  database.close()
  // That of Effect's client, which is the one of SqliteStore.
  const client = createRequire(createRequire(import.meta.url).resolve("@effect/sql-sqlite-node/package.json"))
  expect({
    node: process.versions.node,
    driver: client("better-sqlite3/package.json").version,
    same: client.resolve("better-sqlite3") === createRequire(import.meta.url).resolve("better-sqlite3")
  }).toEqual({ node, driver, same: true })
})
