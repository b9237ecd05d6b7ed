package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// Config configures a [Handler]. The zero value is ready to use, and allows nothing.
type Config struct {
	// Channels are the channels that may be followed, and how each kind behaves. The
	// first one whose Pattern matches a name applies.
	Channels []Channel

	// Keys are globs of the hashes that may be read.
	//
	// The names that begin with kw:, bus:, pubsub:, gateway:, fws: or jobs: are those of
	// this module's own keys and channels. Only a pattern that begins so too allows them,
	// such as kw:{stage}:v:*, not *.
	Keys []string

	// Follow are channels that the handler itself follows from New until Close, so that
	// Hooks.Publication sees all their messages, whether or not a client follows them.
	// While Redis is unreachable it tries again.
	Follow []string

	// Remote is a name. A [Remote] of that name, in any process, may disconnect,
	// subscribe, unsubscribe and send to the clients of a principal of this handler. The
	// handler follows its commands from New until Close. Defaults to none.
	Remote string

	// Allow decides on names that a pattern of Channels or Keys allows. With neither
	// Channels nor Keys it decides alone on all names, except those of this module's
	// own keys and channels. Without Allow the patterns decide. It is called before
	// Redis is asked and should be quick.
	Allow func(ctx context.Context, c *Conn, op Op, name string) bool

	// ChannelPrefix and KeyPrefix come between the pool's prefix and the names that
	// clients use.
	ChannelPrefix, KeyPrefix string

	// Authenticate returns who sends a request, before the upgrade or the event stream. An error is
	// answered with status 401, or 403 if it is ErrForbidden. So is a principal that
	// has expired. Without Authenticate every client is the zero Principal.
	Authenticate func(r *http.Request) (Principal, error)

	// Refresh returns the principal of a client that sends the command AUTH. After an
	// error the client keeps its principal. Without Refresh there is no such command.
	Refresh func(ctx context.Context, c *Conn, credentials string) (Principal, error)

	// Origins are the pages that may connect, in the form https://example.org, with a
	// port if it isn't the scheme's. In https://*.example.org the star is any one
	// label. Defaults to pages of the host that the request is for. A request without
	// an Origin header doesn't come from a page of another site and is accepted.
	Origins []string

	// InsecureAnyOrigin accepts pages of every site: each can act with the cookies of
	// its visitors.
	InsecureAnyOrigin bool

	// Address returns the address that Limits.PerAddress counts a request for. Behind a
	// proxy it must read the header that the proxy sets. Defaults to the host of
	// r.RemoteAddr; of an IPv6 address to its first 64 bits, since a client usually has
	// all addresses of such a network.
	Address func(r *http.Request) string

	// Protocols are the protocols that clients can choose by WebSocket subprotocol. The
	// first one is used for clients that choose none. They are compared by ==: clients of
	// the same protocol share what is compiled. Defaults to Text and JSON.
	Protocols []Protocol

	// Commands are added to the built-in ones. A command replaces the built-in one of
	// the same name; one whose Run is nil removes it.
	Commands map[string]Command

	// Hooks are called in this order.
	Hooks []Hooks

	// ClientPublish adds the command PUB, by which clients publish to channels that a
	// pattern or Allow permits.
	ClientPublish bool

	// NoErrors sends no errors to clients of the text protocol, as redis_websocket_api.
	NoErrors bool

	// Compression accepts permessage-deflate from clients that offer it, without context
	// takeover. A message is compressed once for all clients that get it.
	Compression bool

	// PubSub subscribes and publishes. It must be of the same Redis, and may have another
	// prefix. Defaults to a client of the handler's own.
	PubSub *pubsub.Client

	// Source is where publications come from. It excludes PubSub, which is the default.
	Source Source

	Limits Limits
}

// Limits bound what clients can cost. Each limit applies to one connection unless its
// comment says otherwise.
type Limits struct {
	// Connections is the maximum number of connections of the handler. Further requests
	// get status 503. Defaults to 65,536.
	Connections int
	// PerAddress is the maximum number of connections from one Config.Address. Further
	// requests get status 429. Defaults to no limit.
	PerAddress int
	// AcceptRate is the maximum number of new connections of the handler per second.
	// Further requests get status 503. Defaults to no limit.
	AcceptRate float64
	// AcceptBurst is how many connections AcceptRate allows at once. Defaults to 100.
	AcceptBurst int

	// Message is the maximum size of a message from a client in bytes, after joining its
	// frames and inflating. A longer one closes the connection with 1009. Defaults to
	// 64 KiB.
	Message int
	// Args is the maximum number of arguments and options of a command. Defaults to 16.
	Args int
	// Name is the maximum length of a channel or key in bytes. Defaults to 255.
	Name int
	// Channels is the maximum number of channels followed. Defaults to 128.
	Channels int
	// Running is the maximum number of concurrent commands of a connection that run. Another
	// is refused. Defaults to 64.
	Running int

	// Commands is the cost of commands allowed per second. A message, a ping and most
	// commands cost 1, and 1 more for each 4 KiB of the message. What is read for a client
	// costs 1 for each 100 values, entries or missed messages, and 1 for each 16 KiB. A
	// command above it gets the error too_fast. Defaults to 50.
	Commands float64
	// CommandBurst is the cost allowed at once. Defaults to 200.
	CommandBurst float64
	// CommandExcess is how long a client may exceed the command rate before it is
	// closed with 4029. The period restarts after a pause of that length, or once half
	// the burst is available. Defaults to 10 seconds.
	CommandExcess time.Duration

	// Fields is the maximum number of fields of a hash that is read. Defaults to 10,000.
	Fields int
	// Bytes is the maximum size of the values of a hash that is read. Defaults to 1 MiB.
	Bytes int

	// QueueBytes is the maximum size of answers, statuses and what Conn.Send sends that
	// wait for a client, counting 64 bytes more for each. A client that exceeds it is
	// closed with 4008; answers to commands wait while half of it is taken. Defaults to
	// 1 MiB.
	QueueBytes int
	// QueueMessages is the maximum number of what Conn.Send has sent and waits for a
	// client. Answers wait while they are half of it. Defaults to 1,024.
	QueueMessages int
	// LogBytes is the maximum size of the messages of one channel that are kept for its
	// followers, all together, counting 256 bytes more for each. Messages that all
	// followers have been sent are not kept, unless by Channel.History or Rewind. To a
	// follower that has not been sent a message that must go, Channel.Slow applies.
	// Defaults to 4 MiB.
	LogBytes int
	// LogMessages is the maximum number of these messages. If they come faster than they
	// can be handed out to the followers, they are dropped, and all followers are told of
	// a gap. Defaults to 4,096.
	LogMessages int

	// SnapshotAge is how old the read of a hash may be that SUB snapshot=1 answers with,
	// if the log has all messages since. It spares Redis a read for each of many clients
	// that come at once. Negative: each SUB waits for a read of its own. Defaults to 1
	// second.
	SnapshotAge time.Duration
	// Handshake is the maximum time for writing the answer to the upgrade. Defaults to
	// 10 seconds.
	Handshake time.Duration
	// Command is the maximum time that a command or a hook with a context takes.
	// Defaults to 5 seconds.
	Command time.Duration
	// Write is how long a write may make no progress before the connection is dropped.
	// Defaults to 5 seconds.
	Write time.Duration
	// Ping is the time between pings, varied by a fifth; to event streams a comment is
	// sent. Negative: none. Defaults to 25 seconds.
	Ping time.Duration
	// Pong is how long a client may send nothing after a ping before the connection is
	// dropped. Defaults to 10 seconds.
	Pong time.Duration
	// Idle is how long a client may send no message before it is closed with 4000. It does
	// not apply to event streams. Defaults to no limit.
	Idle time.Duration
	// Lifetime is how long a connection may last before it is closed with 4002.
	// Defaults to no limit.
	Lifetime time.Duration
}

func (l Limits) complete() (Limits, error) {
	for _, f := range []struct {
		name string
		n    *int
		zero int
	}{
		{"Connections", &l.Connections, 65_536}, {"PerAddress", &l.PerAddress, 0}, {"AcceptBurst", &l.AcceptBurst, 100},
		{"Message", &l.Message, 64 << 10}, {"Args", &l.Args, 16}, {"Name", &l.Name, 255}, {"Channels", &l.Channels, 128},
		{"Running", &l.Running, 64},
		{"Fields", &l.Fields, 10_000}, {"Bytes", &l.Bytes, 1 << 20},
		{"QueueBytes", &l.QueueBytes, 1 << 20}, {"QueueMessages", &l.QueueMessages, 1024},
		{"LogBytes", &l.LogBytes, 4 << 20}, {"LogMessages", &l.LogMessages, 4096},
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
		{"SnapshotAge", &l.SnapshotAge, time.Second},
		{"Pong", &l.Pong, 10 * time.Second}, {"Idle", &l.Idle, 0}, {"Lifetime", &l.Lifetime, 0},
	} {
		if *f.d < 0 && f.d != &l.Ping && f.d != &l.SnapshotAge {
			return l, fmt.Errorf("Config.Limits.%s: %v is negative", f.name, *f.d)
		}
		*f.d = cmp.Or(*f.d, f.zero)
	}
	return l, nil
}

// complete checks cfg and sets defaults.
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
		if n := cfg.Limits.LogMessages; ch.Rewind > n {
			return cfg, fmt.Errorf("Config.Channels[%d]: Channel.Rewind: %d is more than Limits.LogMessages, %d", i, ch.Rewind, n)
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
	for i, name := range cfg.Follow {
		if _, err := pubsub.ParseTopic[[]byte](cfg.ChannelPrefix + name); err != nil || name == "" {
			return cfg, fmt.Errorf("Config.Follow[%d]: %q is not the name of a channel", i, name)
		}
	}
	if cfg.Remote != "" {
		if _, _, err := remoteNames(pool, cfg.Remote); err != nil {
			return cfg, fmt.Errorf("Config.Remote: %w", err)
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
		case !reflect.ValueOf(p).Comparable():
			return cfg, fmt.Errorf("Config.Protocols[%d]: a %T can't be compared by ==; use a pointer to it", i, p)
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

// prefix returns what comes before the names that op is asked for.
func (cfg Config) prefix(op Op) string {
	if op == OpGet {
		return cfg.KeyPrefix
	}
	return cfg.ChannelPrefix
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
		if ch.Joins != "" {
			return fmt.Errorf("Config.Channels[%d].Joins, Config.Source: they exclude each other", i)
		}
		if ch.History != nil && !recalls {
			return fmt.Errorf("Config.Channels[%d].History: Config.Source, a %T, is not a Recaller", i, cfg.Source)
		}
	}
	return nil
}

// notWord reports whether r is not allowed in the name of a command.
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
