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
	all, err := scanDefinitions(ctx, p.client, service)
	if err != nil {
		return err
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
			if others[owner] {
				break
			}
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
	for names := range slices.Chunk(gone, pieceSize) {
		if err := p.definePiece(ctx, all, others, names, nil, ""); err != nil {
			return err
		}
	}
	for names := range slices.Chunk(slices.Collect(maps.Keys(p.served)), pieceSize) {
		if err := p.definePiece(ctx, all, others, nil, names, ""); err != nil {
			return err
		}
	}
	// Watchers read the definitions once all are there.
	if err := p.definePiece(ctx, all, others, nil, nil, string(msg)); err != nil {
		return err
	}
	return redisio.Normalize(ctx, p.client.SAdd(ctx, p.services, service.name).Err())
}

// definePiece removes the definitions of keywords that are gone, writes those of others,
// and publishes a message, unless it is empty.
func (p *publisher) definePiece(ctx context.Context, before map[string]string, owners map[string]bool, gone, names []string, msg string) error {
	service := p.lease.service
	keys := []string{service.owner(p.lease.name), service.definitions()}
	args := []any{p.lease.owner(), p.channel, msg, len(owners), len(gone)}
	keys = slices.AppendSeq(keys, maps.Keys(owners))
	for _, name := range gone {
		keys = append(keys, service.value(name), service.log(name))
		args = append(args, name)
	}
	for _, name := range names {
		def := p.served[name].def
		text, err := storage.JSON.Marshal(def)
		if err != nil {
			return err
		}
		if def.History == 0 && before[name] != string(text) {
			keys = append(keys, service.log(name)) // it would lack values, if there is a history again later
		}
		args = append(args, name, before[name], text)
	}
	err := luaDefine.Run(ctx, p.client, keys, args...).Err()
	if err != nil && strings.Contains(err.Error(), "CHANGED") {
		return errChanged
	}
	return redisio.Normalize(ctx, err)
}

// drop deletes values, unless another dispatcher has taken over.
func (p *publisher) drop(ctx context.Context, names []string) error {
	for names := range slices.Chunk(names, pieceSize) {
		keys := []string{p.lease.service.owner(p.lease.name)}
		for _, name := range names {
			keys = append(keys, p.lease.service.value(name))
		}
		if err := luaDelete.Run(ctx, p.client, keys, p.lease.owner()).Err(); err != nil {
			return redisio.Normalize(ctx, err)
		}
	}
	return nil
}
