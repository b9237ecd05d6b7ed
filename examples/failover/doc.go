// Package failover measures for how long each primitive of the module stands still when
// another server becomes the primary, on a Redis Cluster and with Sentinel:
//
//	HELIOGRAPH_TESTS=long go test -v -run Failover ./examples/failover
//
// Each test logs how long after the election each flow succeeded again. It needs
// redis-server on the PATH.
package failover
