package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

// The hashes that a page may read, and the channels of the same names that it may
// follow.
const (
	groundName  = "ground"  // what does not move; nothing is published
	objectsName = "objects" // where each object is, as GeoJSON
	statsName   = "stats"   // a total: what has been published
)

// Each object is published twice a second. They take turns, which spreads the messages
// evenly.
const (
	tick  = 100 * time.Millisecond
	turns = 5 // ticks between two messages of an object
)

const (
	statsEvery  = 10          // ticks
	groundEvery = 100         // ticks: Redis may have lost the ground
	keep        = time.Minute // how long the data outlives a process that is killed
)

// total is what has been published so far.
type total struct {
	Objects  int   `json:"objects"`
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
}

// feed moves the fleet in Redis.
type feed struct {
	pool   *storage.Pool
	fleet  []vehicle
	ground map[string][]byte
	total  total
}

func newFeed(pool *storage.Pool, objects int) (*feed, error) {
	parts, err := ground()
	return &feed{pool: pool, fleet: newFleet(objects), ground: parts, total: total{Objects: objects}}, err
}

// run writes and publishes until ctx ends, then removes everything. An error is
// printed, and made up for when the object has its next turn.
func (f *feed) run(ctx context.Context, complain func(error)) {
	defer f.clear()
	f.clear() // a killed process may have left more objects
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for n, working := 0, true; ; n++ {
		err := f.step(ctx, n)
		if err != nil && working && ctx.Err() == nil {
			complain(err) // once for each outage
		}
		working = err == nil
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// step does what is due at a tick.
func (f *feed) step(ctx context.Context, n int) error {
	if n%groundEvery == 0 {
		if err := f.put(ctx, groundName, f.ground, false); err != nil {
			return err
		}
	}
	now, moved, bytes := time.Now(), make(map[string][]byte), 0
	for i := n % turns; i < len(f.fleet); i += turns {
		v := f.fleet[i]
		data, err := json.Marshal(v.at(now))
		if err != nil {
			return err
		}
		moved[v.id] = data
		bytes += len(data)
	}
	if err := f.put(ctx, objectsName, moved, true); err != nil {
		return err
	}
	f.total.Messages += int64(len(moved))
	f.total.Bytes += int64(bytes)
	if n%statsEvery != 0 {
		return nil
	}
	data, err := json.Marshal(f.total)
	if err != nil {
		return err
	}
	return f.put(ctx, statsName, map[string][]byte{"total": data}, true)
}

// put sets fields of a hash and publishes their values in one MULTI: a page that sends
// SUB snapshot=1 gets each change once.
func (f *feed) put(ctx context.Context, name string, fields map[string][]byte, publish bool) error {
	key, err := f.pool.Key(name)
	if err != nil {
		return err
	}
	_, err = f.pool.Redis().TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		for id, value := range fields {
			pipe.HSet(ctx, key, id, value)
			if publish {
				pipe.Publish(ctx, key, value)
			}
		}
		pipe.Expire(ctx, key, keep)
		return nil
	})
	return err
}

// clear removes what was written.
func (f *feed) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, name := range []string{groundName, objectsName, statsName} {
		if key, err := f.pool.Key(name); err == nil {
			_ = f.pool.Redis().Del(ctx, key).Err() // what is not removed expires
		}
	}
}

// idOf returns the id of a feature. For a slow page the gateway keeps the newest
// message of each id, one that announces an exit included.
func idOf(content []byte) string {
	var f struct{ ID string }
	_ = json.Unmarshal(content, &f) // what can't be read has no id
	return f.ID
}
