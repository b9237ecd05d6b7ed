package storagetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// ScheduleOptions are the options of [Schedules].
type ScheduleOptions struct {
	// Short and Long are the numbers of schedules in the short and in the long run.
	// Default to 25 and 1,000.
	Short, Long int

	// Kept names the seeds of schedules that once failed. They run each time.
	Kept map[string]uint64
}

// Schedules runs a test once for each of many seeds, in parallel, each in virtual time in
// a bubble of its own. The test takes all that is random about its operations and faults
// from the seed. A failure is reported by the subtest of its seed, with the command that
// runs that seed alone:
//
//	HELIOGRAPH_SEED=17 go test -run '^TestCallsSchedules$'
//
// The scheduler of Go has a say in what happens too: a seed does not make the same
// history each time, and a rare failure may need -count. Add its seed to
// ScheduleOptions.Kept.
//
// The environment variable HELIOGRAPH_SCHEDULES sets the number of schedules. Their seeds
// begin at HELIOGRAPH_SEED, or at one that is chosen at random.
func Schedules(t *testing.T, o ScheduleOptions, test func(t *testing.T, seed uint64)) {
	t.Helper()
	first, number := uint64(1), o.Short
	if number == 0 {
		number = 25
	}
	if os.Getenv("HELIOGRAPH_TESTS") == "long" {
		if number = o.Long; number == 0 {
			number = 1000
		}
	}
	if n, err := strconv.Atoi(os.Getenv("HELIOGRAPH_SCHEDULES")); err == nil {
		first, number = rand.Uint64()>>16, n
	}
	if seed, err := strconv.ParseUint(os.Getenv("HELIOGRAPH_SEED"), 10, 64); err == nil {
		first = seed
		if os.Getenv("HELIOGRAPH_SCHEDULES") == "" {
			number, o.Kept = 1, nil // that seed alone
		}
	}
	all := t
	one := func(name string, seed uint64) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if all.Failed() {
				return // one schedule that fails is enough
			}
			defer func() {
				if t.Failed() {
					t.Logf("replay: HELIOGRAPH_SEED=%d go test -run '^%s$'", seed, rootOf(t))
				}
			}()
			synctest.Test(t, func(t *testing.T) { test(t, seed) })
		})
	}
	for name, seed := range o.Kept {
		one(name, seed)
	}
	for i := range uint64(number) {
		one(fmt.Sprint("seed=", first+i), first+i)
	}
}

// rootOf returns the name of a test without those of its subtests.
func rootOf(t *testing.T) string {
	for i, c := range t.Name() {
		if c == '/' {
			return t.Name()[:i]
		}
	}
	return t.Name()
}

// Fault is the name of a fault of a [Network].
type Fault string

const (
	FaultCut       Fault = "cut"        // connections are cut, several times
	FaultDelay     Fault = "delay"      // replies come late
	FaultHalfOpen  Fault = "half-open"  // connections are silent, and then end
	FaultDropReply Fault = "drop reply" // replies are lost with their connections
	FaultOutage    Fault = "outage"     // the server can't be reached
	FaultOOM       Fault = "oom"        // the server is full
	FaultReadOnly  Fault = "read-only"  // the server is a replica
	FaultLoading   Fault = "loading"    // the server loads its data
	FaultRestart   Fault = "restart"    // the server comes back empty
	FaultRollback  Fault = "rollback"   // the server comes back with older data
	FaultFailover  Fault = "failover"   // a replica that lags takes the server's place
)

// Faults are all faults. The last three lose data.
var Faults = []Fault{
	FaultCut, FaultDelay, FaultHalfOpen, FaultDropReply, FaultOutage, FaultOOM, FaultReadOnly, FaultLoading,
	FaultRestart, FaultRollback, FaultFailover,
}

// Befall brings a fault about that lasts for up to limit, as random says, and returns when
// it is over.
func (n *Network) Befall(f Fault, random *rand.Rand, limit time.Duration) {
	upTo := func(limit time.Duration) time.Duration { return time.Duration(random.Int64N(int64(limit))) }
	switch f {
	case FaultCut:
		for range 1 + random.IntN(4) {
			n.Cut()
			time.Sleep(upTo(limit / 4))
		}
	case FaultDelay:
		n.Delay(upTo(limit / 4))
		time.Sleep(upTo(limit))
		n.Delay(0)
	case FaultHalfOpen:
		end := n.HalfOpen()
		time.Sleep(upTo(limit))
		end()
	case FaultDropReply:
		for range 1 + random.IntN(4) {
			n.setDrop(1)
			time.Sleep(upTo(limit / 4))
		}
		n.setDrop(0)
	case FaultOutage:
		n.Down()
		time.Sleep(upTo(limit))
		n.Up()
	case FaultOOM:
		n.refuseFor(RefuseOOM, upTo(limit))
	case FaultReadOnly:
		n.refuseFor(RefuseReadOnly, upTo(limit))
	case FaultLoading:
		n.refuseFor(RefuseLoading, upTo(limit))
	case FaultRestart:
		n.Down()
		time.Sleep(upTo(limit))
		n.Restart()
		n.Up()
	case FaultRollback:
		restore := n.Snapshot()
		time.Sleep(upTo(limit))
		restore()
	case FaultFailover:
		n.Failover(upTo(limit/8), upTo(limit))
	default:
		panic("storagetest: unknown fault " + string(f))
	}
}

func (n *Network) refuseFor(r Refusal, d time.Duration) {
	n.Refuse(r)
	time.Sleep(d)
	n.Refuse("")
}
