package redisio

import (
	"sync"
	"time"
)

// Waited returns a channel that is closed once all of a group are done.
func Waited(group *sync.WaitGroup) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		group.Wait()
	}()
	return done
}

// WaitFor waits until all of a group are done, at most for limit.
func WaitFor(group *sync.WaitGroup, limit time.Duration) {
	select {
	case <-Waited(group):
	case <-time.After(limit):
	}
}
