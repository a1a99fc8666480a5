// A process that knows nothing of Sluice and holds a lock: it runs the statements it is given, and rolls back when told.
import Database from "better-sqlite3"
import { say } from "./say.js"

const [filename, ...statements] = process.argv.slice(2)
const database = new Database(filename)
for (const statement of statements) database.exec(statement)
say("locked")

process.stdin.setEncoding("utf8").on("data", (text) => {
  if (!text.includes("release")) return
  database.close()
  say("released")
  process.exit(0)
})
