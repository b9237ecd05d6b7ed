package jobs_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// The test of faults notices workers that claim jobs of living ones. It is not parallel
// because the mutant is one of the whole process.
func TestMutantThatClaimsByIdleTimeIsCaught(t *testing.T) {
	storagetest.Long(t)
	defer jobs.ClaimByIdle()()
	synctest.Test(t, func(t *testing.T) {
		o := faults(t, 1, 4)
		empty(t, o.pool, o.c)
		o.h.mu.Lock()
		defer o.h.mu.Unlock()
		require.NotEmpty(t, o.h.broken)
	})
}
