// What compiles and what doesn't: tsc fails where an expected error is none.
import { connect, HeliographError, type Connection, type Message } from "heliograph"

interface Train {
  line: string
  at: [number, number]
}

const h: Connection = connect("/ws", { token: async () => "secret", maxDelay: 1000 })
h.on("state", ({ state, delay }) => console.log(state satisfies "connecting" | "open" | "waiting" | "closed", delay))
h.on("gap", ({ channel, lost }) => console.log(channel.length, lost?.toFixed()))
// @ts-expect-error: no such event
h.on("gaps", () => {})
// @ts-expect-error: not a number
connect("/ws", { maxDelay: "1s" })

async function follow(signal: AbortSignal): Promise<void> {
  for await (const m of h.subscribe<Train>("trains", { snapshot: true, signal })) {
    const message: Message<Train> = m
    console.log(message.content.line, m.content.at[0].toFixed())
    // @ts-expect-error: a train has no name
    console.log(m.content.name)
  }
  // @ts-expect-error: no such policy
  h.subscribe("trains", { overflow: "block" })
}

async function commands(): Promise<void> {
  const all: Train[] = await h.get<Train>("trains")
  const one: Train | null = await h.get<Train>("trains", "S1")
  const receivers: number = await h.publish("trains", all)
  const { principals } = await h.who("trains")
  console.log(one, receivers, principals.ada)
  const { values } = await h.command("BBOX", [5, 45, 11, 48], { timeout: 1000 })
  // @ts-expect-error: unknown until it is looked at
  values[0].bbox
}

interface Site {
  calls: { calc: { add: { args: { a: number; b: number }; result: number } } }
  streams: { calc: { tail: { args: { n: number }; item: string } } }
  keywords: { "stage.SPEED": number; "stage.MODE": "Idle" | "Slew" }
}

async function control(): Promise<void> {
  const h = connect<Site>("/ws")
  const sum: number = await h.call("calc", "add", { a: 1, b: 2 })
  // @ts-expect-error: b is missing
  await h.call("calc", "add", { a: sum })
  // @ts-expect-error: no such method
  await h.call("calc", "subtract")
  for await (const line of h.stream("calc", "tail", { n: 10 })) console.log(line.toUpperCase())
  await h.keyword("stage.MODE").set("Slew", { ifRevision: "1:2" })
  // @ts-expect-error: no such enumerator
  await h.keyword("stage.MODE").set("Fly")
  const { value } = await h.keyword("stage.SPEED").read()
  console.log(value?.toFixed())
  const untyped: unknown = await connect("/ws").call("any", "thing", { at: "all" })
  console.log(untyped)
}

void control()
follow(AbortSignal.timeout(1000)).catch((error) => error instanceof HeliographError && console.log(error.code))
void commands()
