// The `prepack` of each package. npm would publish `workspace:^` as it stands, which nobody can install; pnpm writes the
// version in its place.
const packer = process.env.npm_config_user_agent ?? ""

if (!packer.startsWith("pnpm/")) {
  console.error("This package is packed and published with pnpm: npm leaves `workspace:` in its dependencies.")
  console.error("Write `pnpm pack`, or `npx --yes pnpm pack`.")
  process.exitCode = 1
}
