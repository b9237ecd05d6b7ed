package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

var (
	// ErrInvalid is the error of a name, an option or arguments that can't be. Nothing
	// was written.
	ErrInvalid = errors.New("jobs: invalid")
	// ErrQueueFull is the error of a Submit to a queue with more than
	// ClientConfig.MaxQueue jobs. Nothing was written.
	ErrQueueFull = errors.New("jobs: queue full")
	// ErrNotFound is the error of an ID that no job has: there never was one, or it was
	// done and its result not kept.
	ErrNotFound = errors.New("jobs: no such job")
	// ErrNotDead is the error of Retry and Discard of a job that is not a dead letter.
	ErrNotDead = errors.New("jobs: job is not dead")
	// ErrIndeterminate is the error of a Submit whose job Redis may or may not have.
	ErrIndeterminate = errors.New("jobs: may or may not have been submitted")
	// ErrClosed is the error of a client that was closed, or whose pool was.
	ErrClosed = errors.New("jobs: client is closed")

	// ErrDuplicate is the error of a Submit, refused by SubmitOptions.Unique, while another
	// job has the same key. Nothing was written.
	ErrDuplicate = errors.New("jobs: another job has the unique key")

	// ErrCancelled is the cause of the end of a handler's context when the job was
	// cancelled by Client.Cancel.
	ErrCancelled = errors.New("jobs: job cancelled")
	// ErrLeaseLost is the cause of the end of a handler's context when its worker could
	// not renew its lease on its jobs.
	ErrLeaseLost = errors.New("jobs: lease lost")
)

// Error is the error of a job that is among the dead letters.
type Error struct {
	ID       string
	Text     string // of the last attempt's error
	Attempts int    // that were begun
}

func (e *Error) Error() string {
	return fmt.Sprintf("jobs: %s failed after %d attempts: %s", e.ID, e.Attempts, e.Text)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// wrap returns an error that says what was done when err came, or nil.
func wrap(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	return redisio.Wrap("jobs: "+what, local(redisio.Normalize(ctx, err)))
}

// local returns the error of this package for one of a Redis command.
func local(err error) error {
	if errors.Is(err, storage.ErrClosed) || errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}

// errUnsettled is the error of a write whose answer was not waited for.
var errUnsettled = errors.New("jobs: no answer")
