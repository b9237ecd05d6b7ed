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
	// ErrClosed is the error of calls after the pool was closed.
	ErrClosed = errors.New("storage: pool is closed")
	// ErrQueueFull refuses a write because as many as Config.MaxQueued or
	// MaxQueuedBytes allow wait for Redis. It was not written.
	ErrQueueFull = errors.New("storage: too many writes wait for Redis")
	// ErrIndeterminate is the error of a write that Redis may or may not have
	// carried out: the connection broke before the answer came.
	ErrIndeterminate = errors.New("storage: may or may not have been written")
)

// Normalize returns the error of a Redis command as the module's callers see it.
// If ctx, the command's context, has ended it is [context.Canceled] or
// [context.DeadlineExceeded], with err as the reason in its text (see [Because]).
// Any other timeout, such as Config.Redis.ReadTimeout, is a DeadlineExceeded too.
// Errors of package net are in the text only.
func Normalize(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if end := ctx.Err(); end != nil {
		return endOf(end, err)
	}
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		return err
	}
	if Ended(ctx) {
		return endOf(context.DeadlineExceeded, err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("storage: redis did not answer in time: %w (%v)", context.DeadlineExceeded, err)
}

// endOf returns the end of a command's context. Its reason is err, unless err only
// says in other words that the time is up.
func endOf(end, err error) error {
	var timeout net.Error
	var op *net.OpError
	if errors.As(err, &timeout) && timeout.Timeout() && !(errors.As(err, &op) && op.Op == "dial") {
		return end
	}
	return Because(end, err)
}

// Ended reports whether ctx has ended, or its deadline has passed: a connection with the
// same deadline may notice that first.
func Ended(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Until(deadline) < 10*time.Millisecond
}

// Fate says what became of a command.
type Fate int

const (
	Settled  Fate = iota // carried out, or refused for good
	Unsent               // not carried out: it may be tried again
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
	case errors.As(err, &reply): // Redis refuses a command before it changes anything
		if Passing(err) {
			return Unsent
		}
		return Settled
	}
	return Unknown
}

// Passing reports whether an error reply is about a passing state of the server, such as
// loading, a script that takes long (BUSY), or a snapshot that could not be saved
// (MISCONF).
func Passing(err error) bool {
	if _, moved := redis.IsMovedError(err); moved {
		return true
	}
	if _, ask := redis.IsAskError(err); ask {
		return true
	}
	return redis.IsLoadingError(err) || redis.IsReadOnlyError(err) || redis.IsOOMError(err) ||
		redis.IsClusterDownError(err) || redis.IsTryAgainError(err) || redis.IsMasterDownError(err) ||
		redis.IsMaxClientsError(err) || redis.IsNoReplicasError(err) ||
		redis.HasErrorPrefix(err, "BUSY ") || redis.HasErrorPrefix(err, "MISCONF ")
}
