package storage_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/heliograph/heliograph/storage"
)

// examplePool returns a pool on a Redis of its own.
func examplePool() (pool *storage.Pool, stop func()) {
	cfg, stopRedis := exampleRedis()
	cfg.Prefix = "obs"
	pool, err := storage.Open(cfg)
	if err != nil {
		log.Fatal(err)
	}
	return pool, func() {
		_ = pool.Close()
		stopRedis()
	}
}

func ExampleLog() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()

	events, err := storage.NewLog(pool, "events:dome", storage.LogOptions{MaxLen: 3, TTL: 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range []string{"wake", "open", "turn", "close"} {
		if err := events.Append(ctx, []byte(line)); err != nil {
			log.Fatal(err)
		}
	}
	lines, err := events.Last(ctx, 10)
	fmt.Printf("%s: %s %v\n", events.Key(), lines, err)
	// Output: obs:events:dome: [open turn close] <nil>
}

func ExampleSet() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()

	observers, err := storage.NewSet[string](pool, "observers", storage.ObjectOptions{TTL: 12 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(observers.Add(ctx, "ann", "bob"))
	fmt.Println(observers.Add(ctx, "bob", "cid"))
	fmt.Println(observers.Remove(ctx, "dan"))
	fmt.Println(observers.Contains(ctx, "bob"))
	n := 0
	for _, err := range observers.All(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		n++
	}
	fmt.Println(n)
	// Output:
	// 2 <nil>
	// 1 <nil>
	// 0 <nil>
	// true <nil>
	// 3
}

func ExampleMap() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()

	type target struct {
		RA, Dec float64
	}
	targets, err := storage.NewMap[target](pool, "targets", storage.ObjectOptions{Codec: storage.JSON})
	if err != nil {
		log.Fatal(err)
	}
	vega := target{279.23, 38.78}
	fmt.Println(targets.PutIfAbsent(ctx, "vega", vega))
	fmt.Println(targets.PutIfAbsent(ctx, "vega", target{}))
	fmt.Println(targets.CompareAndSwap(ctx, "vega", vega, target{279.2347, 38.7837}))
	fmt.Println(targets.Get(ctx, "vega"))
	for e, err := range targets.All(ctx) {
		fmt.Println(e.Field, e.Value.RA, err)
	}
	fmt.Println(targets.Delete(ctx, "vega", "deneb"))
	// Output:
	// true <nil>
	// false <nil>
	// true <nil>
	// {279.2347 38.7837} true <nil>
	// vega 279.2347 <nil>
	// 1 <nil>
}

func ExampleValue_Update() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()

	night, err := storage.NewValue[[]string](pool, "night")
	if err != nil {
		log.Fatal(err)
	}
	for _, target := range []string{"vega", "deneb"} {
		plan, err := night.Update(ctx, func(plan []string, ok bool) ([]string, error) {
			return append(plan, target), nil // called again if another process was faster
		})
		fmt.Println(plan, err)
	}
	fmt.Println(night.Clear(ctx))
	fmt.Println(night.Get(ctx))
	// Output:
	// [vega] <nil>
	// [vega deneb] <nil>
	// true <nil>
	// [] false <nil>
}

func ExampleObject() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()

	inRedis, err := storage.NewObject(pool, "filters")
	if err != nil {
		log.Fatal(err)
	}
	inMemory, err := storage.NewMemoryObject()
	if err != nil {
		log.Fatal(err)
	}
	for _, filters := range []storage.Object{inRedis, inMemory} {
		fmt.Println(filters.Add(ctx, "client-7", "box", "time"))
		fmt.Println(filters.Remove(ctx, "client-7", "time", "speed"))
		fmt.Println(filters.Get(ctx, "client-7"))
	}
	// Output:
	// 2 <nil>
	// 1 <nil>
	// [box] <nil>
	// 2 <nil>
	// 1 <nil>
	// [box] <nil>
}

func ExampleCache() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()

	pages, err := storage.NewCache[string](pool, "pages", storage.CacheOptions{TTL: time.Hour, MaxLocal: 10_000})
	if err != nil {
		log.Fatal(err)
	}
	load := func(url string) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			fmt.Println("load", url)
			if url != "/index" {
				return "", storage.ErrNotFound // kept too, for NegativeTTL
			}
			return "<h1>Welcome</h1>", nil
		}
	}
	for _, url := range []string{"/index", "/index", "/inbox", "/inbox"} {
		page, err := pages.Get(ctx, url, load(url))
		fmt.Println(page, err)
	}
	fmt.Println(pages.Delete(ctx, "/index"))
	fmt.Println(pages.Stats().Hits, pages.Stats().Loads)
	// Output:
	// load /index
	// <h1>Welcome</h1> <nil>
	// <h1>Welcome</h1> <nil>
	// load /inbox
	//  storage: not found
	//  storage: not found
	// true <nil>
	// 2 2
}

func ExamplePresence() {
	pool, stop := examplePool()
	defer stop()
	ctx := context.Background()

	// Two processes have users connected.
	east, err := storage.NewPresence[string](pool, "online", storage.PresenceOptions{Owner: "east"})
	if err != nil {
		log.Fatal(err)
	}
	west, err := storage.NewPresence[string](pool, "online", storage.PresenceOptions{Owner: "west"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(east.Add(ctx, "ann"))
	fmt.Println(west.Add(ctx, "ann", "bob"))
	fmt.Println(east.Owners(ctx))

	// One goes: with Close at once, without a word when its lease ends.
	fmt.Println(west.Close())
	fmt.Println(east.Contains(ctx, "bob"))
	for p, err := range east.All(ctx) {
		fmt.Println(p.Member, "at", p.Owner, err)
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// [east west] <nil>
	// <nil>
	// false <nil>
	// ann at east <nil>
}
