// Types of heliograph.js, the client of a gateway of heliograph.

/**
 * Opens a connection, and opens it again whenever it ends, until `close` is called or the
 * server says that it must not. A relative URL is one of the page; http means ws.
 */
export function connect(url: string | URL, options?: ConnectOptions): Connection

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

export interface Connection {
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
  /** Sends any command, such as one of the host's. */
  command(
    name: string,
    args?: readonly unknown[],
    options?: CommandOptions & { options?: Record<string, unknown> },
  ): Promise<{ values: unknown[]; status?: { status: string; [member: string]: unknown } }>
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
 * code is one of the gateway's (its README.md lists them), or
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
