// The tests of heliograph.js that run in Chromium and in Node against a real gateway. Each
// test is an exported function that gets the server's base URL and throws if it fails.

const { connect, HeliographError } = await import(globalThis.heliographURL ?? "/heliograph.js")

const until = (condition, what) =>
  new Promise((resolve, reject) => {
    const began = Date.now()
    const look = () => {
      if (condition()) resolve()
      else if (Date.now() - began > 30_000) reject(new Error(`not in 30 s: ${what ?? condition}`))
      else setTimeout(look, 5)
    }
    look()
  })

function same(want, got, what = "") {
  if (JSON.stringify(want) !== JSON.stringify(got)) throw new Error(`${what}: want ${JSON.stringify(want)}, got ${JSON.stringify(got)}`)
}

async function rejected(promise, code) {
  const error = await promise.then(
    (value) => new Error(`no error, but ${JSON.stringify(value)}`),
    (error) => error,
  )
  if (!(error instanceof HeliographError) || error.code !== code) throw new Error(`want the code ${code}, got ${error.code}: ${error.message}`)
}

const server = (base, what) => fetch(`${base}/${what}`, { method: "POST" }).then((r) => r.text())

export async function commands(base) {
  const h = connect(base + "/ws")
  same([{ at: 1 }, "two"], (await h.get("ships")).sort((a, b) => (typeof a > typeof b ? 1 : -1)), "hash")
  same({ at: 1 }, await h.get("ships", "one"))
  same(null, await h.get("ships", "none"))
  same([], await h.get("nothing"))
  await rejected(h.get("forbidden.key"), "forbidden")
  await rejected(h.get("text"), "not_a_hash")
  await rejected(h.command("NOPE"), "bad_command")
  same(["PONG"], (await h.command("PING")).values)
  const sub = h.subscribe("chat")
  await sub.ready
  same(1, await h.publish("chat", { hello: "w\"orld" }))
  const { value: m } = await sub.next()
  same([{ hello: 'w"orld' }, "chat", false, false], [m.content, m.channel, m.gap, m.snapshot])
  await rejected(h.publish("forbidden", 1), "forbidden")
  await rejected(h.subscribe("forbidden").next(), "forbidden")
  let twice
  try {
    h.subscribe("chat")
  } catch (error) {
    twice = error.code
  }
  same("subscribed", twice)
  await sub.return()
  const again = h.subscribe("chat") // at once
  await again.ready
  h.close()
  same({ done: true }, await again.next())
  await rejected(h.get("ships"), "closed")
  same("closed", h.state)
}

export async function signals(base) {
  const h = connect(base + "/ws")
  await h.get("ships")
  const stop = new AbortController()
  const sub = h.subscribe("chat", { signal: stop.signal })
  const first = sub.next()
  stop.abort(new Error("enough"))
  same("enough", await first.catch((e) => e.message))
  const late = h.command("SLEEP", [], { signal: AbortSignal.timeout(20) })
  same("TimeoutError", await late.catch((e) => e.name))
  await rejected(h.command("SLEEP", [], { timeout: 20 }), "timeout")
  h.close()
  const small = connect(base + "/ws", { maxPending: 2 })
  const two = [small.get("ships"), small.get("ships")]
  await rejected(small.get("ships"), "queue_full")
  await Promise.all(two)
  small.close()
}

export async function snapshots(base) {
  const h = connect(base + "/ws")
  const sub = h.subscribe("ships", { snapshot: true })
  const values = [(await sub.next()).value, (await sub.next()).value]
  same([true, true], values.map((m) => m.snapshot))
  await sub.ready
  await server(base, "publish?channel=ships&count=1")
  same([false, 1], [(await sub.next()).value].flatMap((m) => [m.snapshot, m.content.n]))
  h.close()
}

export async function slowReaders(base) {
  const h = connect(base + "/ws")
  let gaps = 0
  h.on("gap", ({ lost }) => (gaps += lost))
  const sub = h.subscribe("plain", { queueBytes: 2000 })
  const failing = h.subscribe("chat", { queueBytes: 2000, overflow: "fail" })
  await Promise.all([sub.ready, failing.ready])
  await server(base, "publish?channel=plain&count=100")
  await server(base, "publish?channel=chat&count=100")
  await until(() => gaps > 50, "messages are dropped")
  await h.command("PING")
  const { value: first } = await sub.next()
  same(true, first.gap)
  same(gaps + 1, first.content.n)
  sub.close()
  const seen = []
  await rejected(
    (async () => {
      for await (const m of failing) seen.push(m.content.n)
    })(),
    "slow",
  )
  seen.forEach((n, i) => same(i + 1, n))
  h.close()
}

export async function codes(base) {
  const h = connect(base + "/ws?user=ada", { minDelay: 10 })
  const states = []
  h.on("state", ({ state }) => states.push(state))
  const sub = h.subscribe("plain")
  await sub.ready
  const waiting = h.command("SLEEP")
  waiting.catch(() => {})
  await server(base, "close?user=ada&code=4002")
  await rejected(waiting, "disconnected")
  await until(() => states.filter((s) => s === "open").length === 2, "connected again")
  await until(() => server(base, "publish?channel=plain&count=1"))
  same(true, (await sub.next()).value.gap, "what was missed is unknown")
  await server(base, "close?user=ada&code=4500")
  await rejected(sub.next(), "disconnected")
  same("closed", h.state)
  await rejected(h.get("ships"), "disconnected")
}

export async function tokens(base) {
  let asked = 0
  const token = async () => {
    asked++
    return (await server(base, "token")).trim()
  }
  const h = connect(base + "/signed", { token, minDelay: 10 })
  let closed = 0
  h.on("state", ({ state }) => (closed += state === "waiting"))
  same({ at: 1 }, await h.get("ships", "one"))
  const sub = h.subscribe("log")
  await sub.ready
  await until(() => asked > 2, "renewed") // a token lives for four seconds
  same(0, closed, "AUTH came before the end")
  h.close()
  const broken = connect(base + "/signed", { token: () => Promise.reject(new Error("no session")), minDelay: 10 })
  const why = []
  broken.on("state", ({ error }) => error && why.push(error.message))
  await until(() => why.length > 2)
  same("no token: no session", why[0])
  broken.close()
}

export async function silence(base, proxy) {
  const h = connect(proxy + "/ws", { ping: 300, minDelay: 10 })
  await h.get("ships")
  const states = []
  h.on("state", ({ state, error }) => states.push(error?.message ?? state))
  await server(base, "freeze")
  await until(() => states.includes("silent"), "the silence is noticed")
  await server(base, "thaw")
  same({ at: 1 }, await h.get("ships", "one"))
  h.close()
}

export async function eventStreams(base) {
  const h = connect(base + "/events-only", { minDelay: 10 })
  const sub = h.subscribe("ships", { snapshot: true })
  const log = h.subscribe("log", { recover: true })
  const refused = h.subscribe("forbidden")
  await rejected(refused.next(), "forbidden")
  same([true, true], [(await sub.next()).value.snapshot, (await sub.next()).value.snapshot])
  await Promise.all([sub.ready, log.ready])
  same("events", h.transport)
  await rejected(h.get("ships"), "read_only")
  await server(base, "publish?channel=log&count=3")
  const first = (await log.next()).value.content.n
  for (const n of [1, 2]) same(first + n, (await log.next()).value.content.n)
  await server(base, "close?user=&code=4002")
  await server(base, "publish?channel=log&count=1")
  const { value: next } = await log.next()
  same([first + 3, false], [next.content.n, next.gap], "resumed")
  h.close()
}

export async function restarts(base) {
  const h = connect(base + "/ws", { minDelay: 10 })
  const waiting = []
  h.on("state", ({ state, delay }) => state === "waiting" && waiting.push(delay))
  const log = h.subscribe("log")
  const plain = h.subscribe("plain")
  await Promise.all([log.ready, plain.ready])
  await server(base, "restart")
  await server(base, "publish?channel=log&count=2")
  const { value: one } = await log.next()
  const { value: two } = await log.next()
  same([false, one.content.n + 1, false], [one.gap, two.content.n, two.gap], "nothing is missed")
  await until(() => waiting.length === 1)
  if (!(waiting[0] > 10)) throw new Error(`the server's delay was ignored: ${waiting}`)
  await until(() => h.state === "open")
  await h.command("PING")

  await server(base, "restart-redis")
  let received
  plain.next().then(({ value }) => (received = value))
  while (!received) {
    await server(base, "publish?channel=plain&count=1")
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  same(true, received.gap, "messages may have been lost meanwhile")
  same("open", h.state, "the socket stays")
  h.close()
}

export async function control(base) {
  const h = connect(base + "/control?user=ada", { minDelay: 10 })
  same(3, await h.call("calc", "add", { a: 1, b: 2 }))
  same("calc", (await h.workers("calc"))[0].type)
  await rejected(h.call("calc", "add", { a: "x" }), "bad_arguments")
  await rejected(h.call("calc", "none"), "unknown_method")
  await rejected(h.call("gone", "add"), "no_workers")
  await rejected(h.call("private", "add"), "forbidden")
  await rejected(h.call("calc", "hang", null, { timeout: 50 }), "timeout")
  const items = []
  for await (const n of h.stream("calc", "count", { a: 3, b: 1e9 })) {
    items.push(n)
    if (n === 5) break
  }
  same([3, 4, 5], items)
  await server(base, "ended") // the handler of the stream

  const speed = h.keyword("stage.SPEED")
  same([], [...(await h.services())].filter((s) => s !== "stage"))
  same(["SPEED"], (await h.describe("stage")).map((d) => d.name))
  const rev = await speed.set(3.5)
  same([3.5, rev], [(await speed.read()).value, (await speed.read()).revision])
  if (!(await speed.read()).source.startsWith("ada@")) throw new Error("not set by ada")
  await rejected(speed.set(99), "range")
  await rejected(speed.set(4, { ifRevision: "1:1" }), "revision")
  await rejected(h.keyword("stage.NONE").read(), "unknown_keyword")
  await rejected(h.waitFor("$stage.SPEED >"), "expression")
  const events = speed.watch()
  same(["initial", 3.5], await events.next().then(({ value }) => [value.kind, value.value.value]))
  const waited = h.waitFor("$stage.SPEED > 5")
  await speed.set(6)
  await waited
  same(6, (await events.next()).value.value.value)
  await server(base, "cut-control")
  same(6, (await events.next()).value.value.value, "the watch begins again")
  await speed.set(7)
  same(7, (await events.next()).value.value.value)
  await events.return()
  same({ done: true }, await events.next())

  const id = await h.submit("sums", "add", { a: 1, b: 2 }, { delay: 3_600_000, id: "mine" })
  same(id, await h.submit("sums", "add", { a: 1, b: 2 }, { delay: 3_600_000, id: "mine" }))
  same("scheduled", (await h.job(id)).state)
  h.close()
}

// cuts follows three channels while the proxy cuts all connections at random: what was
// published and not received is behind a gap, nothing comes twice or out of order, and
// the state is right in the end.
export async function cuts(base, proxy) {
  const h = connect(proxy + "/ws", { minDelay: 1, maxDelay: 20, timeout: 2000 })
  const problems = []
  const counts = { log: 0, plain: 0, state: 0, gaps: 0, connections: 0 }
  h.on("state", ({ state }) => (counts.connections += state === "open"))
  const follow = async (channel, options, check) => {
    for await (const m of h.subscribe(channel, options)) {
      counts[channel]++
      if (m.gap) counts.gaps++
      if (m.content.end && !m.snapshot) return
      check(m)
    }
  }
  const ordered = (channel) => {
    let last
    return (m) => {
      const { n } = m.content
      if (last !== undefined && (n <= last || (n > last + 1 && !m.gap))) problems.push(`${channel}: ${n} after ${last}, gap ${m.gap}`)
      last = n
    }
  }
  let state
  const checkState = (m) => {
    // A snapshot may be as old as Limits.SnapshotAge. What was published since follows it.
    if (!m.snapshot && state !== undefined && m.content.n !== state + 1) problems.push(`state: ${m.content.n} after ${state}`)
    if (m.snapshot && !m.gap && state !== undefined) problems.push(`state: a snapshot without gap after ${state}`)
    state = m.content.n
  }
  await Promise.all([follow("log", {}, ordered("log")), follow("plain", {}, ordered("plain")), follow("state", { snapshot: true }, checkState)])
  h.close()
  same([], problems.slice(0, 10))
  return counts
}

// run runs the tests one after the other, and returns the names of those that failed with
// their errors.
export async function run(base, proxy, names) {
  const tests = { commands, signals, snapshots, slowReaders, codes, tokens, silence, eventStreams, restarts, control, cuts }
  const report = { failed: {}, passed: {} }
  for (const name of names) {
    const began = Date.now()
    try {
      report.passed[name] = (await tests[name](base, proxy)) ?? `in ${Date.now() - began} ms`
    } catch (error) {
      report.failed[name] = `${error?.code ?? ""} ${error?.message} ${error?.stack}`
    }
  }
  await fetch(base + "/report", { method: "POST", body: JSON.stringify(report) })
}
