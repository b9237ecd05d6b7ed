package geo_test

import (
	"context"
	"encoding/json"
	"log"
	"net/http/httptest"

	"github.com/coder/websocket"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// examplePool returns a pool on a Redis of its own.
func examplePool() *storage.Pool {
	pool, err := embedded.Open(storage.Config{})
	if err != nil {
		log.Fatal(err)
	}
	return pool
}

// exampleBrowser sends commands to a gateway, the last a SUB with ack=1, and
// returns a function that returns the contents of what comes then.
func exampleBrowser(h *gateway.Handler, commands ...string) (next func() string, done func()) {
	srv := httptest.NewServer(h)
	ctx := context.Background()
	conn, _, err := websocket.Dial(ctx, srv.URL, nil)
	if err != nil {
		log.Fatal(err)
	}
	next = func() string {
		_, data, err := conn.Read(ctx)
		if err != nil {
			log.Fatal(err)
		}
		var e struct{ Content json.RawMessage }
		if err := json.Unmarshal(data, &e); err != nil {
			log.Fatal(err)
		}
		return string(e.Content)
	}
	next() // it is open
	for _, c := range commands {
		if err := conn.Write(ctx, websocket.MessageText, []byte(c)); err != nil {
			log.Fatal(err)
		}
	}
	next() // it is subscribed
	return next, func() {
		_ = conn.CloseNow()
		srv.Close()
	}
}
