package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/heliograph/heliograph/storage/storagetest"
)

// fault is something that befalls the servers, and returns once they serve again.
type fault struct {
	name string
	do   func()
}

// deployment is servers that run.
type deployment struct {
	reach  reach
	faults []fault
	pause  time.Duration // between two faults
}

// stopTime is how long a server is stopped.
const stopTime = 8 * time.Second

// deploy starts the servers.
func deploy(h *host, on string) (*deployment, error) {
	switch on {
	case "standalone":
		s := storagetest.Start(h)
		return &deployment{reach: reach{Addrs: []string{s.Addr()}}, pause: 1500 * time.Millisecond, faults: []fault{
			{"redis-server is killed and comes back empty", s.Restart},
		}}, nil
	case "sentinel":
		s := storagetest.StartSentinel(h)
		elected := func(fault func(old *storagetest.Server)) func() {
			return func() {
				old := s.Primary()
				fault(old)
				h.await("another primary", func() bool { return s.Primary() != old })
			}
		}
		return &deployment{reach: reach{Addrs: s.Config().Redis.Addrs, Master: s.Config().Redis.MasterName}, pause: 10 * time.Second, faults: []fault{
			{"planned failover", elected(func(*storagetest.Server) { s.Failover() })},
			{"the primary stops for 8 s", elected(func(old *storagetest.Server) { pauseFor(old) })},
		}}, nil
	case "cluster":
		c := storagetest.StartCluster(h, storagetest.ClusterOptions{Replicas: true})
		const key = "bus:{local:rig}:queue"
		elected := func(fault func(old *storagetest.Server)) func() {
			return func() {
				old := c.Primary(key)
				fault(old)
				h.await("another primary", func() bool { return c.Primary(key) != old })
			}
		}
		return &deployment{reach: reach{Addrs: c.Config().Redis.Addrs, Cluster: true}, pause: 10 * time.Second, faults: []fault{
			{"the primary stops for 8 s", elected(func(old *storagetest.Server) { pauseFor(old) })},
			{"the primary is killed", func() {
				old := c.Primary(key)
				elected(func(old *storagetest.Server) { old.Kill() })()
				old.Restart()
			}},
		}}, nil
	}
	return nil, fmt.Errorf("-on %s: not standalone, sentinel or cluster", on)
}

// pauseFor stops a server, and lets it go on after stopTime.
func pauseFor(s *storagetest.Server) {
	s.Pause()
	time.AfterFunc(stopTime, s.Resume)
}

// await waits until a condition holds.
func (h *host) await(what string, ok func() bool) {
	for begun := time.Now(); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			h.Fatalf("not within a minute: %s", what)
		}
	}
}

// with returns the faults of the servers and others.
func (d *deployment) with(others ...fault) []fault { return slices.Concat(others, d.faults) }
