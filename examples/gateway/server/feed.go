package server

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

// feedNames are the hashes of the demo feed, and its channels of the same names.
var feedNames = []string{"clock", "trains"}

// feedEvery is the period of the demo feed.
const feedEvery = 500 * time.Millisecond

// place is a station.
type place struct {
	name     string
	lon, lat float64
}

var (
	basel   = place{"Basel", 7.5896, 47.5476}
	bern    = place{"Bern", 7.4391, 46.9489}
	chur    = place{"Chur", 9.5289, 46.8532}
	lugano  = place{"Lugano", 8.9469, 46.0055}
	luzern  = place{"Luzern", 8.3102, 47.0502}
	zuerich = place{"Zürich", 8.5402, 47.3782}
)

// train goes from one place to another and back, in a straight line.
type train struct {
	id       string
	from, to place
	takes    time.Duration // for one way
}

var trains = []train{
	{"IC 6", basel, bern, 50 * time.Second},
	{"IC 3", zuerich, chur, 70 * time.Second},
	{"EC 17", luzern, lugano, 90 * time.Second},
	{"IR 36", basel, zuerich, 60 * time.Second},
	{"RE 4", bern, luzern, 80 * time.Second},
}

// feed writes and publishes until ctx ends. Each change is in the hash and on the
// channel by one MULTI, so that SUB snapshot=1 shows it once.
func feed(ctx context.Context, pool *storage.Pool) {
	ticker := time.NewTicker(feedEvery)
	defer ticker.Stop()
	for begin := time.Now(); ; {
		now := time.Now()
		_, _ = pool.Redis().TxPipelined(ctx, func(pipe redis.Pipeliner) error { // an error is made up for by the next tick
			put(ctx, pool, pipe, "clock", "utc", map[string]any{"time": now.UTC().Format(time.TimeOnly), "up": math.Round(now.Sub(begin).Seconds())})
			for _, t := range trains {
				put(ctx, pool, pipe, "trains", t.id, t.feature(now.Sub(begin)))
			}
			return nil
		})
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// put sets a field of a hash and publishes its value.
func put(ctx context.Context, pool *storage.Pool, pipe redis.Pipeliner, name, field string, value any) {
	key, err := pool.Key(name)
	data, err2 := json.Marshal(value)
	if err != nil || err2 != nil {
		panic(fmt.Sprint(err, err2)) // names and values are valid
	}
	pipe.HSet(ctx, key, field, data)
	pipe.Publish(ctx, key, data)
}

// feature returns a train at a time, as GeoJSON.
func (t train) feature(after time.Duration) map[string]any {
	way := math.Mod(after.Seconds()/t.takes.Seconds(), 2)
	to := t.to.name
	if way > 1 {
		way, to = 2-way, t.from.name
	}
	round := func(x float64) float64 { return math.Round(x*1e5) / 1e5 } // a metre
	return map[string]any{
		"type": "Feature", "id": t.id,
		"geometry": map[string]any{"type": "Point", "coordinates": [2]float64{
			round(t.from.lon + way*(t.to.lon-t.from.lon)), round(t.from.lat + way*(t.to.lat-t.from.lat)),
		}},
		"properties": map[string]any{"to": to},
	}
}
