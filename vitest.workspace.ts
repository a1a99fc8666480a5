import { fileURLToPath } from "node:url"

const setup = fileURLToPath(new URL("./vitest.setup.ts", import.meta.url))

const project = (name: string) => ({
  extends: true as const,
  test: {
    name,
    root: `packages/${name}`,
    include: ["test/**/*.test.ts"],
    setupFiles: [setup]
  }
})

export default [project("core"), project("sql"), project("http"), project("examples"), project("benchmarks")]
