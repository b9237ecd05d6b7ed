package gateway_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/coder/websocket"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/embedded"
)

// Clients who know the same token talk to each other, whichever process they are
// connected to.
func ExampleGroups() {
	redis, stop, err := embedded.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	pool, err := storage.Open(redis)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close() // ends the handler and the groups
	groups, err := gateway.NewGroups(pool, gateway.GroupsConfig{Tokens: true})
	if err != nil {
		log.Fatal(err)
	}
	h, err := gateway.New(pool, gateway.Config{
		Protocols: []gateway.Protocol{gateway.Plain},
		Hooks:     []gateway.Hooks{groups.Hooks()},
	})
	if err != nil {
		log.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()

	ctx := context.Background()
	url := strings.Replace(srv.URL, "http", "ws", 1)
	ann, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	bob, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	say := func(from *websocket.Conn, text string) {
		if err := from.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			log.Fatal(err)
		}
	}
	hear := func(to *websocket.Conn) {
		_, data, err := to.Read(ctx)
		fmt.Println(string(data), err)
	}
	say(ann, "token:tuesday")
	hear(ann)
	say(bob, "token:tuesday")
	hear(bob)
	members, err := groups.Members(ctx, "tuesday")
	fmt.Println(len(members), "members", err)
	say(ann, "good morning")
	hear(bob)
	_ = groups.Broadcast(ctx, "tuesday", []byte("tea is served"))
	hear(ann)
	hear(bob)
	// Output:
	// Successfully registered with broadcast group: tuesday <nil>
	// Successfully registered with broadcast group: tuesday <nil>
	// 2 members <nil>
	// good morning <nil>
	// tea is served <nil>
	// tea is served <nil>
}
