package history_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage/storagetest"
	"github.com/heliograph/heliograph/storage/storagetest/history"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// cases are histories with the text of the error that Check must return, "" for none.
type cases[H any] map[string]struct {
	make func(h *H)
	want string
}

func (all cases[H]) run(t *testing.T, check func(h *H) error) {
	for name, c := range all {
		var h H
		c.make(&h)
		if err := check(&h); c.want == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, c.want, name)
		}
	}
}

func TestCalls(t *testing.T) {
	t.Parallel()
	type calls = history.Calls
	cases[calls]{
		"answered": {func(h *calls) { c := h.Begin(); h.Run(c.ID)(); c.End(history.Answered) }, ""},
		"lost, run or not": {func(h *calls) {
			h.Begin().End(history.Unknown)
			c := h.Begin()
			h.Run(c.ID)
			c.End(history.Unknown)
		}, ""},
		"not run": {func(h *calls) { h.Begin().End(history.NotRun) }, ""},
		"idempotent": {func(h *calls) {
			c := h.Begin(history.CallOptions{Idempotent: true})
			h.Run(c.ID)()
			h.Run(c.ID)()
			c.End(history.Answered)
		}, ""},
		"no end":   {func(h *calls) { h.Begin() }, "call 0 ended 0 times"},
		"two ends": {func(h *calls) { c := h.Begin(); c.End(history.Unknown); c.End(history.NotRun) }, "call 0 ended 2 times"},
		"two runs": {func(h *calls) { c := h.Begin(); h.Run(c.ID)(); h.Run(c.ID)(); c.End(history.Answered) }, "not idempotent and ran 2 times"},
		"late": {func(h *calls) {
			c := h.Begin(history.CallOptions{Deadline: time.Now().Add(-time.Second)})
			h.Run(c.ID)()
			c.End(history.Unknown)
		}, "call 0 began to run after its deadline"},
		"in time": {func(h *calls) {
			c := h.Begin(history.CallOptions{Deadline: time.Now().Add(time.Hour)})
			h.Run(c.ID)()
			c.End(history.Unknown)
		}, ""},
		"came back":     {func(h *calls) { c := h.Begin(); c.End(history.NotRun); h.Forgive(); h.Run(c.ID)(); h.Run(c.ID)() }, ""},
		"run after all": {func(h *calls) { c := h.Begin(); c.End(history.NotRun); h.Run(c.ID)() }, "ended as not run, and ran"},
		"never run":     {func(h *calls) { h.Begin().End(history.Answered) }, "was answered, and never ran"},
		"of nobody":     {func(h *calls) { h.Run(7)() }, "call 7 runs and was never made"},
		"trimmed": {func(h *calls) {
			c := h.Begin()
			h.Run(c.ID)()
			c.End(history.Answered)
			later := h.Begin()
			h.Trim(time.Now().Add(time.Hour)) // which has not ended, and stays
			h.Run(later.ID)()
			later.End(history.Answered)
		}, ""},
		"trimmed, and wrong": {func(h *calls) {
			h.Begin().End(history.Answered)
			h.Trim(time.Now().Add(time.Hour))
		}, "call 0 was answered, and never ran"},
		"run after a trim": {func(h *calls) {
			c := h.Begin()
			c.End(history.NotRun)
			h.Trim(time.Now().Add(time.Hour))
			h.Run(c.ID)()
		}, "call 0 runs and had ended before a Trim"},
		"many, cut short": {func(h *calls) {
			for range 20 {
				h.Begin()
			}
		}, "… and 10 more"},
	}.run(t, func(h *calls) error { return h.Check() })
	var h calls
	c := h.Begin()
	require.Equal(t, []int{0}, h.Open())
	c.End(history.NotRun)
	require.Empty(t, h.Open())
}

func TestCallsThatWereCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for linger, good := range map[time.Duration]bool{time.Second: true, 3 * time.Second: false} {
			var h history.Calls
			c := h.Begin()
			done := h.Run(c.ID)
			c.End(history.Cancelled)
			time.Sleep(linger)
			require.Equal(t, good, h.Check() == nil, "it runs yet")
			done()
			require.Equal(t, good, h.Check() == nil)
		}
	})
}

func TestGathers(t *testing.T) {
	t.Parallel()
	type gathers = history.Gathers
	cases[gathers]{
		"all": {func(h *gathers) {
			g := h.Begin("a", "b")
			h.Run(g.ID, "a")
			g.Yield("a", true)
			g.Yield("b", false)
			g.Yield("c", false)
			g.End(nil)
		}, ""},
		"ended by an error": {func(h *gathers) { h.Begin("a").End(errors.New("no Redis")) }, ""},
		"forgiven":          {func(h *gathers) { g := h.Begin("a"); g.Forgive(); g.End(nil) }, ""},
		"missing":           {func(h *gathers) { h.Begin("a").End(nil) }, "ended without a, which lived"},
		"twice":             {func(h *gathers) { g := h.Begin(); g.Yield("a", false); g.Yield("a", false); g.End(nil) }, "yields a 2 times"},
		"run twice":         {func(h *gathers) { g := h.Begin(); h.Run(g.ID, "a"); h.Run(g.ID, "a"); g.End(nil) }, "ran 2 times on a"},
		"never run":         {func(h *gathers) { g := h.Begin(); g.Yield("a", true); g.End(nil) }, "has a result of a, which never ran it"},
		"after the end":     {func(h *gathers) { g := h.Begin(); g.End(nil); g.Yield("a", false) }, "yields a after its end"},
		"no end":            {func(h *gathers) { h.Begin() }, "ended 0 times"},
		"of nobody":         {func(h *gathers) { h.Run(1, "a") }, "which was never made"},
	}.run(t, func(h *gathers) error { return h.Check() })
}

func TestStreams(t *testing.T) {
	t.Parallel()
	type streams = history.Streams
	items := func(s *history.Stream, items ...int) *history.Stream {
		for _, i := range items {
			s.Item(i)
		}
		return s
	}
	cases[streams]{
		"whole":         {func(h *streams) { items(h.Begin(2), 0, 1).End(nil) }, ""},
		"broken":        {func(h *streams) { items(h.Begin(3), 0).End(errors.New("broken")) }, ""},
		"short":         {func(h *streams) { items(h.Begin(3), 0, 1).End(nil) }, "ended without an error after 2 of 3 items"},
		"a gap":         {func(h *streams) { items(h.Begin(3), 0, 2).End(errors.New("broken")) }, "item 2 came in the place of item 1"},
		"an item twice": {func(h *streams) { items(h.Begin(2), 0, 0, 1).End(nil) }, "item 0 came in the place of item 1"},
		"no end":        {func(h *streams) { h.Begin(0) }, "ended 0 times"},
	}.run(t, func(h *streams) error { return h.Check() })
}

func TestMessages(t *testing.T) {
	t.Parallel()
	type messages = history.Messages
	publish := func(h *messages, o history.Outcome) int {
		n, end := h.Publish("a")
		end(o)
		return n
	}
	// three publishes three messages, of which the middle one has that outcome.
	three := func(h *messages, o history.Outcome) *history.Subscriber {
		publish(h, history.Answered) // before
		s := h.Subscribe("a")
		publish(h, history.Answered)
		publish(h, o)
		publish(h, history.Answered)
		return s
	}
	cases[messages]{
		"all":              {func(h *messages) { s := three(h, history.Answered); s.Receive(1); s.Receive(2); s.Receive(3); s.End() }, ""},
		"a gap":            {func(h *messages) { s := three(h, history.Answered); s.Receive(1); s.Gap(); s.Receive(3); s.End() }, ""},
		"a gap at the end": {func(h *messages) { s := three(h, history.Answered); s.Receive(1); s.Gap(); s.End() }, ""},
		"perhaps":          {func(h *messages) { s := three(h, history.Unknown); s.Receive(1); s.Receive(3); s.End() }, ""},
		"refused":          {func(h *messages) { s := three(h, history.NotRun); s.Receive(1); s.Receive(3); s.End() }, ""},
		"came refused":     {func(h *messages) { s := three(h, history.NotRun); s.Receive(1); s.Receive(2); s.Receive(3) }, "message 2 was refused, and came"},
		"missed":           {func(h *messages) { s := three(h, history.Answered); s.Receive(1); s.Receive(3) }, "message 2 was missed without a gap"},
		"missed at first":  {func(h *messages) { s := three(h, history.Answered); s.Receive(2); s.Receive(3) }, "message 1 was missed without a gap"},
		"missed at last":   {func(h *messages) { s := three(h, history.Answered); s.Receive(1); s.Receive(2); s.End() }, "message 3 was missed without a gap"},
		"a gap elsewhere":  {func(h *messages) { s := three(h, history.Answered); s.Gap(); s.Receive(1); s.Receive(3) }, "message 2 was missed without a gap"},
		"twice":            {func(h *messages) { s := three(h, history.Answered); s.Receive(1); s.Receive(1) }, "message 1 came where 2 was next"},
		"out of order":     {func(h *messages) { s := three(h, history.Answered); s.Receive(1); s.Receive(3); s.Receive(2) }, "message 2 came where 4 was next"},
		"of nobody":        {func(h *messages) { h.Subscribe("a").Receive(0) }, "message 0 came where 0 was next"},
	}.run(t, func(h *messages) error { return h.Check() })
}

func TestLeases(t *testing.T) {
	t.Parallel()
	type leases = history.Leases
	cases[leases]{
		"they rise":              {func(h *leases) { h.Acquire("l", "a")(1); h.Commit("l")(1); h.Acquire("l", "b")(2); h.Commit("l")(2) }, ""},
		"a commit that overlaps": {func(h *leases) { h.Acquire("l", "a")(1); c := h.Commit("l"); h.Acquire("l", "b")(2); c(1) }, ""},
		"another lease":          {func(h *leases) { h.Acquire("l", "a")(2); h.Acquire("m", "b")(1); h.Commit("m")(1) }, ""},
		"an old commit":          {func(h *leases) { h.Acquire("l", "a")(1); h.Acquire("l", "b")(2); h.Commit("l")(1) }, "a commit under fence 1 was begun when fence 2 was known"},
		"seen by a commit":       {func(h *leases) { h.Commit("l")(2); h.Commit("l")(1) }, "was begun when fence 2 was known"},
		"a fence that falls":     {func(h *leases) { h.Acquire("l", "a")(2); h.Acquire("l", "b")(1) }, "b acquired fence 1 after 2"},
		"a fence of two":         {func(h *leases) { h.Acquire("l", "a")(2); h.Acquire("l", "b")(2) }, "fence 2 is that of a and of b"},
	}.run(t, func(h *leases) error { return h.Check() })
}

func TestJobs(t *testing.T) {
	t.Parallel()
	type jobs = history.Jobs
	ctx := t.Context()
	told, stop := context.WithCancel(ctx)
	stop()
	cases[jobs]{
		"done":             {func(h *jobs) { h.Acknowledge("a"); h.Run(ctx, "a")(false); h.Run(ctx, "a")(true) }, ""},
		"held":             {func(h *jobs) { h.Acknowledge("held") }, ""},
		"not acknowledged": {func(h *jobs) { h.Run(ctx, "a")(false) }, ""},
		"told to stop":     {func(h *jobs) { h.Run(told, "a"); h.Run(ctx, "a")(true) }, ""},
		"lost":             {func(h *jobs) { h.Acknowledge("a"); h.Run(ctx, "a")(false) }, "a was acknowledged and is lost"},
		"twice at once":    {func(h *jobs) { h.Run(ctx, "a"); h.Run(ctx, "a")(true) }, "a runs on two live workers"},
	}.run(t, func(h *jobs) error { return h.Check(func(id string) bool { return id == "held" }) })
	var h jobs
	h.Acknowledge("a")
	require.Equal(t, []string{"a"}, h.Acknowledged())
}

func TestBounds(t *testing.T) {
	t.Parallel()
	before := history.Bounds{Keys: 1, Connections: 1, Goroutines: 1, Heap: 1}
	require.NoError(t, before.Check(history.Bounds{}, history.Bounds{}))
	require.NoError(t, before.Check(history.Bounds{Keys: 2}, history.Bounds{Keys: 1}))
	for name, now := range map[string]history.Bounds{
		"keys": {Keys: 3}, "connections": {Connections: 3}, "goroutines": {Goroutines: 3}, "heap": {Heap: 3},
	} {
		require.ErrorContains(t, before.Check(now, history.Bounds{Keys: 1, Connections: 1, Goroutines: 1, Heap: 1}), name)
	}
	pool := storagetest.New(t)
	require.NoError(t, pool.Redis().Set(t.Context(), "k", "v", 0).Err())
	b, err := history.Measure(t.Context(), pool.Redis())
	require.NoError(t, err)
	require.EqualValues(t, 1, b.Keys)
	require.Positive(t, b.Connections)
	require.Positive(t, b.Goroutines)
	require.Positive(t, b.Heap)
	require.NoError(t, pool.Close())
	_, err = history.Measure(t.Context(), pool.Redis())
	require.ErrorContains(t, err, "history: measure keys: ")
}
