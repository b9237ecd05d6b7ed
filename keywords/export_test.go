package keywords

import "context"

func Encode[T Type](k Keyword[T], v T) any          { return k.encode(v) }
func Decode[T Type](k Keyword[T], v any) (T, error) { return k.decode(v) }

var Near = near

// BeginLate does what a dispatcher does at its start, after another dispatcher has
// acquired its lease.
func BeginLate(ctx context.Context, d *Dispatcher) (loaded, published error) {
	client := d.pool.Redis()
	d.lease.client, d.definitions.client, d.commits.client = client, client, client
	d.lease.epoch, d.lease.token = 1, "1:"+d.worker.ID()
	loaded = d.owning(func() error { _, err := d.commits.load(ctx, d); return err })
	return loaded, d.owning(func() error { return d.definitions.publish(ctx) })
}
