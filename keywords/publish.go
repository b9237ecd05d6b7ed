package keywords

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// publisher publishes the definitions of what a dispatcher serves.
type publisher struct {
	lease    *lease
	served   map[string]*served
	channel  string
	client   redis.UniversalClient // set by Run
	services string                // key of the set of services
}

// errChanged says that another dispatcher has changed the definitions meanwhile.
var errChanged = errors.New("keywords: definitions have changed meanwhile")

// publish writes the definitions of what is served, and removes those that this
// dispatcher has left from an earlier run, with their values. Where another dispatcher
// begins at the same time it tries again.
func (p *publisher) publish(ctx context.Context) error {
	for {
		if err := p.define(ctx); !errors.Is(err, errChanged) {
			return err
		}
	}
}

func (p *publisher) define(ctx context.Context) error {
	service, self := p.lease.service, p.lease.name
	all, err := p.client.HGetAll(ctx, service.definitions()).Result()
	if err != nil {
		return redisio.Normalize(ctx, err)
	}
	var gone []string
	others := make(map[string]bool) // owners of what this one takes over
	for name, text := range all {
		var def struct { // as much of a definition as any program can read
			Dispatcher string `json:"dispatcher"`
		}
		err := storage.JSON.Unmarshal([]byte(text), &def)
		of := cmp.Or(def.Dispatcher, defaultDispatcher)
		switch s := p.served[name]; {
		case err != nil: // no dispatcher's
		case s != nil && of != self:
			owner := service.owner(of)
			n, err := p.client.Exists(ctx, owner).Result()
			switch {
			case err != nil:
				return redisio.Normalize(ctx, err)
			case n > 0:
				return fmt.Errorf("keywords: %s.%s is served by the dispatcher %s", service.name, name, of)
			}
			others[owner] = true
		case s == nil && of == self:
			gone = append(gone, name)
		}
	}
	msg, err := storage.MsgPack.Marshal(&message{Dispatcher: self, Defined: true})
	if err != nil {
		return err
	}
	keys := []string{service.owner(self), service.definitions()}
	args := []any{p.lease.owner(), p.channel, msg, len(others), len(gone)}
	keys = slices.AppendSeq(keys, maps.Keys(others))
	for _, name := range gone {
		keys = append(keys, service.value(name), service.log(name))
		args = append(args, name)
	}
	for name, s := range p.served {
		text, err := storage.JSON.Marshal(s.def)
		if err != nil {
			return err
		}
		if s.def.History == 0 && all[name] != string(text) {
			keys = append(keys, service.log(name)) // it would lack values, if there is a history again later
		}
		args = append(args, name, all[name], text)
	}
	err = luaDefine.Run(ctx, p.client, keys, args...).Err()
	if err != nil && strings.Contains(err.Error(), "CHANGED") {
		return errChanged
	}
	if err == nil {
		err = p.client.SAdd(ctx, p.services, service.name).Err()
	}
	return redisio.Normalize(ctx, err)
}

// drop deletes values, unless another dispatcher has taken over.
func (p *publisher) drop(ctx context.Context, names ...string) error {
	keys := []string{p.lease.service.owner(p.lease.name)}
	for _, name := range names {
		keys = append(keys, p.lease.service.value(name))
	}
	return redisio.Normalize(ctx, luaDelete.Run(ctx, p.client, keys, p.lease.owner()).Err())
}
