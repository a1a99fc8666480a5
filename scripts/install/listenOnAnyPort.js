// For `node --import`: a server listens on any port that is free, whichever it names, and its parent is told.
import { Server } from "node:net"

const { listen } = Server.prototype

Server.prototype.listen = function(...args) {
  this.once("listening", () => process.send?.(this.address().port))
  const options = typeof args[0] === "object" ? { ...args[0], port: 0 } : { port: 0 }
  return listen.call(this, options, ...args.filter((arg) => typeof arg === "function"))
}
