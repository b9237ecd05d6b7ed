package fws

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// GroupsConfig configures [NewGroups]. The zero value is ready to use.
type GroupsConfig struct {
	// Name is the name of this set of groups. Groups of the same Name on the same
	// Redis are the same groups. Defaults to "groups".
	Name string

	// Local keeps the groups within this process. Redis is not used, and the pool may
	// be nil.
	Local bool

	// Tokens lets clients choose their group: a message that contains token:x joins
	// the group x. Anyone who knows or guesses a token can join. Without Tokens only
	// [Groups.Join] does.
	Tokens bool

	// HostOnly ignores what clients send: only [Groups.Broadcast] sends to a group. It
	// is for groups beside a protocol with commands, and excludes Tokens.
	HostOnly bool

	// PubSub carries broadcasts between processes. Defaults to a client of the groups'
	// own, which ends with them.
	PubSub *pubsub.Client

	// Lease is how long members stay in Redis after their process has died. It is
	// renewed three times as often. Defaults to 15 seconds; the minimum is 100 ms.
	Lease time.Duration

	// PerConn is the number of groups that a connection may be in. With 1 it leaves its
	// group when it joins another; with more, a join beyond it is refused, and what the
	// client sends goes to the group that it has joined last. Defaults to 1.
	PerConn int

	// MaxGroups limits the groups that have members in this process. Defaults to
	// 10,000.
	MaxGroups int

	// MaxName limits the length of a group's name, in bytes. Defaults to 255.
	MaxName int
}

func (cfg GroupsConfig) complete(pool *storage.Pool) (GroupsConfig, error) {
	cfg.Name = cmp.Or(cfg.Name, "groups")
	cfg.Lease = cmp.Or(cfg.Lease, 15*time.Second)
	switch err := redisio.CheckName(cfg.Name); {
	case pool == nil && !cfg.Local:
		return cfg, errors.New("nil pool, which only GroupsConfig.Local allows")
	case err != nil:
		return cfg, fmt.Errorf("GroupsConfig.Name: %w", err)
	case cfg.PubSub != nil && cfg.Local:
		return cfg, errors.New("GroupsConfig.PubSub, Local: they exclude each other")
	case cfg.HostOnly && cfg.Tokens:
		return cfg, errors.New("GroupsConfig.HostOnly, Tokens: they exclude each other")
	case cfg.Lease < 100*time.Millisecond:
		return cfg, fmt.Errorf("GroupsConfig.Lease: %v is less than 100ms", cfg.Lease)
	case cfg.PerConn < 0:
		return cfg, fmt.Errorf("GroupsConfig.PerConn: %d is negative", cfg.PerConn)
	case cfg.MaxGroups < 0:
		return cfg, fmt.Errorf("GroupsConfig.MaxGroups: %d is negative", cfg.MaxGroups)
	case cfg.MaxName < 0:
		return cfg, fmt.Errorf("GroupsConfig.MaxName: %d is negative", cfg.MaxName)
	}
	cfg.PerConn = cmp.Or(cfg.PerConn, 1)
	cfg.MaxGroups = cmp.Or(cfg.MaxGroups, 10_000)
	cfg.MaxName = cmp.Or(cfg.MaxName, 255)
	return cfg, nil
}

// Groups are groups of connections. What a member sends goes to the other members.
//
// Every process receives every broadcast, on one subscription, and drops those for
// groups without members here. So the broadcasts of all groups together are limited
// to what one process can receive.
type Groups struct {
	cfg    GroupsConfig
	log    *slog.Logger
	warned redisio.Throttle
	id     string // of this process among all
	ctx    context.Context
	cancel context.CancelFunc // ends ctx, at Close

	// Nil with GroupsConfig.Local.
	present *storage.Presence[string] // what presence makes of each member
	client  *pubsub.Client
	topic   pubsub.Topic[[]byte]
	disown  func()
	own     bool // the client is closed with the groups

	// turn holds a token. Whoever takes it may use these.
	turn      chan struct{}
	listener  *pubsub.Listener // nil before the first Join
	closed    bool
	listening sync.WaitGroup

	mu      sync.Mutex // never held while Redis is asked
	groups  map[string]map[*gateway.Conn]struct{}
	members map[*gateway.Conn][]member // in the order of their joins
	joined  uint64                     // members so far
}

// member is the membership of one connection in one group.
type member struct {
	id    string // unique among the members of all processes
	group string
}

// presence returns a member as it stands in Redis.
func (m member) presence() string { return m.id + " " + m.group }

// NewGroups returns groups that span all processes with the same Redis. Their
// [Groups.Hooks] belong into [gateway.Config].Hooks. It does not contact Redis.
// [storage.Pool.Close] closes them, if nothing did before.
func NewGroups(pool *storage.Pool, cfg GroupsConfig) (*Groups, error) {
	cfg, err := cfg.complete(pool)
	if err != nil {
		return nil, newGroupsError(err)
	}
	g := &Groups{
		cfg: cfg, log: slog.Default(), id: rand.Text()[:16], turn: make(chan struct{}, 1),
		groups: make(map[string]map[*gateway.Conn]struct{}), members: make(map[*gateway.Conn][]member),
	}
	g.turn <- struct{}{}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	if cfg.Local {
		return g, nil
	}
	if err := g.connect(pool); err != nil {
		return nil, newGroupsError(err)
	}
	return g, nil
}

func newGroupsError(err error) error { return fmt.Errorf("fws: NewGroups: %w", err) }

// connect makes what the groups need of the pool.
func (g *Groups) connect(pool *storage.Pool) (err error) {
	g.log = redisio.Of(pool).Logger()
	g.present, err = storage.NewPresence[string](pool, "fws:"+g.cfg.Name,
		storage.PresenceOptions{Codec: storage.Text, Owner: g.id, Lease: g.cfg.Lease, MaxMembers: math.MaxInt32})
	if err != nil {
		return err
	}
	// Redis pub/sub ignores databases.
	topic, err := pubsub.ParseTopic[[]byte](fmt.Sprintf("fws:%d:%s", redisio.Of(pool).Database(), g.cfg.Name))
	if err != nil {
		return err
	}
	g.topic = topic.WithCodec(storage.Raw)
	if g.client = g.cfg.PubSub; g.client == nil {
		g.own = true
		if g.client, err = pubsub.NewClient(pool, pubsub.Config{}); err != nil {
			return err
		}
	}
	g.disown, err = redisio.Of(pool).Own(g.Close)
	return err
}

// Join puts a connection into a group, and takes it out of the one that it was in unless
// GroupsConfig.PerConn allows more. After an error it may be in none: see
// [Groups.GroupsOf]. A connection whose Disconnect hook has run is refused with
// [gateway.ErrClosed].
func (g *Groups) Join(ctx context.Context, c *gateway.Conn, group string) error {
	if err := g.check(group); err != nil {
		return err
	}
	if err := g.ready(ctx); err != nil {
		return err
	}
	end, err := g.beginConn(ctx, c)
	if err != nil {
		return err
	}
	defer end()
	g.mu.Lock()
	if i := g.indexLocked(c, group); i >= 0 { // it becomes the last
		m := g.members[c][i]
		g.members[c] = append(slices.Delete(g.members[c], i, i+1), m)
		g.mu.Unlock()
		return nil
	}
	var from []member
	if g.cfg.PerConn == 1 {
		from = g.forgetLocked(c)
	}
	to, err := g.rememberLocked(c, group)
	g.mu.Unlock()
	g.withdraw(ctx, from)
	if err != nil || g.cfg.Local {
		return err
	}
	_, err = g.present.Add(ctx, to.presence())
	g.mu.Lock()
	left := !slices.Contains(g.members[c], to)
	if err != nil && !left {
		g.forgetLocked(c, group)
	}
	g.mu.Unlock()
	switch {
	case g.ctx.Err() != nil:
		return gateway.ErrClosed
	case err == nil && left: // by a Leave that did not wait for its turn
		g.withdraw(ctx, []member{to})
	}
	return err
}

// Leave takes a connection out of groups, as far as it is in them; without any given, out
// of all that it is in.
func (g *Groups) Leave(ctx context.Context, c *gateway.Conn, groups ...string) error {
	g.mu.Lock()
	from := g.forgetLocked(c, groups...)
	g.mu.Unlock()
	if len(from) == 0 {
		return nil
	}
	end, err := g.beginConn(ctx, c)
	if err != nil {
		g.withdraw(ctx, from) // ctx has ended: the next renewal of the lease removes it
		return err
	}
	defer end()
	g.withdraw(ctx, from)
	return nil
}

// GroupsOf returns the groups that a connection is in, the one that it has joined last at
// the end.
func (g *Groups) GroupsOf(c *gateway.Conn) (groups []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members[c] {
		groups = append(groups, m.group)
	}
	return groups
}

// Members returns the members of a group in all processes, sorted: for each
// membership a string of its own. Those of a process that has died are among them
// until its lease ends. Members reads the members of all groups: its cost grows with
// their number.
func (g *Groups) Members(ctx context.Context, group string) ([]string, error) {
	if err := g.check(group); err != nil {
		return nil, err
	}
	var members []string
	if g.cfg.Local {
		g.mu.Lock()
		defer g.mu.Unlock()
		for c := range g.groups[group] {
			members = append(members, g.members[c][g.indexLocked(c, group)].id)
		}
		slices.Sort(members)
		return members, nil
	}
	for p, err := range g.present.All(ctx) {
		if err != nil {
			return nil, err
		}
		if id, in, _ := strings.Cut(p.Member, " "); in == group {
			members = append(members, id)
		}
	}
	slices.Sort(members)
	return slices.Compact(members), nil // a scan may yield a member twice
}

// Close takes all members of this process out of their groups: at once, or with an
// error when their lease ends. Closing the pool does it too.
func (g *Groups) Close() error {
	<-g.turn
	if g.closed {
		g.end()
		return nil
	}
	g.closed = true
	g.cancel()
	listener := g.listener
	g.end()
	g.mu.Lock()
	clear(g.groups)
	clear(g.members)
	g.mu.Unlock()
	if g.cfg.Local {
		return nil
	}
	g.listening.Wait()
	if listener != nil {
		_ = listener.Close()
	}
	if g.own {
		_ = g.client.Close()
	}
	err := g.present.Close()
	g.disown()
	return err
}

// check refuses what can't be the name of a group.
func (g *Groups) check(name string) error {
	switch {
	case name == "":
		return gateway.Errorf(gateway.CodeBadName, "a group without a name")
	case len(name) > g.cfg.MaxName:
		return gateway.Errorf(gateway.CodeBadName, "a group's name of %d bytes; %d are allowed", len(name), g.cfg.MaxName)
	}
	return nil
}

// ready returns once this process receives broadcasts.
func (g *Groups) ready(ctx context.Context) error {
	if err := g.begin(ctx); err != nil {
		return err
	}
	defer g.end()
	return g.listen(ctx)
}

// begin takes the turn.
func (g *Groups) begin(ctx context.Context) error {
	select {
	case <-g.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	if g.closed {
		g.end()
		return gateway.ErrClosed
	}
	return nil
}

func (g *Groups) end() { g.turn <- struct{}{} }
