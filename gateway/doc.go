// Package gateway lets browsers read Redis hashes and follow Redis channels over
// a WebSocket, and nothing that they were not allowed.
//
//	h, err := gateway.New(pool, gateway.Config{
//		Channels: []gateway.Channel{{Pattern: "trains.*"}},
//		Keys:     []string{"trains.*"},
//	})
//	mux.Handle("/ws", h)
//	…
//	err = h.Shutdown(ctx)
//
// In the browser:
//
//	ws = new WebSocket("wss://example.org/ws")
//	ws.send("GET trains.regional")   // the values of a hash
//	ws.send("SUB trains.regional")   // what is published from now on
//	ws.onmessage = e => JSON.parse(e.data)
//	// {"source": "trains.regional", "content": …, "timestamp": …, "client_reference": null}
//
// # What a client may rely on
//
//   - A SUB that was carried out gets what is published afterwards, in the order
//     of Redis. What Redis may have lost is told, by a frame of status gap.
//   - SUB channel snapshot=1 sends the hash of the channel's name and goes on with
//     what is published, in one: no message between the two is missed, and none
//     comes twice that was published together with its HSET, in one MULTI or
//     script. (Of a HSET whose PUBLISH comes later, the value may come twice.)
//   - SUB channel since=offset goes on where the client was, on channels with a
//     History: recovered is true and all that was missed follows, or it is false and
//     none of it. Never a part.
//   - A bad command, a bad value in Redis, a key of another type, a Redis that is
//     away: each is a frame of source error with a fixed code, and nothing else.
//   - Who reads too slowly is dealt with as Channel.Slow says, and never slows
//     anybody.
//
// # What a host may rely on
//
//   - Nothing is allowed that Config.Channels, Config.Keys or Config.Allow does not
//     allow. Clients name channels and keys literally: no pattern of theirs
//     reaches Redis, nor does a name beginning with __, nor any command that is not
//     SUBSCRIBE, HVALS or HGET.
//   - Origin, capacity and Config.Authenticate are decided before the upgrade.
//     Nothing is read from the socket before.
//   - Every limit has a name in Limits, a default, and a counter in Stats.
//   - There is one Redis subscription for each channel, whoever follows it. A
//     message is decoded, filtered and framed once for all who get the same, and
//     written to each together with what else waits for him.
//   - A panic in a hook, a command or a filter ends that connection and nothing
//     else; in a Protocol's Append it costs a frame, in a Source a subscription.
//   - Shutdown spreads the goodbyes over the time it is given, with a hint when
//     to come back.
//
// # Extending it
//
// Commands are functions by name (Config.Commands). A Filter is what a connection
// has a command set for itself ([Conn.SetFilter]): it decides for each message
// whether and in which form it goes on, in the order in which the filters were
// first set. Hooks see what comes in, what is published and who leaves. A
// Protocol is how commands and frames look on the wire: [Text] is that of
// redis_websocket_api, with its envelope; [JSON] has ids; [Plain] has neither.
// Package gateway/geo is made of these, and so are [Groups]: connections that hear
// each other by a token, in all processes.
//
// # The text protocol
//
// A command is words between spaces. name=value is an option; "a word" may stand in
// quotes, with \" and \\ in it, and then is never an option. An object or array of
// JSON is a word as it is, if nothing comes behind it.
//
//	GET key [ref] [client_ref]   the values of a hash, or of one field; null: there is none
//	SUB channel                  follow it. Options: snapshot=1, since=offset, ack=1
//	DEL channel                  no more of it
//	PING                         "PONG"
//	HELP                         the commands there are
//	PUB channel json             where Config.ClientPublish allows it
//	WHO channel                  who follows it, where Channel.Presence has it kept
//	AUTH credentials             where Config.Refresh is set
//
// As in the original, the arguments of GET may also come as channel_name=, ref= and
// client_ref=, and that of SUB and DEL as channel_name=.
//
// All frames are the envelope. Its source is the key ("key ref" for one field), the
// channel, "websocket" for what is about the connection, or "error" with a content
// of code, message and command. A message of a channel with a history has a field
// offset more. A SUB is answered, by
//
//	{"status": "subscribed", "channel": …, "offset": …, "recovered": …, "snapshot": …}
//
// if it has an option or the channel a history. Other statuses are open, gap
// (channel), lost (channel, count), unsubscribed (channel) and closing (reconnect_ms).
//
// # The JSON protocol
//
// It is chosen by the subprotocol heliograph.json.v1. A command is
//
//	{"id": 7, "command": "SUB", "args": ["trains.regional"], "options": {"snapshot": 1}}
//
// and is answered by any number of {"type": "value", "id": 7, "source": …,
// "content": …} and one {"type": "done", "id": 7} or {"type": "error", "id": 7,
// "code": …, "message": …}. An id is a string or a number of at most 128
// bytes. Messages are {"type": "message", "channel": …,
// "content": …, "time": …, "offset": …}; statuses {"type": "status", "status": …}.
//
// # Error codes
//
//	bad_command    not a command, or its arguments are wrong
//	bad_name       of a channel or key
//	forbidden      not allowed, whether or not it exists
//	not_a_hash     the key holds something else
//	too_large      the hash has more fields or bytes than Limits allow
//	too_many       channels, for one connection
//	too_fast       commands; go on like this and be disconnected
//	unavailable    Redis did not answer
//	internal       something else, which is in the server's log
//
// # Close codes
//
//	1002  not the WebSocket protocol             1007  text that is not UTF-8
//	1008  refused by a hook                      1009  a message too long
//	1011  a panic of ours                        1012  the server restarts; come back
//	1013  Redis is away; come back later         4000  idle for too long
//	4001  the principal has expired              4002  the connection's lifetime is over
//	4008  too slow a reader                      4029  too many commands
//	4500  disconnected by the host: don't come back
//
// Below 4500 a client may come back, and so may who had no goodbye.
//
// # What Redis must allow
//
// A user of Redis who may read the keys needs, on the channels that are followed and
// on the handler's own (prefix:pubsub:* and prefix:gateway:*):
//
//	GET                  EVAL and EVALSHA, with TYPE HLEN HKEYS HSTRLEN HVALS HGET in it
//	SUB                  SUBSCRIBE UNSUBSCRIBE PING
//	SUB snapshot=1, PUB  PUBLISH
//	a Channel.History    MULTI EXEC HMGET XRANGE
//
// PUB to a channel with a History writes it as pubsub does. [Groups] and
// Channel.Presence keep sets and leases.
//
// # What it costs
//
// Server and load in two processes on two cores, 1,000 sockets that follow one
// channel, messages of 128 bytes; CPU time of the server for each delivery, as a
// ratio to a loop of coder/websocket writes in the same run (medians of turns, over
// several runs):
//
//	8 messages under way    0.17–0.21
//	1 message under way     0.78–0.85: nine tenths of it are the kernel's write
//
// An idle socket takes 9 to 10.5 KB of memory (5,000 of them). Beside one socket that
// reads nothing, the p99 of 200 others is 0.96 of what it is without. Ten thousand
// sockets on one channel get every message: that is a test.
//
//	cd examples/peers && go test -run '^$' -bench Gateway -benchtime 1x .
package gateway
