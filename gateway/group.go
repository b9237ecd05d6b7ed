package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// GroupsConfig configures Groups. The zero value is ready to use.
type GroupsConfig struct {
	// Name is that of all of them: Groups of one name on one Redis are the same
	// groups. Empty: groups.
	Name string

	// Tokens has clients choose their group: who sends token:x, at any place of a
	// message, joins x. Anybody who knows or guesses a token is in. False: only
	// the host's Join does.
	Tokens bool

	// HostOnly has nothing that clients send be broadcast, only what the host does:
	// for groups beside a protocol with commands.
	HostOnly bool

	// Object keeps who is in which group. Its sets should end a Lease after the last
	// Add to them, or else what a process that died has left in it stays. Nil: sets
	// in Redis; without a pool, in memory.
	Object storage.Object

	// PubSub carries broadcasts to the other processes. Nil: a client of its own.
	PubSub *pubsub.Client

	// Lease is how long members outlive the last sign of life of their process. It
	// is renewed three times as often. 0: 15 s; not less than 100 ms.
	Lease time.Duration

	// MaxGroups is how many groups may have members in this process. 0: 10,000; to
	// renew as many takes a second with a Redis nearby.
	MaxGroups int

	// MaxName is the longest name of a group, in bytes. 0: 255.
	MaxName int
}

func (cfg GroupsConfig) complete(pool *storage.Pool) (GroupsConfig, error) {
	cfg.Name = cmp.Or(cfg.Name, "groups")
	cfg.Lease = cmp.Or(cfg.Lease, 15*time.Second)
	switch err := redisio.CheckName(cfg.Name); {
	case err != nil:
		return cfg, fmt.Errorf("GroupsConfig.Name: %w", err)
	case cfg.PubSub != nil && pool == nil:
		return cfg, errors.New("GroupsConfig.PubSub: without a pool there are no other processes")
	case cfg.HostOnly && cfg.Tokens:
		return cfg, errors.New("GroupsConfig.HostOnly, Tokens: they exclude each other")
	case cfg.Lease < 100*time.Millisecond:
		return cfg, fmt.Errorf("GroupsConfig.Lease: %v is less than 100ms", cfg.Lease)
	case cfg.MaxGroups < 0:
		return cfg, fmt.Errorf("GroupsConfig.MaxGroups: %d is negative", cfg.MaxGroups)
	case cfg.MaxName < 0:
		return cfg, fmt.Errorf("GroupsConfig.MaxName: %d is negative", cfg.MaxName)
	}
	cfg.MaxGroups = cmp.Or(cfg.MaxGroups, 10_000)
	cfg.MaxName = cmp.Or(cfg.MaxName, 255)
	return cfg, nil
}

// Groups are connections that get what one of them sends. A connection is in one
// group or in none, which is what a token is for; who wants to hear of many things
// follows channels.
//
// A group spans all processes with the same pool: what is broadcast to it goes
// through Redis, in one order for everybody. It is at most once: who joins while
// it is on its way, or is cut off from Redis, does without.
//
// Every process hears every broadcast and drops those of groups that it has no
// member of. That is one subscription, whatever comes and goes, and a limit:
// broadcasts of all groups together should be what one process can take.
type Groups struct {
	pool   *storage.Pool // nil: this process is all there is
	cfg    GroupsConfig
	log    *slog.Logger
	id     string // of this process
	object storage.Object
	client *pubsub.Client
	own    bool // the client ends with us
	topic  pubsub.Topic[[]byte]
	disown func()

	turn     chan struct{}    // holds a token; who takes it may write to object, and use these
	listener *pubsub.Listener // nil: nobody has joined
	stop     context.CancelFunc
	running  sync.WaitGroup
	failing  bool // the last renewal failed
	closed   bool

	mu     sync.Mutex // never held while Redis is asked
	groups map[string]map[*Conn]struct{}
	in     map[*Conn]group
}

// group is the name of one, and the same as it may stand in a key.
type group struct{ name, key string }

// NewGroups returns groups in the Redis of the pool; without one, in this process
// alone. Their Hooks go into [Config].Hooks. It does not ask Redis.
func NewGroups(pool *storage.Pool, cfg GroupsConfig) (*Groups, error) {
	cfg, err := cfg.complete(pool)
	if err != nil {
		return nil, gatewayError(err)
	}
	g := &Groups{
		pool: pool, cfg: cfg, log: slog.Default(), id: rand.Text()[:16], object: cfg.Object, client: cfg.PubSub, disown: func() {},
		turn: make(chan struct{}, 1), groups: make(map[string]map[*Conn]struct{}), in: make(map[*Conn]group),
	}
	g.turn <- struct{}{}
	if pool == nil {
		if g.object == nil {
			g.object, err = storage.NewMemoryObject()
		}
		return g, err
	}
	g.log = redisio.Of(pool).Logger()
	if g.object == nil {
		if g.object, err = storage.NewObject(pool, "gateway:"+cfg.Name, storage.ObjectOptions{Codec: storage.Text, TTL: cfg.Lease}); err != nil {
			return nil, gatewayError(err)
		}
	}
	// Redis has one pub/sub for all its databases.
	if g.topic, err = pubsub.ParseTopic[[]byte](fmt.Sprintf("gateway:%d:%s", redisio.Of(pool).Database(), cfg.Name)); err != nil {
		return nil, gatewayError(err)
	}
	g.topic = g.topic.WithCodec(storage.Raw)
	if g.own = g.client == nil; g.own {
		if g.client, err = pubsub.NewClient(pool, pubsub.Config{}); err != nil {
			return nil, gatewayError(err)
		}
	}
	if g.disown, err = redisio.Of(pool).Own(g.Close); err != nil {
		return nil, gatewayError(err)
	}
	return g, nil
}

// Join puts a connection into a group, and takes it out of the one that it was in.
// After an error it may be in none: see [Groups.Group]. When it ends it leaves, by
// the Hooks.
func (g *Groups) Join(ctx context.Context, c *Conn, name string) error {
	to, err := g.check(name)
	if err != nil {
		return err
	}
	if err := g.begin(ctx); err != nil {
		return err
	}
	defer g.end()
	if err := g.listen(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	from, was := g.in[c]
	if was && from == to {
		g.mu.Unlock()
		return nil
	}
	g.forget(c)
	switch {
	case !c.isOpen(): // whose Disconnect may have been
		err = ErrClosed
	case g.groups[to.key] == nil && len(g.groups) >= g.cfg.MaxGroups:
		err = Errorf(CodeTooMany, "there are %d groups; no more are taken", g.cfg.MaxGroups)
	default:
		g.remember(c, to)
	}
	g.mu.Unlock()
	if was {
		g.strike(ctx, from, c)
	}
	if err != nil {
		return err
	}
	if err := g.note(ctx, to.key, c.name()); err != nil {
		g.mu.Lock()
		g.forget(c)
		g.mu.Unlock()
		return err
	}
	return nil
}

// Leave takes a connection out of its group, if it is in one.
func (g *Groups) Leave(ctx context.Context, c *Conn) error {
	g.mu.Lock()
	from, was := g.forget(c)
	g.mu.Unlock()
	if !was {
		return nil
	}
	if err := g.begin(ctx); err != nil {
		return err // nobody renews it: it ends with the lease
	}
	defer g.end()
	g.strike(ctx, from, c)
	return nil
}

// Group returns the group that a connection is in. Empty: none.
func (g *Groups) Group(c *Conn) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.in[c].name
}

// Members returns who is in a group, in all processes, sorted: for each a string of
// its own. For a lease after a process has died, those of it are still there.
func (g *Groups) Members(ctx context.Context, name string) ([]string, error) {
	of, err := g.check(name)
	if err != nil {
		return nil, err
	}
	processes, err := g.object.Get(ctx, of.key)
	if err != nil {
		return nil, err
	}
	var members []string
	for _, process := range processes {
		here, err := g.object.Get(ctx, of.key+":"+process)
		if err != nil {
			return nil, err
		}
		if len(here) == 0 && process != g.id { // it has left, or died
			if _, err := g.object.Remove(ctx, of.key, process); err != nil {
				return nil, err
			}
		}
		members = append(members, here...)
	}
	slices.Sort(members)
	return members, nil
}

// Broadcast sends data to all members of a group, in all processes, as [Conn.Send]
// does. It returns when Redis has it.
func (g *Groups) Broadcast(ctx context.Context, name string, data []byte) error {
	to, err := g.check(name)
	if err != nil {
		return err
	}
	return g.broadcast(ctx, to.key, "", data)
}

// check refuses what can't be the name of a group.
func (g *Groups) check(name string) (group, error) {
	switch {
	case name == "":
		return group{}, Errorf(CodeBadName, "a group without a name")
	case len(name) > g.cfg.MaxName:
		return group{}, Errorf(CodeBadName, "a group's name of %d bytes; %d are allowed", len(name), g.cfg.MaxName)
	}
	key := url.QueryEscape(name)
	if len(key) > 100 { // keys have a limit, and a hash will do; no escaped name has a slash
		key = fmt.Sprintf("/%x", sha256.Sum256([]byte(name)))
	}
	return group{name, key}, nil
}

// remember has a connection be in a group, here. The lock is held.
func (g *Groups) remember(c *Conn, to group) {
	if g.groups[to.key] == nil {
		g.groups[to.key] = make(map[*Conn]struct{})
	}
	g.groups[to.key][c] = struct{}{}
	g.in[c] = to
}

// forget is its opposite. The lock is held.
func (g *Groups) forget(c *Conn) (from group, was bool) {
	if from, was = g.in[c]; !was {
		return from, false
	}
	delete(g.in, c)
	delete(g.groups[from.key], c)
	if len(g.groups[from.key]) == 0 {
		delete(g.groups, from.key)
	}
	return from, true
}

// here returns the members of a group in this process.
func (g *Groups) here(key string) []*Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	conns := make([]*Conn, 0, len(g.groups[key]))
	for c := range g.groups[key] {
		conns = append(conns, c)
	}
	return conns
}

// name is unique among the connections of all processes.
func (c *Conn) name() string { return c.h.id + "." + c.ID() }
