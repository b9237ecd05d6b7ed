package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

// workersElsewhere returns a hint at the prefixes and sites under which workers
// run, for a command that has found none.
func workersElsewhere(ctx context.Context, pool *storage.Pool, site string) string {
	return elsewhere("workers run", keysOfAnyPrefix(ctx, pool, "bus:{*}:types"), func(prefix, key string) string {
		at := strings.TrimSuffix(strings.TrimPrefix(key, "bus:{"), "}:types")
		switch flags := prefixFlag(pool, prefix); {
		case at == site:
			return flags
		case flags == "":
			return "with --site " + at
		default:
			return flags + " --site " + at
		}
	})
}

// servicesElsewhere returns a hint at the prefixes under which there are keyword
// services, for a command that has found none.
func servicesElsewhere(ctx context.Context, pool *storage.Pool) string {
	return elsewhere("there are services", keysOfAnyPrefix(ctx, pool, "kw:services"), func(prefix, _ string) string {
		return prefixFlag(pool, prefix)
	})
}

// elsewhere joins what say returns for keys, by prefix, which is nothing for those that
// were looked at already.
func elsewhere(what string, found map[string][]string, say func(prefix, key string) string) string {
	var places []string
	for prefix, keys := range found {
		for _, key := range keys {
			if place := say(prefix, key); place != "" && !slices.Contains(places, place) {
				places = append(places, place)
			}
		}
	}
	if len(places) == 0 {
		return ""
	}
	slices.Sort(places)
	return "; " + what + " " + some(places)
}

func prefixFlag(pool *storage.Pool, prefix string) string {
	switch prefix {
	case pool.Config().Prefix:
		return ""
	case "":
		return "without a prefix"
	}
	return "with --prefix " + prefix
}

// keysOfAnyPrefix returns the keys that match a glob behind some prefix, by prefix.
// It looks for a second, and at some 100,000 keys, at most; what goes wrong is no
// error of the command.
func keysOfAnyPrefix(ctx context.Context, pool *storage.Pool, glob string) map[string][]string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	found := make(map[string][]string)
	first, _, _ := strings.Cut(glob, "*")
	scan := func(ctx context.Context, client redis.Cmdable) error {
		var cursor uint64
		for range 100 {
			keys, next, err := client.Scan(ctx, cursor, "*"+glob, 1000).Result()
			if err != nil {
				return err
			}
			for _, key := range keys {
				at := strings.LastIndex(key, first)
				if prefix, ok := strings.CutSuffix(key[:at], ":"); ok || at == 0 {
					found[prefix] = append(found[prefix], key[at:])
				}
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
		return nil
	}
	if cluster, ok := pool.Redis().(*redis.ClusterClient); ok {
		nodes := make(chan *redis.Client, 1000)
		_ = cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error { nodes <- node; return nil })
		close(nodes)
		for node := range nodes {
			_ = scan(ctx, node)
		}
		return found
	}
	_ = scan(ctx, pool.Redis())
	return found
}
