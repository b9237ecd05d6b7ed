package failover_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage/storagetest"
)

// The primary of a part of the slots stays dead.
func TestClusterFailoverOfADeadPrimary(t *testing.T) {
	storagetest.Long(t)
	cluster := storagetest.StartCluster(t, storagetest.ClusterOptions{Replicas: true})
	fs := start(t, cluster.Config())
	fs.await()
	old, fault := cluster.Nodes[0], time.Now()
	old.Kill()
	election := elected(t, cluster, old)
	fs.await()
	fs.report(fault, election)
}

// The primary of a part of the slots stops for 8 seconds.
func TestClusterFailoverOfAStoppedPrimary(t *testing.T) {
	storagetest.Long(t)
	cluster := storagetest.StartCluster(t, storagetest.ClusterOptions{Replicas: true})
	fs := start(t, cluster.Config())
	fs.await()
	old, fault := cluster.Nodes[0], time.Now()
	old.Pause()
	resume := time.AfterFunc(8*time.Second, old.Resume)
	defer resume.Stop()
	election := elected(t, cluster, old)
	time.Sleep(time.Until(fault.Add(9 * time.Second))) // the fault is over
	fs.await()
	fs.report(fault, election)
}

// elected waits until another server has the slots of old, and returns when that was.
func elected(t *testing.T, cluster *storagetest.Cluster, old *storagetest.Server) time.Time {
	t.Helper()
	const key = "10" // of slot 247, which is of the first server
	require.Eventually(t, func() bool { return cluster.Primary(key) != old }, patience, 50*time.Millisecond)
	return time.Now()
}

// An operator makes another server the primary.
func TestSentinelFailoverAsPlanned(t *testing.T) {
	storagetest.Long(t)
	sentinel := storagetest.StartSentinel(t)
	fs := start(t, sentinel.Config())
	fs.await()
	old, fault := sentinel.Primary(), time.Now()
	sentinel.Failover()
	require.Eventually(t, func() bool { return sentinel.Primary() != old }, patience, 20*time.Millisecond)
	election := time.Now()
	time.Sleep(15 * time.Second) // the old primary serves for ten seconds more
	fs.await()
	fs.report(fault, election)
}

// The primary stays dead.
func TestSentinelFailoverOfADeadPrimary(t *testing.T) {
	storagetest.Long(t)
	sentinel := storagetest.StartSentinel(t)
	fs := start(t, sentinel.Config())
	fs.await()
	old, fault := sentinel.Primary(), time.Now()
	old.Kill()
	require.Eventually(t, func() bool { return sentinel.Primary() != old }, patience, 20*time.Millisecond)
	election := time.Now()
	fs.await()
	fs.report(fault, election)
}
