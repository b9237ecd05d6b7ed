// Package pubsub is typed publish and subscribe over the Redis you have.
//
//	var Positions = pubsub.NewTopic[Position]("positions")
//
//	ps, err := pubsub.NewClient(pool, pubsub.Config{})
//	sub, err := pubsub.Subscribe(ctx, ps, Positions)
//	n, err := pubsub.Publish(ctx, ps, Positions, p) // n subscribers got it
//	for m := range sub.C() {
//		if m.Err != nil { // something is missing
//			…
//		}
//	}
//	return sub.Err()
//
// A [Topic] is one channel, a [Pattern] all whose names match; [KeyEvents] are
// what Redis tells of its keys. [Listen] calls a handler in place of filling a
// channel. To ask and be answered is not for pub/sub: that is package bus.
//
// # What a subscriber may rely on
//
//   - [Subscribe] and [Listen] return when Redis has confirmed: what is
//     published afterwards arrives. While Redis is away they wait.
//   - At most once, and in the order of each publisher on each channel.
//   - A lost connection is made anew, by itself, and everything subscribed
//     again. Every subscription that may have missed something is told so, in its
//     place: by a message whose Err is a [*GapError]. It comes when the channel
//     is live again, so that who reads the state then misses nothing.
//   - With [Topic.WithHistory] the gap is filled instead, and a subscription
//     can go on where another has stopped: SubscribeOptions.After. Whether that
//     succeeded is always said, and it is never done in part.
//   - That a connection brings messages is proven by one that the client
//     publishes to itself when nothing else has come for Config.Probe. An answer
//     to PING would prove less.
//   - Each subscription has a queue with limits of its own. What becomes of a
//     consumer who lets it fill is his [Overflow]: to be ended with [ErrSlow]
//     unless he says otherwise. The connection and the others never wait for him,
//     and nothing is lost in silence: [Client.Stats] counts all of it.
//   - A message for many subscriptions of a process is received once, and
//     decoded once for each type.
//   - A listener that panics or fails loses that one message.
//
// # What a publisher may rely on
//
//   - [Publish] writes at most once, and says so where it can't know:
//     [storage.ErrIndeterminate].
//   - The count is that of Redis: connections, this process being one, and once
//     more for each pattern that matches. On a cluster it is of one server only.
//   - Many who publish at once share round trips. Nothing waits for a batch to
//     fill.
//
// # Connections
//
// One connection for all subscriptions of a client. On a cluster there is one
// more to each primary where sharded channels or keys are listened to; they
// follow their slots. A channel is subscribed once, whoever shares it here, and
// given up a while after the last has left (Config.Linger). Config.OnEvent tells
// of connections made and lost.
//
// # On the wire
//
// A channel is the topic's name behind the pool's prefix, and a message the
// encoded value and nothing else: the other side may be any program. Topics with
// a history differ: a message is its offset, a space and the value, an offset
// being epoch:ms-n, where n counts the messages of the epoch and ms is their time.
// The last of them lie in the stream prefix:pubsub:{name}:log under the id ms-n,
// field p, and the place of the very last in the hash prefix:pubsub:{name}:head.
// Both have a time to live. A sharded topic with history is the channel
// prefix:{name}, in the slot of these keys.
//
// The client's own channels are prefix:pubsub:<database>:probe:…: under an ACL
// it needs &prefix:* in all. Where it is denied its own, it sends PING instead.
//
// # How fast it is
//
// Publish, of 128 bytes as msgpack, to a Listen, beside go-redis's AutoPipeline
// and a loop of ReceiveMessage, as ratios of messages per second in one run on two
// cores (above 1: this is faster; medians of three runs):
//
//	publishers                           1     8    64   256
//	go-redis, ready bytes, not decoded  0.95  1.39  0.96  0.80
//	go-redis, msgpack at both ends      0.99  1.47  1.15  1.21
//
// Over 10,000 channels that a process listens to, a message takes 1.08 times what
// it takes over one. One message to 1,000 listeners of a process is decoded once
// and costs 0.14 µs for each of them. Keeping a history is a script for each
// message, and goes at 0.21 of the rate without.
//
//	go test -run '^$' -bench . -benchtime 400000x ./pubsub
//
// # Coming from PySpigot or Lettuce
//
// Each row is a subtest of TestComingFromPySpigot.
//
//	there                                   here
//	basic and command client, sync          pool.Redis(): go-redis, every command
//	command client, async                   pool.Async(): the same, read later
//	open by host, port and password         storage.Config{URL: "redis://:pw@host:6379"}
//	open by URI with options                storage.Config{URL: …, Redis: …}
//	ping before use                         pool.Ping; every connection shakes hands first
//	auto-reconnect                          always, and what was missed is told
//	request queue limit                     storage.Config.MaxQueued: ErrQueueFull
//	timeouts                                the context, or Config.Timeout
//	while disconnected: accept or reject    waits for its context: long accepts, short rejects
//	listeners, sync and async               Listen; go Listen not to wait for Redis
//	unregister by listener and by channel   Listener.Close, Client.Unlisten
//	publish, sync and async, with count     Publish, PublishAsync
//	connection events                       Config.OnEvent
//	close, sync and async                   Close; go Close
//	close everything of one owner           a pool for each owner: pool.Close
package pubsub
