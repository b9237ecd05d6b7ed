package storagetest_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage/storagetest"
)

// Every fault is over when Befall returns.
func TestSchedulesOfEveryFault(t *testing.T) {
	storagetest.Schedules(t, storagetest.ScheduleOptions{Short: 20, Long: 200, Kept: map[string]uint64{"kept": 7}}, func(t *testing.T, seed uint64) {
		if os.Getenv("HELIOGRAPH_TEST_FAIL") != "" {
			t.Error("as it should")
		}
		random := rand.New(rand.NewPCG(seed, 0))
		n := storagetest.NewNetwork(t)
		rdb := storagetest.Open(t, n.Config()).Redis()
		for _, f := range storagetest.Faults {
			require.NoError(t, rdb.Set(t.Context(), "k", "v", 0).Err(), f)
			begun := time.Now()
			n.Befall(f, random, time.Second)
			require.Less(t, time.Since(begun), 2*time.Second)
			require.NoError(t, rdb.Set(t.Context(), "k", "v", 0).Err(), f)
			begun = time.Now()
			require.NoError(t, rdb.Get(t.Context(), "k").Err(), f)
			require.Less(t, time.Since(begun), 500*time.Millisecond)
		}
	})
	require.Panics(t, func() { storagetest.NewNetwork(t).Befall("unknown", rand.New(rand.NewPCG(1, 0)), time.Second) })
}

// A schedule that fails says how to run it again, and that runs it alone.
func TestAScheduleIsReplayed(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestSchedulesOfEveryFault$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), "HELIOGRAPH_SCHEDULES=", "HELIOGRAPH_SEED=17", "HELIOGRAPH_TEST_FAIL=1")
	said, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(said), "replay: HELIOGRAPH_SEED=17 go test -run '^TestSchedulesOfEveryFault$'")
	require.NotContains(t, string(said), "seed=18")
}
