// Checks the packages as they are published: what `publint` and `attw` say of the tarballs, and that their manifests name
// versions alone, which `packAll` sees to.
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { packAll, run } from "./pack.js"

/** A module of each package, for the pattern `./*` of its exports. */
const modules = { "@sluice/core": "FlushPolicy", "@sluice/http": "Ingest", "@sluice/sql": "WriteCoordinator" }

const folder = mkdtempSync(join(tmpdir(), "sluice-package-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))

for (const [name, tarball] of Object.entries(await packAll(folder))) {
  await run(["npx", "publint", "--strict", tarball])
  const options = ["--profile", "esm-only", "--no-definitely-typed", "--include-entrypoints", modules[name]]
  await run(["npx", "attw", tarball, ...options])
  console.log(`${name}: what is packed is what it should be`)
}
