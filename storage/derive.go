package storage

import (
	"fmt"
	"reflect"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/heliograph/heliograph/internal/redisio"
)

// tuning is the changes of options with which a client is derived from another.
type tuning struct {
	once        bool          // no retries
	conns       int           // connections used at a time (to each server of a cluster); 0: as configured
	readTimeout time.Duration // 0: as configured
	buffers     int           // bytes to read and to write at once; 0: as configured
	primaries   bool          // no reads from replicas, which may lag behind
}

// spareConns is how many connections a client may have beside those that are used at a time.
// To go-redis a connection is in use while it is dialled, also after the caller has given up;
// without a spare one the next caller waits for it, with a timer that all clients of the
// process share and that must not leave its bubble of package synctest.
const spareConns = 8

// origin makes the client that the host sees, and clients derived from it, which share
// no connection with it.
type origin struct {
	base   func() redis.UniversalClient
	derive func(tuning) redis.UniversalClient

	// db is the number of the database.
	db int

	// single returns the options of the client if it uses one fixed server, and nil on a
	// cluster or with Sentinel.
	single func() *redis.Options
}

// configured is the origin of Open.
func configured(cfg Config) origin {
	return origin{
		db: cfg.Redis.DB,
		base: func() redis.UniversalClient {
			opts := cfg.Redis
			return redis.NewUniversalClient(&opts)
		},
		derive: func(t tuning) redis.UniversalClient {
			opts := cfg.Redis
			opts.ClientSideCache, opts.ClientSideCacheConfig = nil, nil
			t.apply(&opts)
			return redis.NewUniversalClient(&opts)
		},
		single: func() *redis.Options {
			opts := cfg.Redis
			if opts.MasterName != "" || opts.IsClusterMode || len(opts.Addrs) > 1 {
				return nil
			}
			tuning{}.apply(&opts)
			return opts.Simple()
		},
	}
}

// hosted is the origin of New.
func hosted(client redis.UniversalClient) (origin, error) {
	o := origin{
		base:   func() redis.UniversalClient { return client },
		single: func() *redis.Options { return nil },
	}
	switch c := client.(type) {
	case *redis.Client:
		if c != nil {
			o.db = c.Options().DB
			o.derive = func(t tuning) redis.UniversalClient {
				opts := *c.Options()
				opts.ClientSideCache, opts.ClientSideCacheConfig = nil, nil
				opts.PushNotificationProcessor = nil // it belongs to the host's client
				restoreNone(&opts, &opts.MaxRetries)
				t.apply(&opts)
				return redis.NewClient(&opts)
			}
			o.single = func() *redis.Options {
				opts := *c.Options()
				if opts.Addr == sentinelAddr {
					return nil
				}
				opts.PushNotificationProcessor = nil
				restoreNone(&opts, &opts.MaxRetries)
				tuning{}.apply(&opts)
				return &opts
			}
			return o, nil
		}
	case *redis.ClusterClient:
		if c != nil {
			o.derive = func(t tuning) redis.UniversalClient {
				opts := *c.Options()
				restoreNone(&opts, &opts.MaxRedirects)
				t.apply(&opts)
				return redis.NewClusterClient(&opts)
			}
			return o, nil
		}
	}
	return o, fmt.Errorf("storage: New: %s: want a *redis.Client or *redis.ClusterClient", typeName(client))
}

// sentinelAddr is the address in the options of a [*redis.Client] that uses Sentinel.
const sentinelAddr = "FailoverClient"

func typeName(client redis.UniversalClient) string {
	if v := reflect.ValueOf(client); v.IsValid() && v.Kind() == reflect.Pointer && v.IsNil() {
		return "nil " + v.Type().String()
	}
	return fmt.Sprintf("%T", client)
}

// restoreNone prepares options that go-redis has completed for another completion: -1,
// which means none, has become 0, which would mean the default.
func restoreNone(opts any, retries *int) {
	if *retries == 0 {
		*retries = -1
	}
	fields := reflect.ValueOf(opts).Elem()
	for _, name := range []string{"ReadTimeout", "WriteTimeout", "MinRetryBackoff", "MaxRetryBackoff"} {
		if f := fields.FieldByName(name); f.IsZero() {
			f.SetInt(-1)
		}
	}
}

// apply writes the tuning into a *redis.Options, *redis.ClusterOptions or
// *redis.UniversalOptions, whose fields have the same names.
func (t tuning) apply(opts any) {
	fields := reflect.ValueOf(opts).Elem()
	set := func(name string, v any) { fields.FieldByName(name).Set(reflect.ValueOf(v)) }
	switch o := opts.(type) {
	case *redis.Options:
		redisio.MarkHandshakes(&o.OnConnect, &o.CredentialsProviderContext, &o.StreamingCredentialsProvider)
	case *redis.ClusterOptions:
		redisio.MarkHandshakes(&o.OnConnect, &o.CredentialsProviderContext, &o.StreamingCredentialsProvider)
	case *redis.UniversalOptions:
		redisio.MarkHandshakes(&o.OnConnect, &o.CredentialsProviderContext, &o.StreamingCredentialsProvider)
	}
	set("ContextTimeoutEnabled", true)
	set("DialerRetries", 1)
	set("MinIdleConns", 0) // a derived client dials when it is used
	// Redis announces maintenance only as a service of its vendor. Where it does not, each
	// client, and on a cluster that of each server, would keep a goroutine for it until
	// its first connection.
	if f := fields.FieldByName("MaintNotificationsConfig"); f.IsValid() {
		if cfg := f.Interface().(*maintnotifications.Config); cfg == nil || cfg.Mode != maintnotifications.ModeEnabled {
			f.Set(reflect.ValueOf(&maintnotifications.Config{Mode: maintnotifications.ModeDisabled}))
		}
	}
	if t.once {
		set("MaxRetries", -1)
	}
	if t.primaries {
		for _, name := range []string{"ReadOnly", "RouteByLatency", "RouteRandomly"} {
			if f := fields.FieldByName(name); f.IsValid() {
				f.SetBool(false)
			}
		}
	}
	if t.conns > 0 {
		set("PoolSize", t.conns+spareConns)
		set("MaxIdleConns", 0)
		set("MaxActiveConns", 0)
		set("MaxConcurrentDials", t.conns+spareConns)
		set("PipelinePoolSize", -1)
	}
	if t.readTimeout > 0 {
		set("ReadTimeout", t.readTimeout)
	}
	if t.buffers > 0 {
		set("ReadBufferSize", t.buffers)
		set("WriteBufferSize", t.buffers)
	}
}
