import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"

// scripts/pack.js packs with pnpm. npm leaves `workspace:^` in the manifest, so the packages refuse it.

const root = fileURLToPath(new URL("../../..", import.meta.url))

interface Pack {
  readonly published: ReadonlyArray<string>
  readonly unpublishable: (manifest: object) => ReadonlyArray<string>
}

const { published, unpublishable } = await import(pathToFileURL(join(root, "scripts/pack.js")).href) as Pack

describe("the packages", () => {
  let folder: string

  beforeAll(() => {
    mkdirSync(join(root, "build"), { recursive: true })
    folder = mkdtempSync(join(root, "build", "pack-"))
  })

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it.each(published)("%s is not packed by npm", (name) => {
    const run = spawnSync("npm", ["pack", "--pack-destination", folder], {
      cwd: join(root, "packages", name),
      encoding: "utf8"
    })
    expect(run.status).toBe(1)
    expect(run.stderr).toContain("is packed and published with pnpm")
    expect(readdirSync(folder)).toEqual([])
  })
})

describe("a manifest that nobody could install", () => {
  it.each(["dependencies", "peerDependencies", "optionalDependencies", "devDependencies"])("by its %s", (key) => {
    const manifest = { [key]: { "@sluice/core": "workspace:^", effect: "catalog:", msgpackr: "^1.12.1" } }
    expect(unpublishable(manifest)).toEqual(["@sluice/core@workspace:^", "effect@catalog:"])
  })

  it("is not one with versions alone", () => {
    expect(unpublishable({ name: "some", dependencies: { "@sluice/core": "^0.0.0" } })).toEqual([])
  })
})
