// Packs the packages that are published, as they are published: with pnpm, which writes a version where a manifest says
// `workspace:` or `catalog:`. Run after `npm run build`.
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../", import.meta.url))

/** The folders under packages/ that are published. */
export const published = ["core", "http", "sql"]

/** The pnpm of the workspace, for `spawn`: npx, and what comes before pnpm's own arguments. */
const { packageManager } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"))
export const pnpm = ["npx", "--yes", packageManager]

/** Runs a command and returns what it printed. One that fails is an error with all that it printed. */
export const run = ([command, ...args], options) =>
  new Promise((resolve, reject) => {
    execFile(command, args, { cwd: root, maxBuffer: 64 * 1024 * 1024, ...options }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${command} ${args.join(" ")} failed: ${error.code}\n${stdout}${stderr}`))
    })
  })

/** The manifest in a tarball. */
export const manifestOf = async (tarball) => JSON.parse(await run(["tar", "-xzOf", tarball, "package/package.json"]))

/** What only this workspace understands in a manifest, such as `@sluice/core@workspace:^`. */
export const unpublishable = (manifest) =>
  ["dependencies", "peerDependencies", "optionalDependencies", "devDependencies"].flatMap((key) =>
    Object.entries(manifest[key] ?? {})
      .filter(([, version]) => /^(workspace|catalog|link|file):/.test(version))
      .map(([name, version]) => `${name}@${version}`)
  )

/**
 * Packs all of them into a folder, and returns their tarballs: `{ "@sluice/core": "/folder/sluice-core-0.0.0.tgz", ... }`.
 * One that nobody could install is an error.
 */
export const packAll = async (folder) => {
  const filters = published.flatMap((name) => ["--filter", `./packages/${name}`])
  await run([...pnpm, ...filters, "pack", "--pack-destination", folder])
  const tarballs = {}
  for (const name of published) {
    const { version } = JSON.parse(readFileSync(join(root, `packages/${name}/package.json`), "utf8"))
    const tarball = join(folder, `sluice-${name}-${version}.tgz`)
    const left = unpublishable(await manifestOf(tarball))
    if (left.length > 0) throw new Error(`@sluice/${name} as packed depends on ${left.join(", ")}`)
    const files = await run(["tar", "-tzf", tarball])
    if (!files.includes("package/dist/index.js\n")) throw new Error(`@sluice/${name} is not built: npm run build`)
    tarballs[`@sluice/${name}`] = tarball
  }
  return tarballs
}
