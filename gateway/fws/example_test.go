package fws_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/fws"
)

// Clients that know the same token talk to each other, whichever process they are
// connected to.
func ExampleGroups() {
	pool, stop := examplePool()
	defer stop()
	groups, err := fws.NewGroups(pool, fws.GroupsConfig{Tokens: true})
	if err != nil {
		log.Fatal(err)
	}
	url, _, closeServer := exampleServer(pool, gateway.Config{
		Protocols: []gateway.Protocol{gateway.Plain},
		Hooks:     []gateway.Hooks{groups.Hooks()},
	})
	defer closeServer()
	ada, bob := exampleDial(url), exampleDial(url)
	ada.say("token:tuesday")
	fmt.Println(ada.hear())
	bob.say("token:tuesday")
	fmt.Println(bob.hear())
	ada.say("good morning")
	fmt.Println(bob.hear())

	ctx := context.Background()
	members, err := groups.Members(ctx, "tuesday")
	fmt.Println(len(members), "members", err)
	err = groups.Broadcast(ctx, "tuesday", []byte("tea is served"))
	fmt.Println(ada.hear(), bob.hear(), err)
	// Output:
	// Successfully registered with broadcast group: tuesday
	// Successfully registered with broadcast group: tuesday
	// good morning
	// 2 members <nil>
	// tea is served tea is served <nil>
}

// Hooks of all processes share sets of strings.
func ExampleStorage() {
	pool, stop := examplePool()
	defer stop()
	s, err := fws.NewStorage(pool, "my_app")
	if err != nil {
		log.Fatal(err)
	}
	url, _, closeServer := exampleServer(pool, gateway.Config{
		Protocols: []gateway.Protocol{gateway.Plain},
		Hooks: []gateway.Hooks{s.Hooks(), {Message: func(ctx context.Context, c *gateway.Conn, data []byte) ([]byte, error) {
			if err := fws.StorageOf(c).Add(ctx, "words", string(data)); err != nil {
				return nil, err
			}
			words, err := fws.StorageOf(c).Get(ctx, "words")
			c.Send(fmt.Append(nil, words))
			return data, err
		}}},
	})
	defer closeServer()
	ada := exampleDial(url)
	ada.say("good")
	fmt.Println(ada.hear())
	ada.say("morning")
	fmt.Println(ada.hear())
	fmt.Println(s.Remove(context.Background(), "words", "good"))
	// Output:
	// [good]
	// [good morning]
	// <nil>
}

// The host puts connections into groups, by what it knows of them.
func ExampleGroups_Join() {
	pool, stop := examplePool()
	defer stop()
	groups, err := fws.NewGroups(pool, fws.GroupsConfig{HostOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	url, _, closeServer := exampleServer(pool, gateway.Config{
		Hooks: []gateway.Hooks{groups.Hooks()},
		Commands: map[string]gateway.Command{
			"JOIN": {Min: 1, Max: 1, Usage: "room", Run: func(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
				if err := groups.Join(ctx, c, r.Args[0]); err != nil {
					return err
				}
				return c.Reply(r, "room", groups.GroupsOf(c))
			}},
			"PART": {Run: func(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
				if err := groups.Leave(ctx, c); err != nil {
					return err
				}
				return c.Reply(r, "room", groups.GroupsOf(c))
			}},
		},
	})
	defer closeServer()
	ada := exampleDial(url)
	ada.hear() // that the connection is open
	ada.say("JOIN kitchen")
	fmt.Println(ada.hear())
	ada.say("PART")
	fmt.Println(ada.hear())
	fmt.Println(groups.Close())
	// Output:
	// {"source": "room", "content": ["kitchen"], "timestamp": 1790000000000.000, "client_reference": null}
	// {"source": "room", "content": null, "timestamp": 1790000000000.000, "client_reference": null}
	// <nil>
}

// Every message goes to all other clients.
func ExampleBroadcastMessages() {
	pool, stop := examplePool()
	defer stop()
	url, connected, closeServer := exampleServer(pool, gateway.Config{
		Protocols: []gateway.Protocol{gateway.Plain},
		Hooks: []gateway.Hooks{
			fws.BroadcastMessages(),
		},
	})
	defer closeServer()
	ada, bob := exampleDial(url), exampleDial(url)
	connected(2)
	ada.say("hello")
	fmt.Println(bob.hear())
	// Output: hello
}

// Every client follows a channel, and what passes is printed.
func ExampleBroadcastPublications() {
	pool, stop := examplePool()
	defer stop()
	url, connected, closeServer := exampleServer(pool, gateway.Config{
		Protocols: []gateway.Protocol{gateway.Plain},
		Hooks: []gateway.Hooks{
			fws.PrintRaw(os.Stdout),
			fws.PrintMessages(os.Stdout),
			fws.BroadcastPublications("news"),
			fws.PrintPublications(os.Stdout),
			fws.BroadcastMessages(),
		},
	})
	defer closeServer()
	ada := exampleDial(url)
	connected(1)
	bob := exampleDial(url)
	connected(2)
	ada.say("hello")
	fmt.Println("bob gets", bob.hear())
	pool.Redis().Publish(context.Background(), "news", "rain")
	fmt.Println("bob gets", bob.hear())
	// Output:
	// raw 1: "hello"
	// message 1: "hello"
	// bob gets hello
	// publication news: "\"rain\""
	// bob gets rain
}
