package storage

import "github.com/heliograph/heliograph/internal/redisio"

var (
	// ErrClosed is the error of what is used after [Pool.Close].
	ErrClosed = redisio.ErrClosed
	// ErrQueueFull refuses a write because Config.MaxQueued or MaxQueuedBytes
	// wait for Redis already. It was not written.
	ErrQueueFull = redisio.ErrQueueFull
	// ErrIndeterminate is the error of a write that Redis may or may not have
	// carried out: the connection broke before the answer came.
	ErrIndeterminate = redisio.ErrIndeterminate
)
