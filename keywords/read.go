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

// ReadOptions are the options of [Read] and [ReadText].
type ReadOptions struct {
	// Refresh makes the dispatcher run the Read hook of the keyword first, so that
	// the value is what the hardware has now. It changes nothing for a keyword
	// without a Read hook, but fails with [ErrNoDispatcher] where no dispatcher
	// lives. False reads the value in Redis.
	Refresh bool

	// Cached reads the newest value that the client has received, without a request to
	// Redis. The first such read of a keyword begins to follow it, as Watch does, and
	// waits for the present value; what was not read for a minute is followed no more.
	// The Quality is that of a watch: also [QualityDisconnected]. A value that this client
	// has just set may arrive later. Cached excludes Refresh. See ClientConfig.MaxCached.
	Cached bool
}

func (o ReadOptions) check() error {
	if o.Cached && o.Refresh {
		return errors.New("keywords: ReadOptions.Cached, Refresh: they exclude each other")
	}
	return nil
}

// Read returns the value of a keyword that its dispatcher has committed last. If no
// dispatcher lives, the Quality of the value is [QualityStale]. A keyword without a
// value is [ErrNoValue]. While Redis is unreachable, or refuses reads for a reason that
// passes, such as loading its data, Read waits until ctx ends, as do all functions of
// the package that read.
func Read[T Type](ctx context.Context, c *Client, k Keyword[T], opts ...ReadOptions) (Value[T], error) {
	o, err := optional(opts)
	if err == nil {
		err = k.check("Read")
	}
	if err == nil {
		err = o.check()
	}
	if err == nil && o.Cached {
		r, followed, err := c.cached(ctx, target{service: k.def.Service, name: k.def.Name, fits: k.fits})
		if followed {
			return readValue(k, r)
		} else if err != nil {
			return Value[T]{}, err
		}
	}
	if err == nil {
		err = k.checkKind(ctx, c)
	}
	if err == nil && o.Refresh {
		err = c.refresh(ctx, *k.def)
	}
	if err != nil {
		return Value[T]{}, err
	}
	recs, err := c.persistRead(ctx, k.def.Service, []Definition{*k.def})
	if err != nil {
		return Value[T]{}, err
	}
	v, err := readValue(k, recs[0])
	if errors.Is(err, CodeUnknownKeyword) {
		if _, why := c.Describe(ctx, k.def.Service, k.def.Name); why != nil { // perhaps the service is unknown too
			err = why
		}
	}
	return v, err
}

func readValue[T Type](k Keyword[T], r readResult) (Value[T], error) {
	if err := r.refused(k.def); err != nil {
		return Value[T]{}, err
	}
	v, err := typed(k, &r.record)
	v.Quality = r.quality
	return v, err
}

// ReadText is [Read] by service and name. The value is canonical text, see
// [Definition.Text].
func ReadText(ctx context.Context, c *Client, service, name string, opts ...ReadOptions) (Value[string], error) {
	o, err := optional(opts)
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return Value[string]{}, err
	}
	if o.Cached {
		r, followed, err := c.cached(ctx, target{service: service, name: name})
		if followed {
			err = r.refused(&Definition{Service: service, Name: name})
		}
		if err != nil {
			return Value[string]{}, err
		}
		if followed {
			return r.value(), nil
		}
	}
	def, err := c.Describe(ctx, service, name)
	if err == nil && o.Refresh {
		err = c.refresh(ctx, def)
	}
	if err != nil {
		return Value[string]{}, err
	}
	recs, err := c.persistRead(ctx, service, []Definition{def})
	if err == nil {
		err = recs[0].refused(&def)
	}
	if err != nil {
		return Value[string]{}, err
	}
	return recs[0].value(), nil
}

// refresh makes the dispatcher of a keyword run its read hooks.
func (c *Client) refresh(ctx context.Context, def Definition) error {
	_, err := c.ask(ctx, def.Service, def.Dispatcher, methodRefresh, request{Changes: []requestedChange{{Name: def.Name}}, Origin: c.origin}, nil)
	return err
}

// ReadMany returns the values that several keywords of one service have at the same
// moment, by name, as canonical text. A keyword without a value is left out. If
// [ReadText] would refuse one keyword, ReadMany returns that error and no value.
func ReadMany(ctx context.Context, c *Client, service string, names ...string) (map[string]Value[string], error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	known, err := c.Keywords(ctx, service)
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
	recs, err := c.persistRead(ctx, service, defs)
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

// readResult is what was read of a keyword.
type readResult struct {
	record
	ok      bool // the keyword has a value
	defined bool // the service has such a keyword
	quality Quality
	err     error // why the value can't be read
}

func (r readResult) value() Value[string] {
	v := valueOf(&r.record, r.text)
	v.Quality = r.quality
	return v
}

// refused returns why there is no value to return.
func (r readResult) refused(def *Definition) error {
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

// persistRead is read that waits for Redis.
func (c *Client) persistRead(ctx context.Context, svc string, defs []Definition) (recs []readResult, err error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	err = c.persist(ctx, func() (err error) { recs, err = c.read(ctx, svc, defs); return err })
	if err != nil {
		return nil, redisio.Wrap(fmt.Sprintf("keywords: %s", svc), err)
	}
	return recs, nil
}

// read reads keywords of a service in one transaction. The results are in the order of
// defs. It makes one try.
func (c *Client) read(ctx context.Context, svc string, defs []Definition) ([]readResult, error) {
	s, err := newService(c.pool, svc)
	if err != nil {
		return nil, err
	}
	c.stats.reads.Add(int64(len(defs)))
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
	if redis.HasErrorPrefix(err, "EXECABORT") {
		// Either the user lacks the right to a command, whose error says which, or Redis
		// is full: then it refuses transactions of reads too, and no value changes.
		alive = map[string]*redis.IntCmd{}
		_, err = c.pool.Redis().Pipelined(ctx, fill)
	}
	if err != nil && !strings.Contains(err.Error(), "WRONGTYPE") {
		return nil, redisio.Normalize(ctx, err)
	}
	recs := make([]readResult, len(defs))
	for i, def := range defs {
		if values[i].Err() != nil { // the key was overwritten with another type
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
