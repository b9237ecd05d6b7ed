package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// Config configures a Handler. The zero value is ready to use, and allows
// nothing.
type Config struct {
	// Channels are what may be followed, and how. The first whose Pattern matches
	// counts.
	Channels []Channel

	// Keys are globs of the hashes that may be read.
	Keys []string

	// Allow has the last word where a pattern matches; for what has no patterns
	// at all, the only one. Nil: the patterns decide. It runs before Redis is
	// asked and should not take long.
	Allow func(ctx context.Context, c *Conn, op Op, name string) bool

	// ChannelPrefix and KeyPrefix come between the pool's prefix and the names
	// that clients use.
	ChannelPrefix, KeyPrefix string

	// Authenticate says who asks, before the upgrade. An error is answered by 401,
	// or if it is ErrForbidden by 403. Nil: everybody is the zero Principal.
	Authenticate func(r *http.Request) (Principal, error)

	// Refresh says who somebody is after he has sent the command AUTH. An error
	// leaves him who he was. Nil: there is no such command.
	Refresh func(ctx context.Context, c *Conn, credentials string) (Principal, error)

	// Origins are the pages that may connect, as https://example.org, with a port
	// unless it is the scheme's; https://*.example.org is any one label in that
	// place. Nil: those of the host that the request is for. A request without
	// Origin is not from a page of another site and is let in.
	Origins []string

	// InsecureAnyOrigin lets the pages of every site act for their visitors.
	InsecureAnyOrigin bool

	// Address returns whom Limits.PerAddress counts a request for. Nil: the host of
	// r.RemoteAddr, of an IPv6 address the first 64 bits: a client has all the
	// others. Behind a proxy it must read the header that the proxy sets.
	Address func(r *http.Request) string

	// Protocols are what a client may speak, chosen by WebSocket subprotocol. The
	// first is for those who name none. Nil: Text and JSON.
	Protocols []Protocol

	// Commands are added to those of doc.go. One of the same name takes its place;
	// if its Run is nil, there is none.
	Commands map[string]Command

	// Hooks see what happens, the first first.
	Hooks []Hooks

	// ClientPublish has clients publish, by the command PUB, to channels that Allow
	// or a pattern lets them.
	ClientPublish bool

	// NoErrors leaves out the frames of source error of the text protocol, as the
	// original does.
	NoErrors bool

	// Compression accepts permessage-deflate where a client offers it, without
	// context takeover. A frame is compressed once for all who get it.
	Compression bool

	// PubSub is what the handler subscribes and publishes with: of the same Redis, with
	// any prefix. Nil: a client of its own.
	PubSub *pubsub.Client

	// Source is where publications come from. Nil: PubSub.
	Source Source

	Limits Limits
}

// Limits bound what clients may cost. Everything but the names of the zero values
// is per connection unless it says otherwise.
type Limits struct {
	Connections int     // of the handler. 0: 65,536. More: 503
	PerAddress  int     // connections. 0: no limit. More: 429
	AcceptRate  float64 // connections per second. 0: no limit. More: 503
	AcceptBurst int     // at once. 0: 100

	Message  int // bytes of a message from a client, joined and inflated. 0: 64 KiB. Longer: close 1009
	Args     int // of a command, options included. 0: 16
	Name     int // bytes of a channel or key. 0: 255
	Channels int // followed. 0: 128

	Commands      float64       // cost per second; a message, a ping and most commands cost 1. 0: 50
	CommandBurst  float64       // at once. 0: 200. More: an error frame
	CommandExcess time.Duration // of too many, without a pause as long or half a burst that has come back: close 4029. 0: 10 s

	Fields int // of a hash to be read. 0: 10,000
	Bytes  int // of its values. 0: 1 MiB

	QueueBytes    int // that wait for a client, 64 more for each message. 0: 1 MiB. More: Channel.Slow
	QueueMessages int // the same. 0: 1,024. Answers to commands wait while there are half as many, or they take half of the bytes
	Pending       int // publications of a channel that wait to be handed out. 0: 4,096. More: a gap

	Handshake time.Duration // to write the answer to the upgrade. 0: 10 s
	Command   time.Duration // one may take. 0: 5 s
	Write     time.Duration // without progress: dropped. 0: 5 s
	Ping      time.Duration // between pings, give or take a fifth. 0: 25 s. Negative: none
	Pong      time.Duration // of silence after a ping: dropped. 0: 10 s
	Idle      time.Duration // without a message from the client: close 4000. 0: no limit
	Lifetime  time.Duration // of a connection: close 4002. 0: no limit
}

func (l Limits) complete() (Limits, error) {
	for _, f := range []struct {
		name string
		n    *int
		zero int
	}{
		{"Connections", &l.Connections, 65_536}, {"PerAddress", &l.PerAddress, 0}, {"AcceptBurst", &l.AcceptBurst, 100},
		{"Message", &l.Message, 64 << 10}, {"Args", &l.Args, 16}, {"Name", &l.Name, 255}, {"Channels", &l.Channels, 128},
		{"Fields", &l.Fields, 10_000}, {"Bytes", &l.Bytes, 1 << 20},
		{"QueueBytes", &l.QueueBytes, 1 << 20}, {"QueueMessages", &l.QueueMessages, 1024},
		{"Pending", &l.Pending, 4096},
	} {
		if *f.n < 0 {
			return l, fmt.Errorf("Config.Limits.%s: %d is negative", f.name, *f.n)
		}
		*f.n = cmp.Or(*f.n, f.zero)
	}
	for _, f := range []struct {
		name string
		n    *float64
		zero float64
	}{
		{"AcceptRate", &l.AcceptRate, 0}, {"Commands", &l.Commands, 50}, {"CommandBurst", &l.CommandBurst, 200},
	} {
		if !(*f.n >= 0) { // NaN neither
			return l, fmt.Errorf("Config.Limits.%s: %v is negative", f.name, *f.n)
		}
		*f.n = cmp.Or(*f.n, f.zero)
	}
	for _, f := range []struct {
		name string
		d    *time.Duration
		zero time.Duration
	}{
		{"CommandExcess", &l.CommandExcess, 10 * time.Second}, {"Handshake", &l.Handshake, 10 * time.Second},
		{"Command", &l.Command, 5 * time.Second}, {"Write", &l.Write, 5 * time.Second}, {"Ping", &l.Ping, 25 * time.Second},
		{"Pong", &l.Pong, 10 * time.Second}, {"Idle", &l.Idle, 0}, {"Lifetime", &l.Lifetime, 0},
	} {
		if *f.d < 0 && f.d != &l.Ping {
			return l, fmt.Errorf("Config.Limits.%s: %v is negative", f.name, *f.d)
		}
		*f.d = cmp.Or(*f.d, f.zero)
	}
	return l, nil
}

// complete checks cfg and fills in what is zero.
func (cfg Config) complete(pool *storage.Pool) (Config, error) {
	if pool == nil {
		return cfg, errors.New("New: nil pool")
	}
	var err error
	if cfg.Limits, err = cfg.Limits.complete(); err != nil {
		return cfg, err
	}
	channels := make([]Channel, len(cfg.Channels))
	for i, ch := range cfg.Channels {
		if channels[i], err = ch.complete(); err != nil {
			return cfg, fmt.Errorf("Config.Channels[%d]: %w", i, err)
		}
	}
	cfg.Channels = channels
	if cfg.ChannelPrefix != "" {
		if err := redisio.CheckName(cfg.ChannelPrefix); err != nil {
			return cfg, fmt.Errorf("Config.ChannelPrefix: %w", err)
		}
	}
	for i, glob := range cfg.Keys {
		if err := checkGlob(glob); err != nil {
			return cfg, fmt.Errorf("Config.Keys[%d]: %w", i, err)
		}
	}
	for i, origin := range cfg.Origins {
		if err := checkOrigin(origin); err != nil {
			return cfg, fmt.Errorf("Config.Origins[%d]: %w", i, err)
		}
	}
	if cfg.InsecureAnyOrigin && len(cfg.Origins) > 0 {
		return cfg, errors.New("Config.Origins, InsecureAnyOrigin: they exclude each other")
	}
	if len(cfg.Protocols) == 0 {
		cfg.Protocols = []Protocol{Text, JSON}
	}
	seen := make(map[string]bool)
	for i, p := range cfg.Protocols {
		switch {
		case p == nil:
			return cfg, fmt.Errorf("Config.Protocols[%d]: nil", i)
		case i > 0 && p.Name() == "":
			return cfg, fmt.Errorf("Config.Protocols[%d]: only the first may have no name", i)
		case seen[p.Name()]:
			return cfg, fmt.Errorf("Config.Protocols[%d]: %q is the name of another", i, p.Name())
		}
		seen[p.Name()] = true
	}
	for i, hooks := range cfg.Hooks {
		if hooks.Connect == nil && hooks.Raw == nil && hooks.Message == nil && hooks.Publication == nil && hooks.Disconnect == nil {
			return cfg, fmt.Errorf("Config.Hooks[%d]: all of its functions are nil", i)
		}
	}
	return cfg, cfg.checkSource()
}

// checkSource refuses a Source without what the rest of the configuration needs.
func (cfg Config) checkSource() error {
	if cfg.Source == nil {
		return nil
	}
	if cfg.PubSub != nil {
		return errors.New("Config.PubSub, Source: they exclude each other")
	}
	if _, ok := cfg.Source.(Publisher); cfg.ClientPublish && !ok {
		return fmt.Errorf("Config.ClientPublish: Config.Source, a %T, is not a Publisher", cfg.Source)
	}
	_, recalls := cfg.Source.(Recaller)
	for i, ch := range cfg.Channels {
		if ch.History != nil && !recalls {
			return fmt.Errorf("Config.Channels[%d].History: Config.Source, a %T, is not a Recaller", i, cfg.Source)
		}
	}
	return nil
}

// notWord reports whether r can't stand in the name of a command.
func notWord(r rune) bool { return r <= ' ' || r == '=' || r == '"' || r == 0x7f }

// checkOrigin accepts a scheme and a host, and nothing else.
func checkOrigin(origin string) error {
	u, err := url.Parse(strings.Replace(origin, "://*.", "://any.", 1))
	switch {
	case err != nil || u.Host == "" || u.Scheme == "":
		return fmt.Errorf("%q is not like https://example.org", origin)
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return fmt.Errorf("%q has more than a scheme and a host", origin)
	case strings.Contains(u.Host, "*"):
		return fmt.Errorf("%q: * must be the first label", origin)
	}
	return nil
}
