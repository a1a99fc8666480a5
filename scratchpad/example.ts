import { Effect } from "effect"

Effect.runSync(Effect.log("A place to try things. Only this file is kept in git."))
