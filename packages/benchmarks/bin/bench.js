#!/usr/bin/env node
// `pnpm bench <name> [--json]`. A command and not a script, because pnpm prints a banner on stdout before a script.
import { spawnSync } from "node:child_process"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"

const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc")
const project = fileURLToPath(new URL("../tsconfig.src.json", import.meta.url))

// What the compiler says goes to stderr: stdout is the program's own.
const build = spawnSync(process.execPath, [tsc, "-b", project], { stdio: ["ignore", 2, 2] })
if (build.status !== 0) process.exit(build.status ?? 1)

await import("../dist/main.js")
