package server_test

import (
	"testing"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestTheFlagsOfGeo(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		at := func(coordinates string) string {
			return `{"type": "Feature", "geometry": {"type": "Point", "coordinates": ` + coordinates + `}, "properties": {"name": "IC 6"}}`
		}
		config := file(t, `{"strict_axes": true, "channels": "trains", "redis": "`+redisURL(pool)+`"}`)
		b := dial(t, start(t, "-c", config, "-geo_id", "name").ws)
		b.gets("websocket", `{"status": "open"}`)
		b.send("BBOX 0 0 10 10 exit=1", "PROJECTION epsg:4258", "SUB trains ack=1")
		b.gets("websocket", `{"status": "subscribed", "channel": "trains"}`)
		publish(t, pool, "trains", at("[5, 6]"))
		b.gets("trains", at("[6, 5]"))
		publish(t, pool, "trains", at("[15, 6]"))
		b.gets("trains", `{"type": "Feature", "id": "IC 6", "geometry": null}`)
	})
}
