// Runs every example the way a user would, and stops at the first that fails.
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const examples = [
  ["flights/main.js", "--json"]
]

for (const [file, ...args] of examples) {
  console.log(`example ${file} ${args.join(" ")}`)
  const path = fileURLToPath(new URL(`../dist/${file}`, import.meta.url))
  const { status } = spawnSync(process.execPath, [path, ...args], { stdio: "inherit" })
  if (status !== 0) {
    console.error(`${file} ended with ${status}`)
    process.exit(1)
  }
}
