// Package pubsub is typed publish and subscribe over Redis.
//
//	var Positions = pubsub.NewTopic[Position]("positions")
//
//	ps, err := pubsub.NewClient(pool, pubsub.Config{})
//	sub, err := pubsub.Subscribe(ctx, ps, Positions)
//	n, err := pubsub.Publish(ctx, ps, Positions, p) // n subscribers got it
//	for m := range sub.C() {
//		if m.Err != nil { // messages may be missing, or one can't be decoded
//			…
//		}
//	}
//	return sub.Err()
//
// A [Topic] is one channel, a [Pattern] all channels whose names match a glob, and
// [KeyEvents] are Redis's keyspace notifications. For requests with an answer use
// package bus.
//
// # Guarantees to subscribers
//
//   - [Subscribe] and [Listen] return once Redis has confirmed the subscription:
//     what is published afterwards is received. While Redis is unreachable they
//     wait, and the error that ends the wait says why Redis was not reached.
//   - Messages are delivered at most once, and in the order of each publisher on
//     each channel.
//   - A lost connection is replaced and its channels are subscribed to again. Each
//     subscription that may have missed messages then receives a message whose Err
//     is a [*GapError]. State that is read after the GapError is not older than
//     the gap.
//   - For a topic with [Topic.WithHistory] the gap is filled from the history
//     instead, completely or not at all, and SubscribeOptions.After continues
//     where an earlier subscription ended. Publisher and subscriber must agree on
//     the history; otherwise messages have the error [ErrHistoryMismatch].
//   - A connection that is silent for Config.Probe is tested by a message that the
//     client publishes to itself, and replaced if that does not arrive.
//   - Each subscription has a queue of its own, with limits. If it is full because
//     the consumer is too slow, SubscribeOptions.Overflow says what happens; by
//     default the subscription ends with [ErrSlow]. Other subscriptions and the
//     connection are not delayed, and [Client.Stats] counts what was lost.
//   - A message for several subscriptions of a process is received once, and
//     decoded once for each Go type.
//   - A handler of [Listen] that panics or returns an error loses that message only.
//
// # Guarantees to publishers
//
//   - [Publish] writes a message at most once. If it may or may not have been
//     written, the error is [storage.ErrIndeterminate].
//   - The number of receivers is that of Redis: it counts connections, so that all
//     subscriptions of a client count once, and once more for each matching
//     pattern. On a cluster it counts the connections to one server.
//   - Messages published at the same time share round trips. None is delayed in
//     order to fill a batch.
//
// # Connections
//
// All subscriptions of a client share one connection. On a cluster there is one
// more to each primary that serves sharded channels or keys. A channel is
// subscribed to once per client, and unsubscribed from Config.Linger after its
// last subscription was closed.
//
// # To do something, see
//
//   - publish without waiting: [PublishAsync]
//   - call a function for each message: [Listen]
//   - continue after a restart: [Topic.WithHistory], SubscribeOptions.After, [Recall]
//   - receive only the newest value of each key: [OverflowConflate], [Topic.WithKey]
//   - keep a channel to one shard of a cluster: [Topic.Sharded]
//   - trace, encrypt or drop messages: [Middleware], Config.Publishing, Config.Receiving
//   - follow the state of connections: Config.OnEvent, [Client.Stats]
//   - the names and forms on the wire, the ACL line, figures, and coming from
//     PySpigot or Lettuce: README.md
package pubsub
