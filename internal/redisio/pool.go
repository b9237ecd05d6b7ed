// Package redisio holds what the packages of this module share and hosts don't need: a
// writer that sends many small writes in batches and each at most once, blocking reads,
// scripts, the clock of Redis, the fate of a failed command, names, one back-off and one
// throttle for log lines.
//
// It imports nothing of the module. [Of] returns the [Pool] of a *storage.Pool.
//
// # Two kinds of long read
//
// A cancelled context does not stop a go-redis client that is blocked in a
// read; closing its connection does. Pool.Blocking runs a read on a client of
// its own and closes that when the context ends. That suits reads that can be
// repeated (XREAD, SUBSCRIBE). A read that takes what it returns (BLPOP,
// BLMPOP) must be woken instead, by an element pushed to one of its keys:
// closing the client under BLMPOP lost 195 calls in 430 restarts of a worker,
// waking it lost none.
//
// # Why a writer of our own
//
// A [Writer] has one batch under way; what arrives meanwhile is the next one, and
// elements for one list or stream share one command: Redis and go-redis both pay
// per command. On two cores, against the same writes through go-redis's
// AutoPipeline (MaxBatchSize 1), that carried 0.9 to 1.0 times the writes of one
// writer, 1.5 to 1.7 times those of 8, 1.2 to 1.8 of 64 and 1.4 to 2.4 of 256
// (go test -run '^$' -bench Writer ./storage).
package redisio

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// BlockTime is how long a blocking read may wait at the server before it returns with
// nothing and is repeated. With BLOCK 0 it would never notice that the server is gone
// without closing the connection.
const BlockTime = 5 * time.Second

// Pool is what the packages of this module use of a *storage.Pool beyond its
// exported methods.
type Pool interface {
	// Writer returns the pool's one [Writer].
	Writer() *Writer

	// Dedicated returns a new client for reads that block, and for anything else that
	// must not wait behind other traffic, or must not be answered by a replica that lags
	// behind. It has one connection (to each primary of a
	// cluster), never retries, and gives up a command whose answer takes two seconds
	// longer than [BlockTime]. The caller closes it. That ends its reads, and an
	// element on its way to a BLPOP is lost.
	Dedicated() redis.UniversalClient

	// Blocking runs read with a Dedicated client and ends it when ctx ends, with
	// ctx's error, or when the pool is closed, with [ErrClosed], by closing the
	// client. It is for reads that can be repeated, such as XREAD.
	Blocking(ctx context.Context, read func(ctx context.Context, client redis.UniversalClient) error) error

	// Own registers end to be called by Close, before the ends that were registered
	// earlier. Whatever is closed by itself calls disown. On a closed pool Own returns
	// [ErrClosed], and the caller must close what it has made.
	Own(end func() error) (disown func(), err error)

	// Database returns the number of the database, 0 on a cluster. Redis's pub/sub
	// ignores databases: channels of one database have its number in their names.
	Database() int

	// Logger returns the pool's logger.
	Logger() *slog.Logger
}

// Of returns the [Pool] of a *storage.Pool, which must not be nil. Package
// storage sets it.
var Of func(pool any) Pool
