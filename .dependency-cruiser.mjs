// Who may import whom. Checked by `npm run check:imports`; the rules themselves are tested in
// packages/core/test/import-rule.test.ts.

const effect = "(^|/)node_modules/effect/"
const pure = "(FlushPolicy|Buffer|QueueEvent|QueueError|Result|Sharding)"

// The modules of effect that hold data and functions, and run nothing.
const effectData = [
  "Array",
  "BigDecimal",
  "BigInt",
  "Boolean",
  "Brand",
  "Cause",
  "Chunk",
  "Data",
  "DateTime",
  "Differ",
  "Duration",
  "Either",
  "Encoding",
  "Equal",
  "Equivalence",
  "Exit",
  "Function",
  "HKT",
  "Hash",
  "HashMap",
  "HashSet",
  "Inspectable",
  "Iterable",
  "List",
  "Match",
  "MutableHashMap",
  "MutableHashSet",
  "MutableList",
  "MutableQueue",
  "MutableRef",
  "NonEmptyIterable",
  "Number",
  "Option",
  "Order",
  "Ordering",
  "ParseResult",
  "Pipeable",
  "Predicate",
  "Record",
  "RedBlackTree",
  "Redacted",
  "RegExp",
  "Schema",
  "SchemaAST",
  "SortedMap",
  "SortedSet",
  "String",
  "Struct",
  "Symbol",
  "Trie",
  "Tuple",
  "Types",
  "Unify",
  "Utils"
].join("|")

// Each system has a room, which its own door opens: nobody else goes in.
const rooms = { writeBehind: "WriteBehind", batchQueue: "BatchQueue", keyedBatch: "KeyedBatch", shardPool: "ShardPool" }

const roomOfOneSystem = Object.entries(rooms).map(([room, door]) => ({
  name: `room-of-${room}`,
  comment: `Only ${door} and its own files use what is in its room.`,
  severity: "error",
  from: { pathNot: [`^packages/core/src/(${door}\\.ts$|internal/${room}/)`, "^packages/core/test/"] },
  to: { path: `^packages/core/src/internal/${room}/` }
}))

/** @type {import("dependency-cruiser").IConfiguration} */
export default {
  forbidden: [
    {
      name: "no-circular",
      comment: "A cycle means that two modules are one.",
      severity: "error",
      from: {},
      to: { circular: true }
    },
    {
      name: "no-unresolvable",
      comment: "An import that cannot be resolved escapes every other rule.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true }
    },
    {
      name: "core-imports-effect-only",
      comment: "core imports effect and its own files: no other package, no builtin of Node.",
      severity: "error",
      from: { path: "^packages/core/src/" },
      to: { pathNot: ["^packages/core/src/", effect] }
    },
    {
      name: "pure-modules-import-data-only",
      comment: "These modules decide; they never wait, look at a clock or run an effect. Types may come from anywhere.",
      severity: "error",
      from: { path: `^packages/core/src/${pure}\\.ts$` },
      to: {
        pathNot: [
          `^packages/core/src/${pure}\\.ts$`,
          // They import nothing.
          "^packages/core/src/internal/shapes/",
          `${effect}dist/(esm|dts)/(${effectData})\\.(js|d\\.ts)$`
        ],
        dependencyTypesNot: ["type-only"]
      }
    },
    {
      name: "batch-imports-data-and-effect",
      comment: "It runs the user's effects, one an item, and otherwise decides as the pure modules do.",
      severity: "error",
      from: { path: "^packages/core/src/Batch\\.ts$" },
      to: {
        pathNot: [
          `^packages/core/src/${pure}\\.ts$`,
          "^packages/core/src/internal/shapes/",
          `${effect}dist/(esm|dts)/(Effect|${effectData})\\.(js|d\\.ts)$`
        ],
        dependencyTypesNot: ["type-only"]
      }
    },
    ...roomOfOneSystem,
    {
      name: "fibers-not-intake",
      comment: "The ground floor carries the intake, not the other way round.",
      severity: "error",
      from: { path: "^packages/core/src/internal/fibers/" },
      to: { path: "^packages/core/src/internal/intake/" }
    },
    {
      name: "shapes-import-nothing",
      comment: "Shapes of data know nobody. Types may come from anywhere.",
      severity: "error",
      from: { path: "^packages/core/src/internal/shapes/" },
      to: { pathNot: "^packages/core/src/internal/shapes/", dependencyTypesNot: ["type-only"] }
    },
    {
      name: "effect-by-its-modules",
      comment: "The barrel of effect would hide from the rules below what is imported.",
      severity: "error",
      from: { path: "^packages/(core|sql|http)/src/" },
      to: { path: `${effect}dist/(esm|dts)/index\\.(js|d\\.ts)$` }
    },
    {
      name: "one-file-makes-queues",
      comment: "Effect's Queue and its two interfaces are another thing from one major of Effect to the next.",
      severity: "error",
      from: { path: "^packages/(core|sql|http)/src/", pathNot: "^packages/core/src/internal/intake/effectQueue\\.ts$" },
      to: { path: `${effect}dist/(esm|dts)/Queue\\.(js|d\\.ts)$` }
    },
    {
      name: "database-not-coordinator",
      comment: "A database serves the coordinator, and knows nothing of it.",
      severity: "error",
      from: { path: "^packages/sql/src/internal/(sqlite|postgres|mysql)/" },
      to: { path: "^packages/sql/src/(internal/coordinator/|WriteCoordinator\\.ts$)" }
    },
    {
      name: "one-file-drives-sqlite",
      comment: "The driver is optional: only a SqliteStore needs it. A later one replaces one file.",
      severity: "error",
      from: { path: "^packages/sql/src/", pathNot: "^packages/sql/src/internal/sqlite/driver\\.ts$" },
      to: { path: "(^|/)node_modules/(@effect/sql-sqlite-[a-z-]+|better-sqlite3)/" }
    },
    {
      name: "one-file-drives-postgres",
      comment: "The driver is optional: only a PostgresStore needs it. A later one replaces one file.",
      severity: "error",
      from: { path: "^packages/sql/src/", pathNot: "^packages/sql/src/internal/postgres/driver\\.ts$" },
      to: { path: "(^|/)node_modules/(@effect/sql-pg|pg|@types/pg)/" }
    },
    {
      name: "sql-not-http",
      comment: "sql and http know core, not each other.",
      severity: "error",
      from: { path: "^packages/sql/" },
      to: { path: ["^packages/http/", "^@sluice/http"] }
    },
    {
      name: "http-not-sql",
      comment: "sql and http know core, not each other.",
      severity: "error",
      from: { path: "^packages/http/" },
      to: { path: ["^packages/sql/", "^@sluice/sql", "node_modules/@effect/sql"] }
    },
    {
      name: "sql-imports-core-and-effect-sql",
      comment: "sql imports core, effect, the packages for SQL, and MessagePack.",
      severity: "error",
      from: { path: "^packages/sql/src/", pathNot: "^packages/sql/src/internal/sqlite/(file|driver)\\.ts$" },
      to: {
        pathNot: [
          "^packages/(core|sql)/(src|dist)/",
          effect,
          "(^|/)node_modules/@effect/(sql[a-z0-9-]*|platform|experimental)/",
          "(^|/)node_modules/(msgpackr|pg)/"
        ]
      }
    },
    {
      name: "sqlite-file-imports-files",
      comment:
        "Where the file of SQLite is looked at, Node's builtins for files are imported as well: the driver runs on Node.",
      severity: "error",
      from: { path: "^packages/sql/src/internal/sqlite/file\\.ts$" },
      to: { pathNot: ["^packages/(core|sql)/(src|dist)/", effect, "^(node:)?(fs|path)$"] }
    },
    {
      name: "sqlite-driver-looks-for-its-package",
      comment: "The driver is looked for before it is loaded, which only Node's builtin for modules can do.",
      severity: "error",
      from: { path: "^packages/sql/src/internal/sqlite/driver\\.ts$" },
      to: {
        pathNot: [
          "^packages/(core|sql)/(src|dist)/",
          effect,
          "(^|/)node_modules/@effect/(sql[a-z0-9-]*|experimental)/",
          "^(node:)?module$"
        ]
      }
    },
    {
      name: "http-imports-core-and-effect-platform",
      comment: "http imports core, effect, the platform package, and the one that has server-sent events.",
      severity: "error",
      from: { path: "^packages/http/src/" },
      to: {
        pathNot: ["^packages/(core|http)/(src|dist)/", effect, "(^|/)node_modules/@effect/(platform|experimental)/"]
      }
    },
    {
      name: "nothing-imports-examples-benchmarks-scratchpad",
      comment: "These three are ends, not parts.",
      severity: "error",
      from: { path: "^(packages/([^/]+)|scratchpad)/" },
      to: {
        path: ["^packages/(examples|benchmarks)/", "^scratchpad/", "^@sluice/(examples|benchmarks|scratchpad)"],
        pathNot: ["^packages/$2/", "^$1/"]
      }
    }
  ],
  options: {
    exclude: { path: "(^|/)(build|coverage)/" },
    doNotFollow: { path: "(^|/)(node_modules|dist)/" },
    // Marks imports that are types only, so that the pure modules may have them.
    tsPreCompilationDeps: true,
    // Without these two, the `exports` of packages are not read: nothing is resolved, and every rule passes silently.
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default", "types"],
      extensions: [".ts", ".js", ".mjs", ".cjs", ".json"]
    }
  }
}
