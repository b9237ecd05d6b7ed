// Package peers measures heliograph beside the systems that it can replace. It is a
// module of its own, so that programs that import heliograph don't fetch its peers:
//
//	cd examples/peers && go test -bench .
//
// REDIS_URL names the Redis; without it the benchmarks start a redis-server. The NATS
// server is a process of its own. Both sides take turns, many times, and a figure is the
// median of the turns' ratios: above 1 heliograph is faster.
package peers
