// Package storage holds the connection pool that the other packages are built on,
// the codecs of their values, and typed objects in Redis.
//
//	pool, err := storage.Open(storage.Config{URL: "redis://localhost:6379/0", Prefix: "obs"})
//	if err != nil {
//		return err
//	}
//	defer pool.Close()
//	n, err := pool.Redis().Incr(ctx, "visits").Result()
//
//	users, err := storage.NewSet[string](pool, "users")
//	added, err := users.Add(ctx, "ada", "grace")
//
// A single server, TLS, an ACL user, a unix socket, Sentinel and Cluster differ in
// their URL only ([ParseURL]). A host that already has a client passes it to [New].
//
// # Guarantees of a pool
//
//   - [Open] and [New] validate and do not dial. A failed dial is not remembered:
//     the next command dials again.
//   - No error, log line, String or [Pool.Config] contains a password.
//   - [Pool.Redis] of a pool made by New returns the host's client, unchanged.
//     Everything else uses clients derived from its options. The host's client is
//     never closed.
//   - [Pool.Close] first closes what was built on the pool, newest first, and
//     returns when none of the module's goroutines and connections is left.
//   - A timeout is [context.DeadlineExceeded] and a cancelled context is
//     [context.Canceled]. The text says what kept the command waiting.
//   - The packages built on a pool write at most once. A write that Redis did not
//     carry out (it could not be dialed, or was loading, read-only or out of
//     memory) is tried again until its context ends. A write that Redis may have
//     carried out is [ErrIndeterminate] and is not repeated. (go-redis by itself
//     repeats writes whose connection broke; [Pool.Redis] and [Pool.Async] do
//     so as Config.Redis.MaxRetries says.)
//
// # Guarantees of objects
//
// Making an object does not access Redis and starts nothing, so that objects may
// be made anew for every use, except those with a Close method.
//
//   - A change is one command or one script: it is seen as a whole, and of two
//     concurrent changes none is lost.
//   - A change that Redis did not carry out is tried again for three seconds, or
//     until the context ends. One that it may have carried out is ErrIndeterminate.
//   - A TTL applies to the whole object and begins anew with every change that
//     adds or sets something. Reads and removals leave it unchanged.
//   - Removing what is not there is no error; the result says so.
//   - A key that holds another type is a [*WrongTypeError] and is left unchanged.
//   - A [Cache] also loads while Redis is unreachable; its Stats count that.
//
// # Codecs
//
//   - [MsgPack] (the default), [JSON], [Text] and [Raw] read the same `json` struct
//     tags. Times and 64-bit integers are exact in all of them, also in an any.
//   - Data is checked before it is decoded: every length must fit the bytes that
//     are there, and values nest at most 128 deep. (Unchecked, a msgpack header of
//     five bytes makes a decoder allocate 19 GB.)
//
// # To do something, see
//
//   - serve a health check: [Pool.Health]; metrics: [Pool.Stats]
//   - keep a set, a hash or one value: [Set], [Map], [Value]
//   - keep the last N records: [Log]
//   - cache what is expensive to load: [Cache]
//   - list what is online, without entries of dead processes: [Presence]
//   - keep sets of strings in Redis, in memory or elsewhere: [Object]
//   - run many commands without waiting for each: [Pool.Async]
//   - the keys in Redis, the ACL line, figures, and coming from
//     filtered_websocket: README.md
package storage
