package storage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrClosed is the error of what is used after [Pool.Close].
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
	if ended(ctx) {
		return context.DeadlineExceeded
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("storage: redis did not answer in time: %w (%v)", context.DeadlineExceeded, err)
}

// ended reports whether ctx is over, or as good as: a connection has the same
// deadline and may notice it first.
func ended(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Until(deadline) < 10*time.Millisecond
}

// fate says what became of a command that ended with err.
type fate int

const (
	settled  fate = iota // carried out, or refused for good
	unsent               // surely not carried out: worth another try
	unknown              // may have been carried out
	finished             // the client is closed
)

func fateOf(err error) fate {
	if err == nil {
		return settled
	}
	var dial dialError
	var reply redis.Error
	switch {
	case errors.As(err, &dial), errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return unsent
	case errors.Is(err, redis.ErrClosed):
		return finished
	case errors.As(err, &reply): // Redis says no before it does anything
		if passing(err) {
			return unsent
		}
		return settled
	}
	return unknown
}

// passing reports whether a reply says that the server can't do it now.
func passing(err error) bool {
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
