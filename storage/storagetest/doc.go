// Package storagetest gives tests their Redis.
//
//	func TestMain(m *testing.M) { storagetest.Main(m) } // fails if goroutines are left
//
//	func TestGreeting(t *testing.T) {
//		pool := storagetest.New(t) // of its own, inside the process
//		…
//	}
//
//	func TestEverywhere(t *testing.T) {
//		storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) { … })
//	}
//
// [New] needs nothing but Go. [Servers] runs a suite on the embedded server and,
// where there is one, on a private redis-server. [Start], [StartCluster] and
// [StartSentinel] start real servers, which a test can kill, pause and start again;
// with [ClusterOptions].Replicas a cluster survives that, as sentinels do.
// All of them end with the test. [Object] is the suite for another implementation of
// storage.Object.
//
// [Virtual] runs a test in virtual time, in which minutes of leases, retries and
// timeouts pass in milliseconds. [Slow] and [Outages] run a suite so and, in the
// long run, on a redis-server. A [Network] has the faults of networks and servers:
//
//	synctest.Test(t, func(t *testing.T) {
//		network := storagetest.NewNetwork(t)
//		pool := storagetest.Open(t, network.Config())
//		…
//		network.Cut()
//	})
//
// Connections are cut, silent or slow, replies are lost, the server is away, full, a
// replica, or loads, and comes back empty or with older data. A [Link] is the way of one
// process, which can be cut off by itself.
//
// [Schedules] runs a test for many seeds, with operations and faults at random, which
// [Network.Befall] brings about by name. Package history checks what came of them.
//
// [Long] marks a test that takes more than a few seconds: it runs where the
// environment variable HELIOGRAPH_TESTS is "long".
//
// Without redis-server on the PATH, tests that need it are skipped and say so.
// The environment variable HELIOGRAPH_REDIS=required makes that a failure, for
// machines that must not skip.
package storagetest
