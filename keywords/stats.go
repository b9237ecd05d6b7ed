package keywords

import "sync/atomic"

// ClientStats is a snapshot of a [Client]. Services, Watchers, Listeners and Cached
// are current numbers; the other fields count since the client was made.
type ClientStats struct {
	Services  int `json:"services"`  // services that are watched
	Watchers  int `json:"watchers"`  // watches and waits that run; those of listeners count too
	Listeners int `json:"listeners"` // listeners that are not closed
	Cached    int `json:"cached"`    // keywords that are followed for ReadOptions.Cached

	Reads    int64 `json:"reads"`    // keywords read from Redis
	Requests int64 `json:"requests"` // modifies and refreshes sent to dispatchers
	Refused  int64 `json:"refused"`  // requests that a dispatcher refused
	Failed   int64 `json:"failed"`   // requests that ended with another error

	Events     int64 `json:"events"`     // events yielded to watches, waits and listeners
	Conflated  int64 `json:"conflated"`  // events replaced by a newer one before they were yielded
	Suppressed int64 `json:"suppressed"` // changes within WatchOptions.DeadBand
	Resyncs    int64 `json:"resyncs"`    // times that all values of a service were read again, after a gap
	Overflows  int64 `json:"overflows"`  // changes that exceeded WatchOptions.Queue, and were left in the history
	Gaps       int64 `json:"gaps"`       // gaps told to watches with WatchOptions.Every
}

type clientStats struct {
	watchers                      atomic.Int64
	reads                         atomic.Int64
	requests, refused, failed     atomic.Int64
	events, conflated, suppressed atomic.Int64
	resyncs, overflows, gaps      atomic.Int64
}

// Stats returns what the client does and has done.
func (c *Client) Stats() ClientStats {
	n := &c.stats
	s := ClientStats{
		Watchers: int(n.watchers.Load()), Reads: n.reads.Load(),
		Requests: n.requests.Load(), Refused: n.refused.Load(), Failed: n.failed.Load(),
		Events: n.events.Load(), Conflated: n.conflated.Load(), Suppressed: n.suppressed.Load(),
		Resyncs: n.resyncs.Load(), Cached: c.cache.len(), Overflows: n.overflows.Load(), Gaps: n.gaps.Load(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Services = len(c.feeds)
	for _, g := range c.listening {
		s.Listeners += len(g.all)
	}
	return s
}

// DispatcherStats is a snapshot of a [Dispatcher]. Keywords, Staged, StagedBytes and
// Moves are current numbers; the other fields count since the dispatcher was made.
type DispatcherStats struct {
	Keywords int `json:"keywords"` // keywords that are served, Status and Heartbeat included
	Staged   int `json:"staged"`   // values and answers that wait to be committed

	StagedBytes int `json:"staged_bytes"` // bytes of those
	Moves       int `json:"moves"`        // moves that run or wait to supersede another

	Modifies  int64 `json:"modifies"`  // requests to modify; a ModifyMany is one
	Refreshes int64 `json:"refreshes"` // requests to refresh, and periodic refreshes
	Refused   int64 `json:"refused"`   // requests and periodic refreshes that ended with an error

	Commits   int64 `json:"commits"`   // scripts that committed values
	Committed int64 `json:"committed"` // values committed
	Retries   int64 `json:"retries"`   // commits that failed and were tried again
	Epochs    int64 `json:"epochs"`    // tenures begun, the first included: each is an epoch of revisions

	External int64 `json:"external"` // external writes accepted or reverted
	Panics   int64 `json:"panics"`   // hooks that panicked
}

type dispatcherStats struct {
	modifies, refreshes, refused        atomic.Int64
	commits, committed, retries, epochs atomic.Int64
	external, panics                    atomic.Int64
}

// Stats returns what the dispatcher does and has done.
func (d *Dispatcher) Stats() DispatcherStats {
	n := &d.stats
	s := DispatcherStats{
		Keywords: len(d.served), Modifies: n.modifies.Load(), Refreshes: n.refreshes.Load(), Refused: n.refused.Load(),
		Commits: n.commits.Load(), Committed: n.committed.Load(), Retries: n.retries.Load(), Epochs: n.epochs.Load(),
		External: n.external.Load(), Panics: n.panics.Load(),
	}
	d.moves.mu.Lock()
	s.Moves = d.moves.n
	d.moves.mu.Unlock()
	d.commits.mu.Lock()
	defer d.commits.mu.Unlock()
	s.Staged, s.StagedBytes = d.commits.waiting, d.commits.bytes
	return s
}
