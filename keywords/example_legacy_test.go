package keywords_test

import (
	"context"
	"fmt"

	"github.com/heliograph/heliograph/keywords"
)

// A Cauldron service has stored the speed and the mode of a stage.
func ExampleReadLegacy() {
	pool, ctx := examplePool(), context.Background()
	defer stopExample()
	pool.Redis().SAdd(ctx, "Cauldron_redis.common.SERVICES_REGISTRY", "stage")
	pool.Redis().MSet(ctx, "Cauldron_redis.common.stage.SPEED", "3.5", "Cauldron_redis.common.stage.MODE", "1")

	l, err := keywords.NewLegacy(pool, keywords.LegacyConfig{
		Domain: "Cauldron_redis.common", Services: []string{"stage"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	speed, err := keywords.ReadLegacy(ctx, l, Speed)
	fmt.Println(speed.V, speed.Quality, err)
	mode, err := keywords.ReadLegacy(ctx, l, ModeOf)
	fmt.Println(mode.V == Track, err)
	// Output:
	// 3.5 good <nil>
	// true <nil>
}

// A watch begins with the present value.
func ExampleWatchLegacy() {
	pool, ctx := examplePool(), context.Background()
	defer stopExample()
	pool.Redis().Set(ctx, "Cauldron.redis.common.stage.SPEED", "3.5", 0)

	l, err := keywords.NewLegacy(pool, keywords.LegacyConfig{
		Domain: "Cauldron.redis.common", Services: []string{"stage"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for ev, err := range keywords.WatchLegacy(ctx, l, Speed) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ev.Kind, ev.Value.V, ev.Value.Quality) // no registry lists the service
		break
	}
	// Output: initial 3.5 stale
}
