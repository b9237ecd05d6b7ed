package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// A handler at a path of its own, and a browser that reads and follows.
func Example() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()
	h, err := gateway.New(pool, gateway.Config{
		Channels: []gateway.Channel{{Pattern: "trains.*"}},
		Keys:     []string{"trains.*"},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", h)
	srv := httptest.NewServer(mux) // or http.ListenAndServe
	defer srv.Close()
	pool.Redis().HSet(ctx, "trains.regional", "RE1", `{"at": "Olten"}`)

	b := exampleDial(srv.URL + "/ws")
	fmt.Println(b.hear())
	b.say("GET trains.regional RE1")
	fmt.Println(b.hear())
	b.say("SUB trains.regional ack=1")
	fmt.Println(b.hear())
	pool.Redis().Publish(ctx, "trains.regional", `{"at": "Aarau"}`)
	fmt.Println(b.hear())
	b.say("GET staff")
	fmt.Println(b.hear())

	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	go func() { b.hear(); b.hear() }() // the status closing, and the close frame
	fmt.Println(h.Shutdown(ctx))
	// Output:
	// {"source": "websocket", "content": {"status":"open"}, "timestamp": 1790000000000.000, "client_reference": null}
	// {"source": "trains.regional RE1", "content": {"at": "Olten"}, "timestamp": 1790000000000.000, "client_reference": null}
	// {"source": "websocket", "content": {"status": "subscribed", "channel": "trains.regional"}, "timestamp": 1790000000000.000, "client_reference": null}
	// {"source": "trains.regional", "content": {"at": "Aarau"}, "timestamp": 1790000000000.000, "client_reference": null}
	// {"source": "error", "content": {"code": "forbidden", "message": "get staff is not allowed", "command": "GET"}, "timestamp": 1790000000000.000, "client_reference": null}
	// <nil>
}

// The protocol with ids.
func Example_json() {
	pool, stop := examplePool()
	defer stop()
	_, url := exampleServer(pool, gateway.Config{Channels: []gateway.Channel{{Pattern: "news"}}})
	b := exampleDial(url, gateway.JSON.Name())
	fmt.Println(b.hear())
	b.say(`{"id": 1, "command": "SUB", "args": ["news"]}`)
	fmt.Println(b.hear())
	b.say(`{"id": "two", "command": "SUB", "args": ["other"]}`)
	fmt.Println(b.hear())
	pool.Redis().Publish(context.Background(), "news", `[1, 2]`)
	fmt.Println(b.hear())
	// Output:
	// {"type":"status","status":"open"}
	// {"type":"done","id":1}
	// {"type":"error","id":"two","code":"forbidden","message":"subscribe other is not allowed"}
	// {"type":"message","channel":"news","content":[1, 2],"time":1790000000000.000}
}

// The state and what follows, in one. A process that changes the state publishes the
// change in the same MULTI.
func Example_snapshot() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()
	_, url := exampleServer(pool, gateway.Config{Channels: []gateway.Channel{{Pattern: "lifts"}}, Keys: []string{"lifts"}})
	put := func(lift, state string) {
		tx := pool.Redis().TxPipeline()
		tx.HSet(ctx, "lifts", lift, state)
		tx.Publish(ctx, "lifts", state)
		_, _ = tx.Exec(ctx)
	}
	put("a", `{"lift": "a", "floor": 3}`)
	b := exampleDial(url)
	b.hear()
	b.say("SUB lifts snapshot=1")
	fmt.Println(b.hear())
	fmt.Println(b.hear())
	put("a", `{"lift": "a", "floor": 4}`)
	fmt.Println(b.hear())
	// Output:
	// {"source": "lifts", "content": {"lift": "a", "floor": 3}, "timestamp": 1790000000000.000, "client_reference": null}
	// {"source": "websocket", "content": {"status": "subscribed", "channel": "lifts", "snapshot": 1}, "timestamp": 1790000000000.000, "client_reference": null}
	// {"source": "lifts", "content": {"lift": "a", "floor": 4}, "timestamp": 1790000000000.000, "client_reference": null}
}

// A client that reconnects resumes where it was.
func ExampleChannel_history() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()
	history := pubsub.History{Size: 100}
	_, url := exampleServer(pool, gateway.Config{Channels: []gateway.Channel{{Pattern: "log", History: &history}}})
	ps, _ := pubsub.NewClient(pool, pubsub.Config{})
	lines := pubsub.NewTopic[string]("log").WithCodec(storage.JSON).WithHistory(history)

	b := exampleDial(url)
	b.hear()
	b.say("SUB log")
	b.hear() // subscribed, with an offset
	_, _ = pubsub.Publish(ctx, ps, lines, "one")
	var first struct{ Offset string }
	_ = json.Unmarshal([]byte(b.hear()), &first)
	_ = b.CloseNow()
	_, _ = pubsub.Publish(ctx, ps, lines, "two")

	b = exampleDial(url)
	b.hear()
	b.say("SUB log since=" + first.Offset)
	fmt.Println(strings.Contains(b.hear(), `"recovered": true`))
	fmt.Println(strings.Contains(b.hear(), `"content": "two"`))
	// Output:
	// true
	// true
}

// Of each ship only the newest position waits for a browser that is slow.
func ExampleChannel_conflate() {
	ships := gateway.Channel{
		Pattern: "ships.*",
		Slow:    gateway.SlowConflate,
		Key: func(content []byte) string {
			var ship struct{ Name string }
			_ = json.Unmarshal(content, &ship)
			return ship.Name
		},
	}
	fmt.Println(ships.Key([]byte(`{"name": "Uri", "x": 3}`)))
	// Output: Uri
}

// A principal from a header, which may follow a channel of its own, until it expires or
// the host disconnects it.
func ExampleConfig_authenticate() {
	pool, stop := examplePool()
	defer stop()
	h, url := exampleServer(pool, gateway.Config{
		Authenticate: func(r *http.Request) (gateway.Principal, error) {
			user, _, ok := r.BasicAuth() // a session, a token: whatever the host has
			if !ok {
				return gateway.Principal{}, errors.New("no credentials")
			}
			return gateway.Principal{Name: user, Expires: time.Now().Add(time.Hour)}, nil
		},
		Allow: func(_ context.Context, c *gateway.Conn, op gateway.Op, name string) bool {
			return op == gateway.OpSubscribe && name == "inbox."+c.Principal().Name
		},
	})
	b := exampleDial(strings.Replace(url, "ws://", "ws://ada:secret@", 1))
	b.hear()
	b.say("SUB inbox.ada ack=1")
	fmt.Println(strings.Contains(b.hear(), "subscribed"))
	b.say("SUB inbox.bob")
	fmt.Println(strings.Contains(b.hear(), "forbidden"))
	fmt.Println(h.Disconnect("ada"))
	fmt.Println(b.hear())
	// Output:
	// true
	// true
	// 1
	// failed to get reader: received close frame: status = StatusCode(4500) and reason = "disconnected"
}

// Any process that reaches Redis acts on the clients of a user: here one that runs no
// handler.
func ExampleRemote() {
	pool, stop := examplePool()
	defer stop()
	h, url := exampleServer(pool, gateway.Config{
		Remote: "web",
		Authenticate: func(r *http.Request) (gateway.Principal, error) {
			user, _, _ := r.BasicAuth()
			return gateway.Principal{Name: user}, nil
		},
	})
	b := exampleDial(strings.Replace(url, "ws://", "ws://ada:secret@", 1))
	b.hear()
	ctx := context.Background()
	r, err := gateway.NewRemote(pool, "web")
	if err != nil {
		log.Fatal(err)
	}
	reached := gateway.Reached{}
	for err == nil && reached.Handlers == 0 { // the handler has just begun to follow the commands
		reached, err = r.Subscribe(ctx, "ada", "alerts")
	}
	fmt.Println(reached.Connections, err)
	fmt.Println(b.hear())
	fmt.Println(r.Send(ctx, "ada", []byte(`{"source": "host", "content": "good bye"}`)))
	fmt.Println(b.hear())
	fmt.Println(r.Unsubscribe(ctx, "ada", "alerts"))
	fmt.Println(b.hear())
	fmt.Println(r.Disconnect(ctx, "ada"))
	fmt.Println(b.hear())
	fmt.Println(r.Close(), h.Stats().Subscriptions)
	// Output:
	// 1 <nil>
	// {"source": "websocket", "content": {"status": "subscribed", "channel": "alerts"}, "timestamp": 1790000000000.000, "client_reference": null}
	// {1 1} <nil>
	// {"source": "host", "content": "good bye"}
	// {1 1} <nil>
	// {"source": "websocket", "content": {"channel":"alerts","status":"unsubscribed"}, "timestamp": 1790000000000.000, "client_reference": null}
	// {1 1} <nil>
	// failed to get reader: received close frame: status = StatusCode(4500) and reason = "disconnected"
	// <nil> 0
}

// A command of the host's: each client chooses a least value.
func ExampleCommand() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()
	above := gateway.Command{
		Usage: "number", Min: 1, Max: 1,
		Run: func(_ context.Context, c *gateway.Conn, r gateway.Request) error {
			least, err := strconv.ParseFloat(r.Args[0], 64)
			if err != nil {
				return gateway.Errorf(gateway.CodeBadCommand, "%q is not a number", r.Args[0])
			}
			c.SetFilter("above", func(m *gateway.Message) *gateway.Message {
				type parsed struct{}
				v := m.Memo(parsed{}, func() any { // once for all clients
					v, _ := strconv.ParseFloat(string(m.Content), 64)
					return v
				}).(float64)
				if v <= least {
					return nil
				}
				return m
			})
			return c.Reply(r, "above", least)
		},
	}
	_, url := exampleServer(pool, gateway.Config{
		Channels: []gateway.Channel{{Pattern: "load"}},
		Commands: map[string]gateway.Command{"ABOVE": above},
	})
	b := exampleDial(url)
	b.hear()
	b.say("ABOVE 3")
	fmt.Println(b.hear())
	b.say("SUB load ack=1")
	b.hear()
	for _, v := range []int{1, 5, 2, 7} {
		pool.Redis().Publish(ctx, "load", v)
	}
	fmt.Println(b.hear())
	fmt.Println(b.hear())
	// Output:
	// {"source": "above", "content": 3, "timestamp": 1790000000000.000, "client_reference": null}
	// {"source": "load", "content": 5, "timestamp": 1790000000000.000, "client_reference": null}
	// {"source": "load", "content": 7, "timestamp": 1790000000000.000, "client_reference": null}
}

// Every client follows a channel, whose messages a hook changes.
func ExampleHooks() {
	pool, stop := examplePool()
	defer stop()
	ended := make(chan gateway.CloseReason, 1)
	_, url := exampleServer(pool, gateway.Config{
		Hooks: []gateway.Hooks{
			{
				Connect: func(ctx context.Context, c *gateway.Conn, _ *http.Request) error {
					return c.Subscribe(ctx, "global")
				},
				Publication: func(_ *gateway.Handler, m *gateway.Message) *gateway.Message {
					return m.With(json.RawMessage(strings.ToUpper(string(m.Content))))
				},
				Disconnect: func(_ context.Context, _ *gateway.Conn, reason gateway.CloseReason) { ended <- reason },
			},
		},
	})
	b := exampleDial(url)
	b.hear()
	b.say("PING")
	b.hear()
	pool.Redis().Publish(context.Background(), "global", `"hello"`)
	fmt.Println(b.hear())
	_ = b.Close(websocket.StatusNormalClosure, "enough")
	fmt.Printf("%+v\n", <-ended)
	// Output:
	// {"source": "global", "content": "HELLO", "timestamp": 1790000000000.000, "client_reference": null}
	// {Code:1000 Text:enough Remote:true}
}

// Publications of the host's own, in place of Redis.
func ExampleSource() {
	pool, stop := examplePool()
	defer stop()
	_, url := exampleServer(pool, gateway.Config{Source: clock{}, Channels: []gateway.Channel{{Pattern: "clock"}}})
	b := exampleDial(url)
	b.hear()
	b.say("SUB clock")
	fmt.Println(b.hear())
	// Output:
	// {"source": "clock", "content": "tick", "timestamp": 1790000000000.000, "client_reference": null}
}

type clock struct{}

func (clock) Follow(_ context.Context, channel string, deliver func(gateway.Publication)) (stop func(), err error) {
	ticker, done := time.NewTicker(10*time.Millisecond), make(chan struct{})
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				deliver(gateway.Publication{Data: []byte(`"tick"`)})
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }, nil
}

// Two browsers follow a channel, and one asks who does.
func ExampleChannel_presence() {
	pool, stop := examplePool()
	defer stop()
	_, url := exampleServer(pool, gateway.Config{Channels: []gateway.Channel{{Pattern: "room", Presence: true}}})
	one, two := exampleDial(url), exampleDial(url)
	for _, b := range []exampleBrowser{one, two} {
		b.hear()
		b.say("SUB room ack=1")
		b.hear()
	}
	one.say("WHO room")
	fmt.Println(one.hear())
	// Output:
	// {"source": "room", "content": {"clients":2,"principals":{}}, "timestamp": 1790000000000.000, "client_reference": null}
}

// A room: a browser is told who joins and leaves it.
func ExampleChannel_joins() {
	pool, stop := examplePool()
	defer stop()
	_, url := exampleServer(pool, gateway.Config{
		Channels: []gateway.Channel{{Pattern: "room.*", Presence: true}, {Pattern: "joins:room.*", Joins: "joins:"}},
		Authenticate: func(r *http.Request) (gateway.Principal, error) {
			user, _, _ := r.BasicAuth()
			return gateway.Principal{Name: user}, nil
		},
	})
	one := exampleDial(url)
	one.hear()
	one.say("SUB joins:room.7 ack=1")
	one.hear()
	two := exampleDial(strings.Replace(url, "ws://", "ws://ada:secret@", 1))
	two.hear()
	two.say("SUB room.7")
	for range 2 {
		var m struct {
			Content struct{ Event, Channel, Principal string }
		}
		_ = json.Unmarshal([]byte(one.hear()), &m)
		fmt.Println(m.Content.Principal, m.Content.Event, m.Content.Channel)
		two.say("DEL room.7")
	}
	// Output:
	// ada joined room.7
	// ada left room.7
}

// A message from the server to all clients.
func ExampleBroadcast() {
	pool, stop := examplePool()
	defer stop()
	h, url := exampleServer(pool, gateway.Config{})
	b := exampleDial(url)
	b.hear()
	gateway.Broadcast([]byte(`{"source": "host", "content": "lunch"}`), h.Conns()...)
	fmt.Println(b.hear(), h.Stats().Connections)
	// Output: {"source": "host", "content": "lunch"} 1
}

// Clients that send commands but get nothing except the contents of messages.
func ExamplePlain() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()
	_, url := exampleServer(pool, gateway.Config{
		Protocols: []gateway.Protocol{gateway.Plain},
		Hooks: []gateway.Hooks{{Message: func(ctx context.Context, c *gateway.Conn, data []byte) ([]byte, error) {
			if err := c.Subscribe(ctx, string(data)); err != nil {
				return nil, err
			}
			c.Send([]byte("following"))
			return nil, nil
		}}},
	})
	b := exampleDial(url)
	b.say("news")
	fmt.Println(b.hear())
	pool.Redis().Publish(ctx, "news", "hello")
	fmt.Println(b.hear())
	// Output:
	// following
	// hello
}

// A command that reads a hash as GET does, and changes its values.
func ExampleGet() {
	pool, stop := examplePool()
	defer stop()
	pool.Redis().HSet(context.Background(), "names", "1", `"ada"`)
	_, url := exampleServer(pool, gateway.Config{
		Keys: []string{"names"},
		Commands: map[string]gateway.Command{
			"SHOUT": {Min: 1, Max: 3, Usage: "key [ref] [client_ref]", Run: func(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
				return gateway.Get(ctx, c, r, func(m *gateway.Message) *gateway.Message {
					return m.With(json.RawMessage(strings.ToUpper(string(m.Content))))
				})
			}},
		},
	})
	b := exampleDial(url)
	b.hear()
	b.say("SHOUT names")
	fmt.Println(b.hear())
	// Output:
	// {"source": "names", "content": "ADA", "timestamp": 1790000000000.000, "client_reference": null}
}

// Clients are asked to reconnect, spread over the time until the deadline.
func ExampleHandler_Shutdown() {
	pool, stop := examplePool()
	defer stop()
	h, url := exampleServer(pool, gateway.Config{})
	b := exampleDial(url)
	b.hear()
	closed := make(chan string)
	go func() {
		b.hear() // {"status": "closing", "reconnect_ms": …}
		closed <- b.hear()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	fmt.Println(h.Shutdown(ctx))
	fmt.Println(strings.Contains(<-closed, "StatusServiceRestart"), h.Stats().Connections)
	// Output:
	// <nil>
	// true 0
}
