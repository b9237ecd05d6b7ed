package keywords_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestStatsCount(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
	k, ctx := client(t, pool), soon(t)

	_, err := keywords.Modify(ctx, k, Speed, 2)
	require.NoError(t, err)
	_, err = keywords.Modify(ctx, k, Speed, 25)
	require.ErrorIs(t, err, keywords.CodeRange)
	_, err = keywords.Read(ctx, k, Speed, keywords.ReadOptions{Refresh: true})
	require.NoError(t, err)
	for _, err := range keywords.Watch(ctx, k, Speed) {
		require.NoError(t, err)
		s := k.Stats()
		require.Equal(t, 1, s.Services)
		require.Equal(t, 1, s.Watchers)
		require.Equal(t, int64(1), s.Events)
		break
	}
	s := k.Stats()
	require.Zero(t, s.Watchers)
	require.Equal(t, int64(3), s.Requests)
	require.Equal(t, int64(1), s.Refused)
	require.Zero(t, s.Failed)
	require.Positive(t, s.Reads)

	// The writer gets its answer from the script, before the dispatcher has counted.
	require.Eventually(t, func() bool { return d.Stats().Staged == 0 }, patience, time.Millisecond)
	served := d.Stats()
	require.Equal(t, 4, served.Keywords)
	require.Equal(t, int64(2), served.Modifies)
	require.Equal(t, int64(1), served.Refreshes)
	require.Equal(t, int64(1), served.Refused)
	require.Equal(t, int64(2), served.Committed, "the initial value and the modify")
	require.Equal(t, int64(1), served.Epochs)
	require.Zero(t, served.Staged)
}

func TestValuesAndEventsInJSON(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	run(t, pool, keywords.DispatcherConfig{}, nil).wait()
	k, ctx := client(t, pool), soon(t)
	_, err := keywords.Modify(ctx, k, Speed, 2)
	require.NoError(t, err)
	for ev, err := range keywords.Watch(ctx, k, Speed) {
		require.NoError(t, err)
		data, err := json.Marshal(ev)
		require.NoError(t, err)
		var fields map[string]any
		require.NoError(t, json.Unmarshal(data, &fields))
		require.Equal(t, "initial", fields["kind"])
		require.Equal(t, "stage", fields["service"])
		value := fields["value"].(map[string]any)
		require.Equal(t, 2.0, value["value"])
		require.Equal(t, ev.Value.Rev.String(), value["revision"])
		require.Equal(t, "good", value["quality"])
		require.Equal(t, "none", value["severity"])
		require.NotContains(t, fields, "prev")

		var again keywords.Event[float64]
		require.NoError(t, json.Unmarshal(data, &again))
		again.Value.Time = ev.Value.Time
		require.Equal(t, ev, again)
		break
	}
	_, err = json.Marshal(keywords.Quality(7))
	require.Error(t, err)
	require.EqualError(t, new(keywords.Quality).UnmarshalText([]byte("x")), `keywords: no quality "x"`)
}
