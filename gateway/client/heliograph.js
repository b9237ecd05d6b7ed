// heliograph.js connects a page, or another program in JavaScript, to a gateway of heliograph.
// heliograph.d.ts has the types and says what each name does.

const protocol = "heliograph.json.v1"

// The codes of errors that may pass by themselves.
const passing = ["unavailable", "too_fast", "internal", "timeout"]

export const connect = (url, options) => new Connection(url, options)

export class HeliographError extends Error {
  constructor(code, message, more) {
    super(message)
    this.name = "HeliographError"
    this.code = code
    Object.assign(this, more)
  }
}

class Connection {
  #url
  #options
  #state
  #error // why the connection is closed
  #transport // open, or being opened
  #live = false // the transport is open
  #failures = 0 // in a row
  #blocked = 0 // WebSockets in a row that did not open
  #hint = 0 // when to connect again, in ms, as the server has said
  #timer // of the next try, or of the limit of this one
  #watch
  #renewal
  #heard = 0 // when something last came
  #pinged = 0 // when PING was last sent
  #id = 0
  #requests = new Map() // by id
  #subscriptions = new Map() // by channel
  #listeners = {}

  constructor(url, options) {
    this.#url = new URL(url, globalThis.location?.href)
    this.#url.protocol = this.#url.protocol.replace("http", "ws")
    this.#options = { timeout: 30_000, maxPending: 1024, minDelay: 500, maxDelay: 30_000, ping: 25_000, tokenPrefix: "jwt.", ...options }
    globalThis.addEventListener?.("online", this.#online)
    this.#open()
  }

  get state() {
    return this.#state
  }

  get transport() {
    return this.#live ? this.#transport.name : ""
  }

  on(event, listener) {
    const all = (this.#listeners[event] ??= new Set())
    all.add(listener)
    return () => all.delete(listener)
  }

  #emit(event, value) {
    for (const listener of this.#listeners[event] ?? []) {
      try {
        listener(value)
      } catch (error) {
        reportError(error) // the listener's; the connection goes on
      }
    }
  }

  #enter(state, more) {
    this.#state = state
    this.#emit("state", { state, ...more })
  }

  #online = () => {
    if (this.#state !== "waiting") return
    clearTimeout(this.#timer)
    this.#open()
  }

  async #open() {
    const begun = Date.now()
    const early = (this.#transport = {}) // until the token is there
    this.#enter("connecting")
    let token
    try {
      token = await this.#options.token?.()
    } catch (error) {
      return this.#ended(early, 0, `no token: ${error?.message}`)
    }
    if (this.#transport !== early) return
    // Once two WebSockets could not be opened, each second try is one without.
    const events = this.#options.events !== false && this.#subscriptions.size > 0 && this.#blocked > 1 && this.#blocked % 2 === 0
    const transport = new (events ? EventStreams : Socket)(this.#url, token, this.#options, {
      open: () => transport === this.#transport && !this.#live && this.#opened(token),
      frame: (frame) => transport === this.#transport && this.#frame(frame),
      heard: () => (this.#heard = Date.now()),
      refused: (channel, error) => this.#subscriptions.get(channel)?.end(error),
      ended: (code, reason) => this.#ended(transport, code, reason, Date.now() - begun),
    })
    this.#transport = transport
    this.#timer = setTimeout(() => this.#drop("not open in time"), this.#options.timeout)
    if (!transport.commands) for (const s of this.#subscriptions.values()) this.#follow(s)
  }

  #opened(token) {
    const { name, commands } = this.#transport
    clearTimeout(this.#timer)
    this.#live = true
    this.#hint = this.#pinged = 0
    this.#blocked = commands ? 0 : this.#blocked + 1
    this.#heard = Date.now()
    this.#watch = setInterval(() => this.#look(), this.#options.ping / 2)
    if (commands) this.#renewal = renewAt(token, () => this.#renew())
    this.#enter("open", { transport: name })
    if (commands) for (const s of this.#subscriptions.values()) this.#follow(s)
    for (const r of this.#requests.values()) if (!r.sent) this.#send(r)
  }

  // look ends a connection by which nothing comes any more, such as one whose cable was
  // pulled. Timers of a hidden page are late: silence alone does not tell.
  #look() {
    const silent = Date.now() - this.#heard
    const { ping } = this.#options
    if (!this.#transport.commands) return silent > 3 * ping && this.#drop("silent")
    if (silent < ping) return
    if (this.#pinged > this.#heard) return Date.now() - this.#pinged > ping / 3 && this.#drop("silent")
    this.#pinged = Date.now()
    this.#request("PING").catch(() => {})
  }

  #drop(reason) {
    const transport = this.#transport
    transport.close?.()
    this.#ended(transport, 1006, reason)
  }

  async #renew() {
    const transport = this.#transport
    try {
      const token = await this.#options.token()
      if (transport !== this.#transport) return
      await this.#request("AUTH", [token])
      this.#renewal = renewAt(token, () => this.#renew())
    } catch {
      // The server ends the connection when the old token expires; the next one has a new token.
    }
  }

  #ended(transport, code, reason, lasted = 0) {
    if (transport !== this.#transport) return
    if (!this.#live && transport.name) this.#blocked++
    this.#stop()
    const error = new HeliographError("disconnected", reason || `the connection has ended with code ${code}`, { closeCode: code })
    for (const r of [...this.#requests.values()]) {
      if (r.retry) r.sent = false
      else if (r.sent) r.reject(error)
    }
    for (const s of this.#subscriptions.values()) s.cut()
    if (code === 4001 ? !this.#options.token : code >= 4500 || [1002, 1007, 1008, 1009].includes(code)) return this.#finish(error)
    const { minDelay, maxDelay } = this.#options
    if (lasted > maxDelay) this.#failures = 0
    const most = Math.min(maxDelay, minDelay * 2 ** this.#failures++ * (code === 4029 ? 8 : 1))
    // At random, so that the clients of a server that restarts don't all come at once.
    const delay = this.#hint || most * (0.5 + Math.random() / 2)
    this.#hint = 0
    this.#timer = setTimeout(() => this.#open(), delay)
    this.#enter("waiting", { delay, error })
  }

  #stop() {
    this.#transport = undefined
    this.#live = false
    clearTimeout(this.#timer)
    clearTimeout(this.#renewal)
    clearInterval(this.#watch)
  }

  #finish(error) {
    this.#error = error ?? new HeliographError("closed", "the connection was closed")
    this.#stop()
    globalThis.removeEventListener?.("online", this.#online)
    for (const s of [...this.#subscriptions.values()]) s.end(error)
    for (const r of [...this.#requests.values()]) r.reject(this.#error)
    this.#enter("closed", { error })
  }

  close() {
    if (this.#error) return
    this.#transport?.close?.()
    this.#finish()
  }

  #frame(frame) {
    this.#heard = Date.now()
    const { type, id } = frame
    const request = this.#requests.get(id)
    const s = this.#subscriptions.get(request ? request.channel : id === undefined ? frame.channel ?? frame.source : undefined)
    if (type === "message") s?.push(frame)
    else if (type === "value" && s) s.push({ ...frame, time: this.#heard, snapshot: true })
    else if (type === "value") request?.value(frame.content)
    else if (type === "done") request?.resolve(request)
    else if (type === "error") {
      const error = new HeliographError(frame.code, frame.message, { command: request?.command })
      if (request) request.reject(error)
      else if (id === undefined) this.#emit("error", error)
    } else if (type === "status") {
      if (request) request.status = frame
      const { status } = frame
      if (status === "subscribed" && s?.subscribed(frame)) this.#follow(s)
      else if (status === "gap" || status === "lost") s?.miss(frame.count)
      else if (status === "unsubscribed") s?.end(new HeliographError(status, `the server has ended the subscription of ${frame.channel}`))
      else if (status === "closing") this.#hint = frame.reconnect_ms
      else if (!request) this.#emit("status", frame)
    } else this.#emit("broadcast", frame)
  }

  // request sends a command once the connection is open. With retry, it is sent again if
  // the connection ends before the answer.
  #request(command, args = [], { options = {}, signal, timeout = this.#options.timeout, retry, cancels, value, channel } = {}) {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      if (this.#error) throw this.#error
      if (this.#requests.size >= this.#options.maxPending) throw new HeliographError("queue_full", `${this.#requests.size} commands wait for an answer, which is maxPending`)
      const id = ++this.#id
      const cancel = (reason) => {
        if (cancels && request.sent && this.#live) this.#request("CANCEL", [id]).catch(() => {})
        request.reject(reason)
      }
      const abort = () => cancel(signal.reason)
      const timer = timeout > 0 && setTimeout(() => cancel(new HeliographError("timeout", `${command}: no answer in ${timeout} ms`)), timeout)
      const end = (then) => (result) => {
        clearTimeout(timer)
        signal?.removeEventListener("abort", abort)
        this.#requests.delete(id)
        then(result)
      }
      const values = []
      const request = { id, command, args, options, channel, retry, values, value: value ?? ((v) => values.push(v)), resolve: end(resolve), reject: end(reject) }
      signal?.addEventListener("abort", abort)
      this.#requests.set(id, request)
      if (this.#live) this.#send(request)
    })
  }

  #send(request) {
    const { id, command, args, options } = request
    if (!this.#transport.commands) return request.reject(new HeliographError("read_only", `${command} needs a WebSocket, and none could be opened`))
    request.sent = true
    this.#transport.send(JSON.stringify({ id, command, args, options }))
  }

  // follow asks the server for the messages of a subscription.
  #follow(s) {
    if (!this.#transport?.commands) return this.#transport?.follow?.(s.channel, s.begin())
    if (!this.#live) return
    this.#request("SUB", [s.channel], { options: s.begin(), channel: s.channel }).catch((error) => {
      if (error.code === "disconnected" || this.#subscriptions.get(s.channel) !== s) return
      if (!passing.includes(error.code)) return s.end(error)
      s.cut()
      s.again(() => this.#follow(s), this.#options)
    })
  }

  subscribe(channel, options) {
    if (this.#error) throw this.#error
    if (this.#subscriptions.has(channel)) throw new HeliographError("subscribed", `${channel} has a subscription already`)
    const s = new Subscription(channel, options, (lost) => this.#emit("gap", { channel, lost }), () => {
      if (this.#subscriptions.get(channel) === s) this.#subscriptions.delete(channel)
      if (!this.#live) return this.#transport?.leave?.(channel)
      if (this.#transport.commands) this.#request("DEL", [channel]).catch(() => {})
      else this.#transport.leave(channel)
    })
    this.#subscriptions.set(channel, s)
    this.#follow(s)
    return s
  }

  command(command, args, options) {
    return this.#request(command, args, options).then(({ values, status }) => ({ values, status }))
  }

  // items returns the answers to a command as they come.
  #items(command, args, { queueBytes, signal, overflow = "fail", ...more }) {
    const stop = new AbortController()
    const queue = new Queue({ queueBytes: queueBytes ?? 4 << 20, signal, overflow }, () => stop.abort())
    this.#request(command, args, { timeout: 0, ...more, cancels: true, signal: stop.signal, value: (v) => queue.add(v) }).then(
      () => queue.end(),
      (error) => queue.end(error),
    )
    return queue
  }

  async get(key, field, options) {
    const { values } = await this.#request("GET", field === undefined ? [key] : [key, field], { retry: true, ...options })
    if (field !== undefined) return values[0] ?? null
    return values.length === 1 && values[0] === null ? [] : values
  }

  publish(channel, content, options) {
    return this.#request("PUB", [channel, JSON.stringify(content)], options).then((r) => r.status.receivers)
  }

  #one(command, args, options) {
    return this.#request(command, args, options).then((r) => r.values[0])
  }

  #all(command, args, options) {
    return this.#request(command, args, { retry: true, ...options }).then((r) => r.values)
  }

  // The commands of package gateway/control.

  call(type, method, args = null, { worker, ...more } = {}) {
    return this.#one("CALL", [type, method, JSON.stringify(args)], { cancels: true, options: { worker }, ...more })
  }

  stream(type, method, args = null, { worker, ...more } = {}) {
    return this.#items("STREAM", [type, method, JSON.stringify(args)], { options: { worker }, ...more })
  }

  workers(type, more) {
    return this.#all("WORKERS", [type], more)
  }

  submit(queue, method, args = null, { delay, id, ...more } = {}) {
    return this.#one("SUBMIT", [queue, method, JSON.stringify(args)], { options: { delay, id }, retry: !!id, ...more })
  }

  job(id, more) {
    return this.#one("JOB", [id], { retry: true, ...more })
  }

  keyword(name) {
    return {
      name,
      read: (more) => this.#one("READ", [name], { retry: true, ...more }),
      set: (value, { ifRevision, ...more } = {}) => this.#one("SET", [name, value], { cancels: true, options: { if: ifRevision }, ...more }).then((v) => v.revision),
      watch: (more) => this.#items("WATCH", [name], { retry: true, overflow: "drop", ...more }),
    }
  }

  // watch yields the events of all keywords of a service, or of those that a glob matches.
  watch(names, more) {
    return this.keyword(names).watch(more)
  }

  waitFor(expression, more) {
    return this.#request("WAIT", [expression], { timeout: 0, retry: true, cancels: true, ...more }).then(() => {})
  }

  services(more) {
    return this.#all("SERVICES", [], more)
  }

  describe(service, more) {
    return this.#all("DESCRIBE", [service], more)
  }

  who(channel, options) {
    return this.#one("WHO", [channel], { retry: true, ...options })
  }
}

// Queue is an async iterator of what is added to it, bounded in bytes.
class Queue {
  #options
  #items = []
  #bytes = 0
  #waiting = [] // calls of next
  #over = false
  #error
  #onend
  #abort

  constructor(options, onend) {
    this.#options = { queueBytes: 4 << 20, ...options }
    this.#onend = onend
    const { signal } = this.#options
    signal?.throwIfAborted()
    this.#abort = () => this.end(signal.reason)
    signal?.addEventListener("abort", this.#abort)
  }

  // add returns how many items were dropped, the oldest, to make room.
  add(value) {
    if (this.#over) return 0
    const next = this.#waiting.shift()
    if (next) return next.resolve({ value, done: false }), 0
    const size = 100 + (JSON.stringify(value)?.length ?? 0)
    this.#bytes += size
    this.#items.push({ value, size })
    let dropped = 0
    while (this.#bytes > this.#options.queueBytes && this.#items.length > 1) {
      if (this.#options.overflow === "fail") return this.end(new HeliographError("slow", `more than queueBytes, ${this.#options.queueBytes}, wait to be read`)), 0
      this.#bytes -= this.#items.shift().size
      dropped++
    }
    return dropped
  }

  get oldest() {
    return this.#items[0]?.value
  }

  // end ends the iteration, after what is in the queue.
  end(error) {
    if (this.#over) return
    this.#over = true
    this.#error = error
    this.#options.signal?.removeEventListener("abort", this.#abort)
    for (const next of this.#waiting.splice(0)) this.next().then(next.resolve, next.reject)
    this.#onend(error)
  }

  close() {
    this.#items = []
    this.end()
  }

  async next() {
    const item = this.#items.shift()
    if (item) {
      this.#bytes -= item.size
      return { value: item.value, done: false }
    }
    if (!this.#over) return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
    const error = this.#error
    this.#error = undefined
    if (error) throw error
    return { value: undefined, done: true }
  }

  async return() {
    this.close()
    return { value: undefined, done: true }
  }

  [Symbol.asyncIterator]() {
    return this
  }
}

class Subscription extends Queue {
  #options
  #ongap
  #gap = false // messages may be missing before the next
  #since // an offset
  #begun = false // it was subscribed before
  #active = false // it is subscribed
  #settle
  #failures = 0
  #timer

  constructor(channel, options = {}, ongap, onend) {
    super(options, (error) => {
      clearTimeout(this.#timer)
      this.#settle.reject(error ?? new HeliographError("closed", "the subscription was closed"))
      onend()
    })
    this.channel = channel
    this.#options = { recover: true, ...options }
    this.#ongap = ongap
    this.#since = options.since
    this.ready = new Promise((resolve, reject) => (this.#settle = { resolve, reject }))
    this.ready.catch(() => {}) // the iteration has the error too
  }

  // begin returns the options of SUB.
  begin() {
    clearTimeout(this.#timer)
    this.#active = false // what comes before the answer is of an earlier SUB
    const { recover, snapshot, rewind } = this.#options
    if (this.#since !== undefined && (recover || !this.#begun)) return { since: this.#since }
    if (snapshot) return { snapshot: 1 }
    return rewind && !this.#begun ? { rewind } : { ack: 1 }
  }

  // subscribed reports whether a SUB must follow, for a snapshot.
  subscribed({ offset, recovered }) {
    const missed = recovered === false
    if (missed) this.miss()
    this.#begun = true
    this.#failures = 0
    this.#since = missed && this.#options.snapshot ? undefined : offset
    if (missed && this.#options.snapshot) return true
    this.#active = true
    this.#settle.resolve()
  }

  again(follow, { minDelay, maxDelay }) {
    this.#timer = setTimeout(follow, Math.min(maxDelay, minDelay * 2 ** this.#failures++))
  }

  // cut notes that no messages come any more, until the next SUB.
  cut() {
    this.#active = false
    clearTimeout(this.#timer)
    if (this.#begun && !(this.#options.recover && this.#since !== undefined) && !this.#gap) this.miss()
  }

  miss(lost) {
    this.#gap = true
    this.#ongap(lost)
  }

  push({ content, time, offset, snapshot = false }) {
    if (!this.#active && !snapshot) return
    if (offset !== undefined) this.#since = offset
    const gap = this.#gap
    this.#gap = false
    const dropped = this.add({ channel: this.channel, content, time, offset, snapshot, gap })
    if (!dropped) return
    this.oldest.gap = true
    this.#ongap(dropped)
  }
}

class Socket {
  name = "websocket"
  commands = true
  #socket

  constructor(url, token, { WebSocket = globalThis.WebSocket, tokenPrefix }, on) {
    try {
      this.#socket = new WebSocket(url.href, token ? [protocol, tokenPrefix + token] : [protocol])
    } catch (error) {
      queueMicrotask(() => on.ended(0, error.message))
      return
    }
    this.#socket.onopen = on.open
    this.#socket.onmessage = ({ data }) => on.frame(parse(data))
    this.#socket.onclose = ({ code, reason }) => on.ended(code, reason)
    this.#socket.onerror = () => on.ended(1006, "the WebSocket has failed") // in Node no close follows
  }

  send(text) {
    this.#socket.send(text)
  }

  close() {
    this.#socket?.close(1000)
  }
}

// EventStreams reads each channel by a GET of its own, where WebSockets are blocked.
class EventStreams {
  name = "events"
  commands = false
  #url
  #headers = { Accept: "text/event-stream" }
  #on
  #streams = new Map() // channel → AbortController

  constructor(url, token, _, on) {
    this.#url = url.href.replace(/^ws/, "http")
    this.#on = on
    if (token) this.#headers.Authorization = `Bearer ${token}`
  }

  async follow(channel, options) {
    this.leave(channel)
    const on = this.#on
    const stop = new AbortController()
    this.#streams.set(channel, stop)
    const ended = (code, reason) => {
      if (this.#streams.get(channel) !== stop) return
      this.close()
      on.ended(code, reason)
    }
    const refused = (code, text) => on.refused(channel, new HeliographError(code, text))
    const url = new URL(this.#url)
    url.searchParams.set("protocol", protocol)
    url.searchParams.append("sub", [JSON.stringify(channel), ...Object.entries(options).map((option) => option.join("="))].join(" "))
    try {
      const response = await fetch(url, { headers: this.#headers, signal: stop.signal, credentials: "include", cache: "no-store" })
      if (!response.ok) {
        const [, code, text] = /^([a-z_]+): (.*)/.exec(await response.text()) ?? []
        if (code) on.open(), refused(code, text)
        else ended(response.status === 401 ? 4001 : 0, `HTTP status ${response.status}`)
        return
      }
      on.open()
      await readEvents(response.body, on.heard, (event, data) => {
        if (event === "close") ended(data.code, data.reason)
        else if (event !== "failure") on.frame(data)
        else if (passing.includes(data.code)) ended(1013, data.message)
        else refused(data.code, data.message)
      })
      ended(1006)
    } catch (error) {
      ended(0, error.message)
    }
  }

  leave(channel) {
    this.#streams.get(channel)?.abort()
    this.#streams.delete(channel)
  }

  close() {
    for (const channel of [...this.#streams.keys()]) this.leave(channel)
  }
}

async function readEvents(body, heard, handle) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  for (let text = ""; ; ) {
    const { value, done } = await reader.read()
    if (done) return
    heard()
    const events = (text + value).split("\n\n")
    text = events.pop()
    for (const event of events) {
      const fields = {}
      for (const line of event.split("\n")) {
        const [, name, content] = /^(\w+): ?(.*)/.exec(line) ?? []
        if (name) fields[name] = name in fields ? fields[name] + "\n" + content : content
      }
      if ("data" in fields) handle(fields.event, parse(fields.data))
    }
  }
}

function parse(text) {
  try {
    const frame = JSON.parse(text)
    if (frame?.type || frame?.code) return frame
  } catch {
    // not JSON either
  }
  return { content: text } // what a host has sent as it is
}

// renewAt calls renew before a JSON Web Token expires. When another token expires, only
// the server knows.
function renewAt(token, renew) {
  try {
    const { exp } = JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")))
    const left = exp * 900 - Date.now() * 0.9
    if (left > 0 && left < 2 ** 31) return setTimeout(renew, left)
  } catch {
    // no JSON Web Token
  }
}
