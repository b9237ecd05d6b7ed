//go:build unix

package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage/storagetest"
)

// The test binary is also the workers' program.
func TestMain(m *testing.M) {
	if config := os.Getenv(workerConfig); config != "" {
		exit(workerMain(config))
	}
	storagetest.Main(m)
}

// Every promise is kept, in fewer faults than those of the command.
func TestTheRigFindsPromisesKept(t *testing.T) {
	for _, on := range []string{"standalone", "sentinel"} {
		t.Run(on, func(t *testing.T) {
			storagetest.Long(t)
			storagetest.Start(t).Kill() // skips or fails without redis-server
			var out bytes.Buffer
			require.NoError(t, start(t.Context(), options{on: on, lasts: 10 * time.Second}, &out), "%s", &out)
			require.NotContains(t, out.String(), "BROKEN")
			require.Contains(t, out.String(), "runs at most once")
		})
	}
}

// A soak of some seconds is flat.
func TestASoakIsFlat(t *testing.T) {
	storagetest.Long(t)
	storagetest.Start(t).Kill()
	var out bytes.Buffer
	require.NoError(t, start(t.Context(), options{on: "standalone", soak: 6 * time.Second, every: 2 * time.Second}, &out), "%s", &out)
	require.GreaterOrEqual(t, bytes.Count(out.Bytes(), []byte("goroutines")), 3)
}

func TestAnUnknownDeployment(t *testing.T) {
	require.ErrorContains(t, start(t.Context(), options{on: "moon"}, &bytes.Buffer{}), "-on moon: not standalone, sentinel or cluster")
}
