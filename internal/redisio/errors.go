package redisio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrClosed is the error of what is used after the pool was closed.
	ErrClosed = errors.New("storage: pool is closed")
	// ErrQueueFull refuses a write because Config.MaxQueued or MaxQueuedBytes
	// wait for Redis already. It was not written.
	ErrQueueFull = errors.New("storage: too many writes wait for Redis")
	// ErrIndeterminate is the error of a write that Redis may or may not have
	// carried out: the connection broke before the answer came.
	ErrIndeterminate = errors.New("storage: may or may not have been written")
)

// Normalize returns the error of a Redis command that was given ctx as callers
// here see it. The end of ctx is [context.Canceled] or
// [context.DeadlineExceeded], and so is any other timeout, such as a
// Config.Redis.ReadTimeout: the errors of the net package stay in the text.
func Normalize(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		return err
	}
	if Ended(ctx) {
		return context.DeadlineExceeded
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("storage: redis did not answer in time: %w (%v)", context.DeadlineExceeded, err)
}

// Ended reports whether ctx is over, or as good as: a connection has the same
// deadline and may notice it first.
func Ended(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Until(deadline) < 10*time.Millisecond
}

// Fate says what became of a command.
type Fate int

const (
	Settled  Fate = iota // carried out, or refused for good
	Unsent               // surely not carried out: worth another try
	Unknown              // may have been carried out
	Finished             // the client is closed
)

// FateOf says what became of a command that ended with err.
func FateOf(err error) Fate {
	if err == nil {
		return Settled
	}
	var dial dialError
	var reply redis.Error
	switch {
	case errors.As(err, &dial), errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return Unsent
	case errors.Is(err, redis.ErrClosed):
		return Finished
	case errors.As(err, &reply): // Redis says no before it does anything
		if Passing(err) {
			return Unsent
		}
		return Settled
	}
	return Unknown
}

// Passing reports whether a reply says that the server can't do it now.
func Passing(err error) bool {
	if _, moved := redis.IsMovedError(err); moved {
		return true
	}
	if _, ask := redis.IsAskError(err); ask {
		return true
	}
	return redis.IsLoadingError(err) || redis.IsReadOnlyError(err) || redis.IsOOMError(err) ||
		redis.IsClusterDownError(err) || redis.IsTryAgainError(err) || redis.IsMasterDownError(err) ||
		redis.IsMaxClientsError(err) || redis.IsNoReplicasError(err)
}
