package keywords

import "context"

func Encode[T Type](k Keyword[T], v T) any          { return k.encode(v) }
func Decode[T Type](k Keyword[T], v any) (T, error) { return k.decode(v) }

var Near = near

// BeginLate does what a dispatcher does at its start, after somebody else has
// taken its lease.
func BeginLate(ctx context.Context, d *Dispatcher) (loaded, published error) {
	d.client = d.pool.Redis()
	d.token = "0:" + d.worker.ID()
	loaded = d.withLease(func() error { _, err := d.load(ctx); return err })
	return loaded, d.withLease(func() error { return d.publish(ctx) })
}
