// Package storage is the ground floor of heliograph: one connection-pool
// configuration, the pool that every other package is built on, and the codecs
// that give values their form in Redis.
//
//	pool, err := storage.Open(storage.Config{URL: "redis://localhost:6379/0", Prefix: "obs"})
//	if err != nil {
//		return err
//	}
//	defer pool.Close()
//	n, err := pool.Redis().Incr(ctx, "visits").Result()
//
// A standalone server, TLS, an ACL user, a unix socket, Sentinel and Cluster
// differ in their URL and in nothing else. A host that has a client already
// hands it to [New] and keeps it.
//
// # What a pool promises
//
//   - [Open] and [New] validate and do not dial. The first command dials, and a
//     dial that failed is not remembered: the next command tries again.
//   - A password is in no error, no log line, no String and no [Pool.Config].
//   - [Pool.Redis] of a pool made by New is the host's client, untouched. All
//     else runs on clients of our own, derived from its options: the host's is
//     never closed, and neither its pool nor its pipeliners carry our traffic.
//   - [Pool.Close] closes what was built on the pool first, newest first, and
//     returns when no goroutine and no connection of ours is left.
//   - A timeout is [context.DeadlineExceeded] and a cancelled context is
//     [context.Canceled]: errors of the net package do not leak through.
//
// # Written once
//
// go-redis sends a command again when a connection breaks, though Redis may
// have carried out the first. A counter may bear that, a message may not. The
// packages built on a pool write at most once: what Redis surely did not carry
// out (it could not be dialed, it was loading, read-only, out of memory) is tried
// again until the context of the write ends; what it may have carried out is
// [ErrIndeterminate] and never sent again. [Pool.Async] is AutoPipeline, with
// every command and its usual retries.
//
// # Objects
//
// Objects are small shared state with a Go type, under the pool's prefix.
// Making one asks nothing of Redis and starts nothing: they may be made anew
// for every use, save those that have a Close.
//
//   - [Set], [Map] and [Value]: a set, a hash and a string, with values of a Go
//     type in a [Codec]. [Set.All] and [Map.All] read in pages, however much
//     there is.
//   - [Log]: the last N records of something, in a list.
//   - [Object]: sets of strings by key, as an interface: in Redis, in memory or
//     of the host's own.
//   - [Presence]: who is there, a set whose members go away with the process
//     that added them.
//   - [Cache]: what is dear to load, by key, for all processes and on request in
//     this one too.
//
// All of them promise the same, save that a Cache loads where Redis is away and
// tells nobody but its Stats:
//
//   - A change is one command or one script: nobody sees half of it, and of two
//     at the same time none is lost.
//   - A change is never made twice by a retry underneath. What Redis surely did
//     not carry out is tried again for three seconds, or until the context ends;
//     what it may have carried out is [ErrIndeterminate], with the reason behind
//     it. Reads are repeated as Config.Redis.MaxRetries says.
//   - A TTL is for the whole object, and begins anew with every change that adds
//     or sets something; reading and removing leave it. Without one in the
//     options the object lives until it is cleared. (Redis has had a TTL for a
//     field of a hash since 7.4; it is not imitated here.)
//   - Removing what isn't there is no error: the answer says so.
//   - A key that holds something else is a [*WrongTypeError], and stays as it is.
//
// With 64 callers on two cores, Set.Add runs at 1.0 of the rate of a bare SADD of
// ready bytes, and at 0.9 with a TTL, which takes a script. Cache.Get of what is
// there runs at 0.96 of the rate of a bare GET, and at 12 times that rate where
// it is in the process (go test -run '^$' -bench 'Set|Cache' ./storage; medians
// of several runs, on a machine where two bare SADDs differ by a tenth).
//
// Who comes from the storage objects of filtered_websocket had, and has:
//
//	a storage object, by key: get, add, remove    NewObject, or NewSet for one key
//	the storage object in memory                  NewMemoryObject
//	one hash with a pickled set in each field     a set of Redis for each key
//	add as read, change, write: updates lost      one SADD
//	remove of what isn't there: KeyError          0, no error
//	pickle, which runs what a stranger wrote      a Codec, checked before decoding
//	no time to live                               ObjectOptions.TTL
//	ids of a dead server stay for ever            NewPresence
//
// All takes a context, and the pool is the one of everything else.
//
// # Codecs
//
//   - [MsgPack] (the default), [JSON], [Text] and [Raw] read the same struct
//     tags, `json`. Times, and integers of 64 bits, come back exact from all of
//     them, also where the Go type is any.
//   - What comes from outside is checked before it is decoded: every length
//     must fit into the bytes that are there and nothing nests deeper than 128.
//     (A five-byte msgpack header can otherwise claim 19 GB.)
package storage
