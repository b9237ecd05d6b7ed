package control_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/coder/websocket"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/control"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// A page calls the worker that Go programs call, as far as Allow lets it.
func ExampleCommands() {
	pool, err := embedded.Open(storage.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	ctx := context.Background()
	type pair struct{ A, B int }
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
	if err != nil {
		log.Fatal(err)
	}
	bus.Handle(w, bus.NewMethod[pair, int]("add"), func(_ context.Context, p pair) (int, error) { return p.A + p.B, nil })
	stop, err := bus.Start(ctx, w)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()

	calls, err := bus.NewClient(pool, bus.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	h, err := gateway.New(pool, gateway.Config{Commands: control.Commands(control.Config{
		Bus: calls,
		Allow: func(_ context.Context, c *gateway.Conn, op control.Operation) bool {
			return op.Kind == control.Call && op.Type == "calc" && op.Method == "add"
		},
	})})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", h)
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer h.Close()

	// const h = connect("/ws"); await h.call("calc", "add", {A: 1, B: 2})
	page, _, err := websocket.Dial(ctx, strings.Replace(srv.URL, "http", "ws", 1)+"/ws", &websocket.DialOptions{Subprotocols: []string{"heliograph.json.v1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer page.CloseNow()
	_ = page.Write(ctx, websocket.MessageText, []byte(`{"id": 1, "command": "CALL", "args": ["calc", "add", "{\"A\": 1, \"B\": 2}"]}`))
	for range 3 { // open, the result, done
		_, frame, err := page.Read(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(frame))
	}
	// Output:
	// {"type":"status","status":"open"}
	// {"type":"value","id":1,"source":"calc.add","content":3}
	// {"type":"done","id":1}
}
