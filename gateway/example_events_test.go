package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net/http"
	"strings"

	"github.com/heliograph/heliograph/gateway"
)

// What only reads follows channels over plain HTTP, by EventSource in a browser or by any
// client of HTTP. ONLY may be in the query, since it has Command.Query.
func Example_eventStream() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()
	only := gateway.Command{Query: true, Min: 1, Max: 1, Run: func(_ context.Context, c *gateway.Conn, r gateway.Request) error {
		c.SetFilter("ONLY", func(m *gateway.Message) *gateway.Message {
			if !strings.Contains(string(m.Content), r.Args[0]) {
				return nil
			}
			return m
		})
		return nil
	}}
	h, url := exampleServer(pool, gateway.Config{
		Channels: []gateway.Channel{{Pattern: "lifts"}}, Keys: []string{"lifts"},
		Commands: map[string]gateway.Command{"ONLY": only},
	})
	pool.Redis().HSet(ctx, "lifts", "a", `{"lift": "a", "floor": 3}`, "b", `{"lift": "b", "floor": 1}`)

	r, _ := http.NewRequest(http.MethodGet, strings.Replace(url, "ws", "http", 1)+"?sub=lifts&snapshot=1&only=b", nil)
	r.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	hear := func() {
		for lines.Scan() && lines.Text() != "" {
			fmt.Println(exampleTime.ReplaceAllString(lines.Text(), "1790000000000.000"))
		}
	}
	hear()
	hear()
	hear()
	pool.Redis().Publish(ctx, "lifts", `{"lift": "b", "floor": 2}`)
	hear()
	h.Disconnect("")
	hear()
	// Output:
	// event: status
	// data: {"source": "websocket", "content": {"status":"open"}, "timestamp": 1790000000000.000, "client_reference": null}
	// data: {"source": "lifts", "content": {"lift": "b", "floor": 1}, "timestamp": 1790000000000.000, "client_reference": null}
	// event: status
	// data: {"source": "websocket", "content": {"status": "subscribed", "channel": "lifts", "snapshot": 1}, "timestamp": 1790000000000.000, "client_reference": null}
	// data: {"source": "lifts", "content": {"lift": "b", "floor": 2}, "timestamp": 1790000000000.000, "client_reference": null}
	// event: close
	// data: {"code": 4500, "reason": "disconnected"}
}
