package keywords

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// Read returns the value of a keyword as its dispatcher has committed it last,
// also where none lives: then its Quality is Stale. A keyword without a value is
// [ErrNoValue].
func Read[T Type](ctx context.Context, c *Client, k Keyword[T]) (Value[T], error) {
	recs, err := c.read(ctx, k.def.Service, []Definition{*k.def})
	if err != nil {
		return Value[T]{}, err
	}
	v, err := readValue(k, recs[0])
	if errors.Is(err, CodeUnknownKeyword) {
		if _, why := c.Describe(ctx, k.def.Service, k.def.Name); why != nil { // or service
			err = why
		}
	}
	return v, err
}

func readValue[T Type](k Keyword[T], r seen) (Value[T], error) {
	if err := r.refused(k.def); err != nil {
		return Value[T]{}, err
	}
	v, err := typed(k, &r.record)
	v.Quality = r.quality
	return v, err
}

// ReadText is [Read] by name, of the canonical text.
func ReadText(ctx context.Context, c *Client, service, name string) (Value[string], error) {
	def, err := c.Describe(ctx, service, name)
	if err != nil {
		return Value[string]{}, err
	}
	recs, err := c.read(ctx, service, []Definition{def})
	if err == nil {
		err = recs[0].refused(&def)
	}
	if err != nil {
		return Value[string]{}, err
	}
	return recs[0].value(), nil
}

// Refresh has the dispatcher run the read hooks of a keyword, and returns the
// value that is true now. A keyword without them is as with Read.
func Refresh[T Type](ctx context.Context, c *Client, k Keyword[T]) (Value[T], error) {
	if err := c.refresh(ctx, k.Definition()); err != nil {
		return Value[T]{}, err
	}
	return Read(ctx, c, k)
}

// RefreshText is [Refresh] by name, of the canonical text.
func RefreshText(ctx context.Context, c *Client, service, name string) (Value[string], error) {
	def, err := c.Describe(ctx, service, name)
	if err != nil {
		return Value[string]{}, err
	}
	if err := c.refresh(ctx, def); err != nil {
		return Value[string]{}, err
	}
	return ReadText(ctx, c, service, name)
}

func (c *Client) refresh(ctx context.Context, def Definition) error {
	_, err := c.ask(ctx, def.Service, def.Dispatcher, methodRefresh, asked{Changes: []askedChange{{Name: def.Name}}, Origin: c.origin})
	return err
}

// ReadMany returns the values of several keywords of one service at one moment,
// by name, as canonical text. One without a value is left out; one that [ReadText]
// refuses is the error of all.
func ReadMany(ctx context.Context, c *Client, service string, names ...string) (map[string]Value[string], error) {
	s, err := newService(c.pool, service)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	known, err := c.definitions(ctx, s)
	if err != nil {
		return nil, err
	}
	defs := make([]Definition, len(names))
	for i, name := range names {
		at, ok := slices.BinarySearchFunc(known, name, func(def Definition, name string) int { return strings.Compare(def.Name, name) })
		switch {
		case !ok:
			return nil, &Error{Code: CodeUnknownKeyword, Service: service, Keyword: name}
		case known[at].WriteOnly:
			return nil, &Error{Code: CodeWriteOnly, Service: service, Keyword: name}
		}
		defs[i] = known[at]
	}
	recs, err := c.read(ctx, service, defs)
	if err != nil {
		return nil, err
	}
	values := make(map[string]Value[string], len(recs))
	for i, r := range recs {
		switch err := r.refused(&defs[i]); {
		case err == nil:
			values[r.name] = r.value()
		case !errors.Is(err, ErrNoValue):
			return nil, err
		}
	}
	return values, nil
}

// seen is what was read of a keyword.
type seen struct {
	record
	ok      bool // it has a value
	defined bool
	quality Quality
	err     error
}

func (r seen) value() Value[string] {
	v := valueOf(&r.record, r.text)
	v.Quality = r.quality
	return v
}

// refused is why what was read is no value.
func (r seen) refused(def *Definition) error {
	switch {
	case def.WriteOnly:
		return &Error{Code: CodeWriteOnly, Service: def.Service, Keyword: def.Name}
	case r.err != nil:
		return redisio.Wrap(fmt.Sprintf("keywords: %s", def), r.err)
	case !r.ok && !r.defined:
		return &Error{Code: CodeUnknownKeyword, Service: def.Service, Keyword: def.Name}
	case !r.ok:
		return redisio.Wrap(fmt.Sprintf("keywords: %s", def), ErrNoValue)
	}
	return nil
}

// read reads keywords of a service in one transaction.
func (c *Client) read(ctx context.Context, svc string, defs []Definition) ([]seen, error) {
	s, err := newService(c.pool, svc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	values := make([]*redis.SliceCmd, len(defs))
	defined := make([]*redis.BoolCmd, len(defs))
	alive := map[string]*redis.IntCmd{}
	fill := func(pipe redis.Pipeliner) error {
		for i, def := range defs {
			values[i] = pipe.HMGet(ctx, s.value(def.Name), valueFields...)
			defined[i] = pipe.HExists(ctx, s.definitions(), def.Name)
			if alive[def.Dispatcher] == nil {
				alive[def.Dispatcher] = pipe.Exists(ctx, s.owner(def.Dispatcher))
			}
		}
		return nil
	}
	_, err = c.pool.Redis().TxPipelined(ctx, fill)
	if redis.HasErrorPrefix(err, "EXECABORT") { // which does not say what was refused
		alive = map[string]*redis.IntCmd{}
		if _, why := c.pool.Redis().Pipelined(ctx, fill); why != nil {
			err = why
		}
	}
	if err != nil && !strings.Contains(err.Error(), "WRONGTYPE") {
		return nil, redisio.Wrap(fmt.Sprintf("keywords: %s", svc), redisio.Normalize(ctx, err))
	}
	recs := make([]seen, len(defs))
	for i, def := range defs {
		if values[i].Err() != nil { // somebody else's
			recs[i].err = &storage.WrongTypeError{Key: s.value(def.Name), Want: "hash"}
		}
		recs[i].record, recs[i].ok = readRecord(def.Name, values[i].Val())
		recs[i].name, recs[i].defined = def.Name, defined[i].Val()
		if alive[def.Dispatcher].Val() == 0 {
			recs[i].quality = QualityStale
		}
	}
	return recs, nil
}
