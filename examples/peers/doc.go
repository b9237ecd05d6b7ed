// Package peers measures heliograph beside what it would replace, in a module of
// its own so that nobody who imports heliograph has to fetch its peers:
//
//	cd examples/peers && go test -bench .
//
// Redis is that of REDIS_URL or a redis-server of its own, and the NATS server a
// process of its own. The two take turns, many times, and a figure is the median
// of the turns' ratios: above 1 heliograph is faster.
package peers
