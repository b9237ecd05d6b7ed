package server

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/fws"
	"github.com/heliograph/heliograph/storage"
)

// filterNames are the filters of filtered_websocket.
var filterNames = []string{
	"broadcast_messages", "broadcast_messages_by_token", "broadcast_pubsub",
	"stdout_messages", "stdout_pubsub", "stdout_rawdata",
}

// checkFilters accepts the names of filters, also with the module in Python:
// filtered_websocket.filters.stdout_messages.
func (o *Options) checkFilters() error {
	for i, name := range o.filters {
		o.filters[i] = name[strings.LastIndexByte(name, '.')+1:]
		if !slices.Contains(filterNames, o.filters[i]) {
			return fmt.Errorf("-filters: no %q; there are %s", name, strings.Join(filterNames, ", "))
		}
	}
	return nil
}

// plain reports whether clients speak as those of filtered_websocket: with a broadcast
// filter, they send no commands.
func (o *Options) plain() bool {
	return slices.ContainsFunc(o.filters, func(name string) bool { return strings.HasPrefix(name, "broadcast_") })
}

// consumes reports whether a filter is about publications.
func (o *Options) consumes() bool {
	return slices.ContainsFunc(o.filters, func(name string) bool { return strings.HasSuffix(name, "_pubsub") })
}

// hooks returns the hooks of the filters, in their order.
func (o *Options) hooks(pool *storage.Pool, stdout io.Writer) (hooks []gateway.Hooks, err error) {
	for _, name := range o.filters {
		switch name {
		case "broadcast_messages":
			hooks = append(hooks, fws.BroadcastMessages())
		case "broadcast_messages_by_token":
			groups, err := fws.NewGroups(pool, fws.GroupsConfig{Name: o.redisKey, Tokens: true, Local: o.memory})
			if err != nil {
				return nil, fmt.Errorf("-redis_key: %w", err)
			}
			hooks = append(hooks, groups.Hooks())
		case "broadcast_pubsub":
			hooks = append(hooks, fws.BroadcastPublications(o.redisChannels...))
		case "stdout_messages":
			hooks = append(hooks, fws.PrintMessages(stdout))
		case "stdout_pubsub":
			hooks = append(hooks, fws.PrintPublications(stdout))
		case "stdout_rawdata":
			hooks = append(hooks, fws.PrintRaw(stdout))
		}
	}
	return hooks, nil
}
