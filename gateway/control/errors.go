package control

import (
	"context"
	"errors"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/keywords"
)

// known is an error that a client is told by a code.
type known struct {
	err  error
	code gateway.Code
	text string
}

var ofBus = []known{
	{bus.ErrNoWorkers, "no_workers", "no worker of this type is alive; nothing was run"},
	{bus.ErrWorkerLost, "worker_lost", "the worker has died; the call may have been run"},
	{bus.ErrQueueFull, "queue_full", "too many calls wait; nothing was run"},
	{bus.ErrStreamBroken, "stream_broken", "items were lost"},
	{bus.ErrBreakerOpen, "breaker_open", "earlier calls were not answered; nothing was run"},
	{bus.ErrTooLarge, gateway.CodeTooLarge, "the arguments are too large"},
	{context.DeadlineExceeded, "timeout", "no answer in time; it may have been run"},
}

var ofKeywords = []known{
	{keywords.ErrNoDispatcher, "no_dispatcher", "no dispatcher is alive; nothing has changed"},
	{keywords.ErrIndeterminate, "indeterminate", "the dispatcher has died; the value may have been set"},
	{keywords.ErrQueueFull, "queue_full", "too many changes wait; nothing has changed"},
	{context.DeadlineExceeded, "timeout", "no answer in time; the value may still be set"},
}

var ofJobs = []known{
	{jobs.ErrNotFound, "not_found", "there is no such job"},
	{jobs.ErrQueueFull, "queue_full", "too many jobs wait"},
	{jobs.ErrIndeterminate, "indeterminate", "the job may or may not have been submitted"},
	{context.DeadlineExceeded, "timeout", "no answer in time; the job may have been submitted"},
}

// explain returns what the client is told of an error. Errors that are not in the list
// are returned as they are: the gateway logs them.
func explain(err error, list []known) error {
	for _, k := range list {
		if errors.Is(err, k.err) {
			return gateway.Errorf(k.code, "%s", k.text)
		}
	}
	return err
}

// busError returns what the client is told of an error of package bus.
func busError(err error) error {
	var answered *bus.Error
	if errors.As(err, &answered) {
		return gateway.Errorf(gateway.Code(answered.Code), "%s", answered.Text)
	}
	return explain(err, ofBus)
}

// keywordsError returns what the client is told of an error of package keywords.
func keywordsError(err error) error {
	var answered *keywords.Error
	if errors.As(err, &answered) {
		return gateway.Errorf(gateway.Code(answered.Code), "%s", answered.Text)
	}
	return explain(err, ofKeywords)
}

// jobsError returns what the client is told of an error of package jobs.
func jobsError(err error) error {
	if errors.Is(err, jobs.ErrInvalid) {
		return gateway.Errorf("bad_arguments", "%v", err)
	}
	return explain(err, ofJobs)
}
