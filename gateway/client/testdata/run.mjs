// Runs the suite in Node: node run.mjs BASE PROXY NAME…
globalThis.heliographURL = new URL("../heliograph.js", import.meta.url).href
Error.stackTraceLimit = 30
const { run } = await import("./suite.mjs")
const [base, proxy, ...names] = process.argv.slice(2)
await run(base, proxy, names)
process.exit(0)
