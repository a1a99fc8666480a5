const project = (name: string) => ({
  extends: true as const,
  test: {
    name,
    root: `packages/${name}`,
    include: ["test/**/*.test.ts"]
  }
})

export default [project("core"), project("sql"), project("http"), project("examples"), project("benchmarks")]
