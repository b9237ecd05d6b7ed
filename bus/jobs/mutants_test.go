package jobs_test

import (
	"testing"

	"github.com/heliograph/heliograph/storage/storagetest"
)

// The schedules notice workers that claim jobs of living ones.
func TestMutantThatClaimsByIdleTimeIsCaught(t *testing.T) {
	storagetest.Mutant{
		Name: "a worker claims the jobs of living ones", File: "scripts.go",
		Changes: []string{"if not (ends and tonumber(ends) >= time) then", "if true then"},
	}.Caught(t, "^TestJobsSchedules$", "50", "--- FAIL: TestJobsSchedules/seed=") // jobs run on two live workers, or are never done
}
