package keywords

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// LegacyConfig configures a [Legacy].
type LegacyConfig struct {
	// Domain is what the keys of Cauldron begin with, before the service and a dot. It is
	// the name of a Python module: Cauldron_redis.common, or Cauldron.redis.common in
	// earlier versions. It must not be empty.
	Domain string

	// Services lists the services that are read by the bridge. Every other service is
	// refused. Defaults to none.
	Services []string
}

func (c LegacyConfig) check() error {
	if c.Domain == "" {
		return errors.New("keywords: LegacyConfig.Domain: it is empty; Cauldron's is Cauldron_redis.common, or Cauldron.redis.common in earlier versions")
	}
	if err := redisio.CheckName(c.Domain); err != nil {
		return fmt.Errorf("keywords: LegacyConfig.Domain: %w", err)
	}
	for i, service := range c.Services {
		if err := redisio.CheckName(service); err != nil {
			return fmt.Errorf("keywords: LegacyConfig.Services[%d]: %w", i, err)
		}
	}
	return nil
}

// Legacy reads keywords of services that Cauldron serves with its Redis backend, so that
// a site can move to this package service by service. It only reads: it writes no key and
// publishes nothing to Cauldron. Use [ReadLegacy] and [WatchLegacy], with keywords of
// [Define] or [Bind] that have the names of Cauldron's, in any case.
//
// Cauldron keeps less than this package: the Value has no Rev, Time, Severity, Text and
// Source. Its Quality is [QualityGood] while Cauldron's registry lists the service, and
// else [QualityStale]. A dispatcher that crashes stays in the registry, so good does not
// prove that a dispatcher lives.
type Legacy struct {
	pool   *storage.Pool
	cfg    LegacyConfig
	ps     *pubsub.Client
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
}

// NewLegacy returns a bridge to Cauldron. It does not access Redis. The pool must have no
// prefix, as Cauldron's keys have none, and the database that Cauldron uses.
// [storage.Pool.Close] closes the bridge if it is still open.
func NewLegacy(pool *storage.Pool, cfg LegacyConfig) (*Legacy, error) {
	if pool == nil {
		return nil, errors.New("keywords: NewLegacy: nil pool")
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if prefix := pool.Config().Prefix; prefix != "" {
		return nil, fmt.Errorf("keywords: NewLegacy: the pool has the prefix %q, and Cauldron's keys have none: use a pool without a prefix", prefix)
	}
	cfg.Services = slices.Clone(cfg.Services)
	// A watch that begins while Redis is away waits for as long as its own context.
	ps, err := pubsub.NewClient(pool, pubsub.Config{Timeout: -1})
	if err != nil {
		return nil, fmt.Errorf("keywords: NewLegacy: %w", err)
	}
	l := &Legacy{pool: pool, cfg: cfg, ps: ps}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// Close ends reads and watches with [ErrClosed].
func (l *Legacy) Close() error {
	l.cancel()
	return l.ps.Close()
}

// ReadLegacy returns the value that Cauldron has for a keyword. A keyword without a value
// is [ErrNoValue], and one that has no key is [CodeUnknownKeyword]. A value that is none
// of the keyword's type is an [*Error], most often with CodeMalformed or CodeEnumerator.
func ReadLegacy[T Type](ctx context.Context, l *Legacy, k Keyword[T]) (Value[T], error) {
	if err := k.check("ReadLegacy"); err != nil {
		return Value[T]{}, err
	}
	if err := l.allow(k.def); err != nil {
		return Value[T]{}, err
	}
	ctx, done := l.within(ctx)
	defer done()
	r, err := l.read(ctx, k.def)
	if err == nil {
		err = l.refused(k.def, r)
	}
	if err != nil {
		return Value[T]{}, err
	}
	return legacyValue(k, r)
}

// WatchLegacy yields the value that Cauldron has for a keyword and then its changes, until
// ctx ends. An error is the last item. A loop that is slower than the changes gets the
// newest value next and misses those between. A value that is set again unchanged is not
// yielded. A keyword that has no key when watching begins is [CodeUnknownKeyword].
//
// The kinds of events are those of [Watch], without EventRedefined and EventGap. EventStale
// and EventGood say that Cauldron's registry no longer lists the service, or lists it again.
//
// Changes are told by Redis's keyspace notifications, which a Cauldron dispatcher enables
// when it starts. Each watch also reads its keyword every 5 seconds: a Redis that has
// restarted notifies of nothing until they are enabled again. What that finds is an
// EventResync.
func WatchLegacy[T Type](ctx context.Context, l *Legacy, k Keyword[T]) iter.Seq2[Event[T], error] {
	return func(yield func(Event[T], error) bool) {
		if err := k.check("WatchLegacy"); err != nil {
			yield(Event[T]{}, err)
			return
		}
		var prev *Value[T]
		err := l.watch(ctx, k.def, func(kind EventKind, r readResult) bool {
			ev := Event[T]{Kind: kind, Service: k.def.Service, Keyword: k.def.Name, Prev: prev}
			v, err := legacyValue(k, r)
			if prev = new(v); err != nil {
				v, prev = Value[T]{Quality: r.quality}, nil
				if kind != EventGone {
					ev.Kind, ev.Err = EventMismatch, err
				}
			}
			ev.Value = v
			return yield(ev, nil)
		})
		if err != nil {
			yield(Event[T]{}, err)
		}
	}
}

// allow returns an error if the keyword must not be read.
func (l *Legacy) allow(def *Definition) error {
	switch {
	case l.ctx.Err() != nil:
		return ErrClosed
	case !slices.Contains(l.cfg.Services, def.Service):
		return fmt.Errorf("keywords: %v: LegacyConfig.Services does not list %s", def, def.Service)
	case def.WriteOnly:
		return &Error{Code: CodeWriteOnly, Service: def.Service, Keyword: def.Name}
	}
	return nil
}

// within returns ctx, ended by Close too.
func (l *Legacy) within(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// key returns the key of a keyword's value. Cauldron has services in lower case and
// keywords in upper case.
func (l *Legacy) key(def *Definition) string {
	return l.cfg.Domain + "." + strings.ToLower(def.Service) + "." + strings.ToUpper(def.Name)
}

// registry returns the key of the set of services.
func (l *Legacy) registry() string { return l.cfg.Domain + ".SERVICES_REGISTRY" }

// read reads a keyword.
func (l *Legacy) read(ctx context.Context, def *Definition) (readResult, error) {
	key := l.key(def)
	var status, value *redis.StringCmd
	var listed *redis.BoolCmd
	_, err := l.pool.Redis().Pipelined(ctx, func(pipe redis.Pipeliner) error {
		// Cauldron writes a value before the status that it has then. The status is read
		// first, so that it does not belong to a later value.
		status = pipe.Get(ctx, key+":status")
		value = pipe.Get(ctx, key)
		listed = pipe.SIsMember(ctx, l.registry(), strings.ToLower(def.Service))
		return nil
	})
	r := readResult{record: record{name: def.Name, text: value.Val()}, defined: true}
	for _, cmd := range []redis.Cmder{status, value, listed} {
		switch err := cmd.Err(); {
		case err == nil:
		case errors.Is(err, redis.Nil):
			r.defined = r.defined && cmd != redis.Cmder(value)
		case redis.HasErrorPrefix(err, "WRONGTYPE") && cmd == redis.Cmder(value):
			r.err = &storage.WrongTypeError{Key: key, Want: "string"}
		default:
			return readResult{}, l.failed(ctx, def, err)
		}
	}
	if err != nil && !errors.Is(err, redis.Nil) && r.err == nil {
		return readResult{}, l.failed(ctx, def, err)
	}
	switch {
	case r.text != "" || r.err != nil:
		r.ok = true
	case r.defined && def.Kind == KindString: // Cauldron begins with an empty text, too
		r.ok = status.Val() != "" && status.Val() != "init"
	}
	if !listed.Val() {
		r.quality = QualityStale
	}
	return r, nil
}

// failed returns the error of a read.
func (l *Legacy) failed(ctx context.Context, def *Definition, err error) error {
	if l.ctx.Err() != nil || errors.Is(err, redis.ErrClosed) {
		return ErrClosed
	}
	return redisio.Wrap(fmt.Sprintf("keywords: %v of %s", def, l.cfg.Domain), redisio.Normalize(ctx, err))
}

// refused returns why there is no value to return. An unknown keyword is named by its key,
// since the domain may be the reason.
func (l *Legacy) refused(def *Definition, r readResult) error {
	err := r.refused(def)
	var e *Error
	if errors.As(err, &e) && e.Code == CodeUnknownKeyword {
		e.Text = "Redis has no key " + l.key(def)
	}
	return err
}

// legacyValue returns what was read as a value of k.
func legacyValue[T Type](k Keyword[T], r readResult) (v Value[T], err error) {
	if r.err != nil {
		return v, redisio.Wrap(fmt.Sprintf("keywords: %v", k), r.err)
	}
	text := r.text
	if k.def.Kind == KindEnumerated {
		// Parse takes a number that is also a name for the name; Cauldron means the number.
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			text = k.def.Text(n)
		}
	}
	canonical, err := k.def.Parse(text)
	if err != nil {
		return v, err
	}
	v.Quality = r.quality
	v.V, err = k.decode(canonical)
	return v, err
}
