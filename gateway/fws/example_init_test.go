package fws_test

import (
	"context"
	"log"
	"net/http/httptest"
	"regexp"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// examplePool is a pool on a Redis inside the process, until stop.
func examplePool() (pool *storage.Pool, stop func()) {
	pool, err := embedded.Open(storage.Config{})
	if err != nil {
		log.Fatal(err)
	}
	return pool, func() { _ = pool.Close() }
}

// exampleServer serves a handler, until stop. connected returns once the handler has n
// connections.
func exampleServer(pool *storage.Pool, cfg gateway.Config) (url string, connected func(n int), stop func()) {
	h, err := gateway.New(pool, cfg)
	if err != nil {
		log.Fatal(err)
	}
	srv := httptest.NewServer(h)
	connected = func(n int) {
		for len(h.Conns()) < n {
			time.Sleep(time.Millisecond)
		}
	}
	return strings.Replace(srv.URL, "http", "ws", 1), connected, func() {
		_ = h.Close()
		srv.Close()
	}
}

// exampleBrowser sends and receives text.
type exampleBrowser struct{ *websocket.Conn }

func exampleDial(url string) exampleBrowser {
	conn, _, err := websocket.Dial(context.Background(), url, nil)
	if err != nil {
		log.Fatal(err)
	}
	return exampleBrowser{conn}
}

func (b exampleBrowser) say(text string) {
	if err := b.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
		log.Fatal(err)
	}
}

var exampleTime = regexp.MustCompile(`\d{13}\.\d{3}`)

// hear returns the next message, with its time made equal.
func (b exampleBrowser) hear() string {
	_, data, err := b.Read(context.Background())
	if err != nil {
		return err.Error()
	}
	return exampleTime.ReplaceAllString(string(data), "1790000000000.000")
}
