// Types of heliograph.js, the client of a gateway of heliograph.

/**
 * Opens a connection, and opens it again whenever it ends, until `close` is called or the
 * server says that it must not. A relative URL is one of the page; http means ws.
 */
export function connect<A extends Api = Api>(url: string | URL, options?: ConnectOptions): Connection<A>

/**
 * What a site has, for typed calls and keywords: `helio types --ts` writes it from the
 * running workers and dispatchers. Without one everything is unknown.
 */
export interface Api {
  /** By type and method. */
  calls: Record<string, Record<string, { args: unknown; result: unknown }>>
  /** By type and method. */
  streams: Record<string, Record<string, { args: unknown; item: unknown }>>
  /** By service.KEYWORD. */
  keywords: Record<string, unknown>
}

export interface ConnectOptions {
  /**
   * Returns the token to sign in with. It is called before each attempt to connect, and
   * before a JSON Web Token expires, whose successor is sent by AUTH.
   */
  token?: () => string | undefined | Promise<string | undefined>
  /** What the token follows in the WebSocket subprotocol; see jwt.Config.Subprotocol. Defaults to "jwt.". */
  tokenPrefix?: string
  /** How long to wait for the answer to a command, and for a connection to open, in ms. Defaults to 30,000. */
  timeout?: number
  /** How many commands may wait for their answer. More are refused with queue_full. Defaults to 1,024. */
  maxPending?: number
  /** The longest delay before the first attempt to connect again, in ms. It doubles with each. Defaults to 500. */
  minDelay?: number
  /** What it grows to, in ms. Defaults to 30,000. */
  maxDelay?: number
  /** After how much silence the server is asked whether it is there, in ms. Defaults to 25,000. */
  ping?: number
  /**
   * Whether channels may be read by event streams over plain HTTP where WebSockets can't be
   * opened, after two attempts. Such a connection carries no commands. Each channel takes one
   * request, and over HTTP/1.1 browsers have six. Defaults to true.
   */
  events?: boolean
  /** The WebSocket to use, where there is no global one. */
  WebSocket?: new (url: string, protocols: string[]) => unknown
}

/** connecting: an attempt is under way. waiting: before the next. closed: there is none. */
export type State = "connecting" | "open" | "waiting" | "closed"

export interface StateEvent {
  state: State
  /** Of open: "websocket", or "events" for a connection that only reads. */
  transport?: "websocket" | "events"
  /** Of waiting: the time until the next attempt, in ms. */
  delay?: number
  /** Why the connection has ended. */
  error?: HeliographError
}

export interface Events {
  state: StateEvent
  /** Messages of a channel may have been lost, or `lost` were: see Message.gap. */
  gap: { channel: string; lost?: number }
  /** An error that answers no command. */
  error: HeliographError
  /** A status that is about no subscription, such as those of a command of the host's. */
  status: { status: string; [member: string]: unknown }
  /** What the host has sent by Conn.Send or Broadcast. */
  broadcast: { content?: string; [member: string]: unknown }
}

export interface CommandOptions {
  /** Ends the wait; the promise is rejected with the signal's reason. */
  signal?: AbortSignal
  /** In ms; 0: no limit. Defaults to ConnectOptions.timeout. */
  timeout?: number
}

export interface Connection<A extends Api = Api> {
  readonly state: State
  /** "websocket", "events", or "" while the connection is not open. */
  readonly transport: "" | "websocket" | "events"
  /** Calls the listener at each event. Returns what removes it. */
  on<E extends keyof Events>(event: E, listener: (event: Events[E]) => void): () => void
  /** Ends the connection and all iterations. Commands without an answer are rejected. */
  close(): void

  /** Follows a channel. A connection has one subscription of a channel. */
  subscribe<T = unknown>(channel: string, options?: SubscribeOptions): Subscription<T>

  /** Reads all values of a hash, or one, which is null if there is none. */
  get<T = unknown>(key: string, field?: undefined, options?: CommandOptions): Promise<T[]>
  get<T = unknown>(key: string, field: string, options?: CommandOptions): Promise<T | null>
  /** Publishes, where the host allows it. Returns the number of subscribers in Redis. */
  publish(channel: string, content: unknown, options?: CommandOptions): Promise<number>
  /** Who follows a channel that has a presence. */
  who(channel: string, options?: CommandOptions): Promise<{ clients: number; principals: Record<string, number> }>
  // The commands of package gateway/control, where the host has them.

  /** Calls a method of one worker of a type. */
  call<T extends keyof A["calls"] & string, M extends keyof A["calls"][T] & string>(
    type: T,
    method: M,
    args?: A["calls"][T][M]["args"],
    options?: CommandOptions & { worker?: string },
  ): Promise<A["calls"][T][M]["result"]>
  /** Yields the items of a stream. Leaving the loop ends it. It fails if the connection ends. */
  stream<T extends keyof A["streams"] & string, M extends keyof A["streams"][T] & string>(
    type: T,
    method: M,
    args?: A["streams"][T][M]["args"],
    options?: CommandOptions & { worker?: string; queueBytes?: number },
  ): AsyncIterableIterator<A["streams"][T][M]["item"]>
  /** The living workers of a type. */
  workers(type: string, options?: CommandOptions): Promise<WorkerInfo[]>
  /** Submits a job and returns its id. With an id of one's own it may be repeated. `delay` is in ms. */
  submit(queue: string, method: string, args?: unknown, options?: CommandOptions & { delay?: number; id?: string }): Promise<string>
  /** What is known of a job. */
  job(id: string, options?: CommandOptions): Promise<{ id: string; state: string; [member: string]: unknown }>
  /** A keyword by service.KEYWORD. */
  keyword<K extends keyof A["keywords"] & string>(name: K): Keyword<A["keywords"][K]>
  /** The events of all keywords of a service, or of those that a glob matches: "stage.T*". */
  watch(names: string, options?: WatchOptions): AsyncIterableIterator<KeywordEvent>
  /** Resolves once an expression such as "$stage.SPEED > 3" is true. */
  waitFor(expression: string, options?: CommandOptions): Promise<void>
  services(options?: CommandOptions): Promise<string[]>
  /** The definitions of a service's keywords. */
  describe(service: string, options?: CommandOptions): Promise<Array<{ name: string; kind: string; [member: string]: unknown }>>

  /** Sends any command, such as one of the host's. */
  command(
    name: string,
    args?: readonly unknown[],
    options?: CommandOptions & { options?: Record<string, unknown> },
  ): Promise<{ values: unknown[]; status?: { status: string; [member: string]: unknown } }>
}

export interface WorkerInfo {
  id: string
  type: string
  host: string
  pid: number
  [member: string]: unknown
}

export interface WatchOptions {
  signal?: AbortSignal
  /** How much may wait to be read, in bytes of JSON; the oldest events are dropped. Defaults to 4 MiB. */
  queueBytes?: number
}

export interface Keyword<T> {
  readonly name: string
  read(options?: CommandOptions): Promise<KeywordValue<T>>
  /** Sets it and returns the new revision, once its dispatcher has carried that out. */
  set(value: T, options?: CommandOptions & { ifRevision?: string }): Promise<string>
  /** The value, then every change. After the connection was cut it begins again with the value. */
  watch(options?: WatchOptions): AsyncIterableIterator<KeywordEvent<T>>
}

export interface KeywordValue<T = unknown> {
  /** null if it was never set. */
  value: T | null
  revision: string
  time: string
  quality: string
  severity: string
  text?: string
  /** Who has set it, by user@host:pid/program. */
  source?: string
}

export interface KeywordEvent<T = unknown> {
  /** initial, change, stale, good, gone, disconnected, … as package keywords names them. */
  kind: string
  service: string
  keyword: string
  value: KeywordValue<T>
  prev?: KeywordValue<T>
}

export interface SubscribeOptions {
  /**
   * Begins with the values of the hash of the channel's name, and again after messages were
   * lost. Such a message has `snapshot`.
   */
  snapshot?: boolean
  /**
   * Whether missed messages are asked for after the connection was cut, on a channel with a
   * history. Defaults to true.
   */
  recover?: boolean
  /** Begins after this offset of an earlier message. */
  since?: string
  /** Begins with so many of the last messages. */
  rewind?: number
  /** How much may wait to be read, in bytes of JSON. Defaults to 4 MiB. */
  queueBytes?: number
  /** What happens then: the oldest messages are dropped, or the iteration fails. Defaults to "drop". */
  overflow?: "drop" | "fail"
  /** Ends the iteration with the signal's reason. */
  signal?: AbortSignal
}

/** The iteration ends when it is left, and throws a HeliographError if the server ends it. */
export interface Subscription<T> extends AsyncIterableIterator<Message<T>> {
  readonly channel: string
  /** Resolves once the server has carried out the SUB. */
  readonly ready: Promise<void>
  /** Ends the iteration at once. */
  close(): void
}

export interface Message<T = unknown> {
  channel: string
  content: T
  /** When the gateway got it, in ms since 1970. */
  time: number
  /** Of a channel with a history: what SubscribeOptions.since takes. */
  offset?: string
  /** It is a value of the snapshot. */
  snapshot: boolean
  /** Messages before it may have been lost. A snapshot that follows is complete. */
  gap: boolean
}

/**
 * code is one of the gateway's, or of package gateway/control (their README.md list them), or
 * disconnected: the connection was cut before the answer, which is unknown;
 * timeout: no answer came in time;
 * queue_full: maxPending commands wait; slow: queueBytes wait;
 * read_only: the command needs a WebSocket;
 * subscribed: the channel has a subscription; unsubscribed: the server has ended it;
 * closed: the connection was closed by `close`.
 */
export class HeliographError extends Error {
  constructor(code: string, message?: string, more?: { closeCode?: number; command?: string })
  code: string
  /** Of disconnected: the close code of the WebSocket. */
  closeCode?: number
  /** The command that has failed. */
  command?: string
}
