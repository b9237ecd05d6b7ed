package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/pubsub"
)

// Options are the flags. The keys of the configuration file are the names of flags.
type Options struct {
	// Site is where the gateway registers as a worker that answers [Stats]. Parse sets
	// the default site if it is empty; if it is empty at Serve, no worker is registered.
	Site string

	// Prefix is the prefix of all keys and channels in Redis, which clients don't see. A
	// pool given to Serve has its own.
	Prefix string

	// ShutdownTimeout is how long closing all connections may take. Parse sets 5 seconds if it
	// is 0.
	ShutdownTimeout time.Duration

	host                   string
	port                   int
	key, cert              string
	filters                list
	channels, origins      list
	storage, redis         string
	redisHost              string
	redisPort              int
	redisChannels          list
	redisKey               string
	geoID                  string
	strictAxes             bool
	readTimeout, keepAlive seconds
	config                 string
	memory                 bool // Redis is inside the process
}

func (o *Options) flags() *flag.FlagSet {
	o.Site = cmp.Or(o.Site, bus.DefaultSite)
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, 5*time.Second)
	fs := flag.NewFlagSet("gateway", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	both := func(short, long string, set func(name, usage string), usage string) {
		set(long, usage)
		set(short, "the same as -"+long)
	}
	fs.StringVar(&o.host, "host", "localhost", "`name` or address to listen at; 0.0.0.0 for everybody")
	both("p", "port", func(name, usage string) { fs.IntVar(&o.port, name, 8765, usage) }, "`port` to listen at; 0: any that is free")
	both("c", "config", func(name, usage string) { fs.StringVar(&o.config, name, "", usage) }, "JSON `file` of an object whose keys are the names of flags; flags win")
	both("f", "filters", func(name, usage string) { fs.Var(&o.filters, name, usage) }, "comma-separated `list` of "+strings.Join(filterNames, ", "))
	fs.StringVar(&o.key, "key", "", "`file` of the key, for TLS")
	fs.StringVar(&o.cert, "cert", "", "`file` of the certificate, for TLS")
	fs.StringVar(&o.storage, "storage", "", "`redis|memory`: memory is a Redis inside the process, with a demo feed (default redis if one is named, else memory)")
	fs.StringVar(&o.redis, "redis", "", "`URL` of the Redis; $REDIS_URL if that is set")
	fs.StringVar(&o.redisHost, "redis_host", "", "`host` of the Redis, in place of a URL")
	fs.IntVar(&o.redisPort, "redis_port", 6379, "its `port`; without -redis_host, on this machine")
	fs.Var(&o.redisChannels, "redis_channels", "`list` of the channels that broadcast_pubsub and stdout_pubsub follow (default global)")
	fs.StringVar(&o.redisKey, "redis_key", "fws", "`name` under which broadcast_messages_by_token keeps its groups")
	fs.Var(&o.channels, "channels", "`list` of globs of the channels, and the hashes of the same names, that clients may read (default * with a Redis inside the process, else none)")
	fs.StringVar(&o.geoID, "geo_id", "", "`property` by which features without an id are known, to BBOX with exit=1")
	fs.BoolVar(&o.strictAxes, "strict_axes", false, "send coordinates in the order that the authority of each EPSG code says; else x is east and y is north")
	fs.StringVar(&o.Prefix, "prefix", o.Prefix, "`prefix` of all keys and channels in Redis, which clients don't see")
	fs.Var(&o.origins, "origins", "`list` of origins whose pages may connect, as https://example.org; *: any (default those of the gateway's own host)")
	fs.Var(&o.readTimeout, "read_timeout", "longest silence of a client, in `seconds` or as 1m30s; 0: any")
	fs.Var(&o.keepAlive, "keep_alive_timeout", "longest life of a connection, in `seconds` or as 1m30s; 0: any")
	fs.Var((*seconds)(&o.ShutdownTimeout), "shutdown_timeout", "how long closing all connections may take, in `seconds` or as 1m30s")
	fs.StringVar(&o.Site, "site", o.Site, "`name` of the site at whose workers this gateway registers, to tell its statistics; empty: it does not")
	return fs
}

// Parse reads the arguments, and the configuration file if they name one. Its error is
// [flag.ErrHelp] if they ask for help.
func (o *Options) Parse(args []string) error {
	fs := o.flags()
	if err := fs.Parse(joined(fs, args)); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%q is not a flag", fs.Arg(0))
	}
	if o.config != "" {
		if err := readFile(fs, o.config); err != nil {
			return err
		}
	}
	if err := o.storageModule(); err != nil {
		return err
	}
	fs.Visit(func(f *flag.Flag) {
		if f.Name == "redis_port" {
			o.redisHost = cmp.Or(o.redisHost, "localhost")
		}
	})
	return o.check()
}

// storageModule sets -storage by the variable by which fws_server chooses its storage, in
// Python's form: filtered_websocket.storage_objects.redis.
func (o *Options) storageModule() error {
	module := os.Getenv("STORAGE_OBJECT_MODULE")
	switch name := module[strings.LastIndexByte(module, '.')+1:]; {
	case module == "" || o.NamesRedis() || o.storage != "":
	case name == "redis":
		o.storage = "redis"
	case name == "default":
		o.storage = "memory"
	default:
		return fmt.Errorf("$STORAGE_OBJECT_MODULE: %q is neither filtered_websocket.storage_objects.redis nor .default", module)
	}
	return nil
}

// Help prints the flags.
func (o Options) Help(w io.Writer) {
	fs := o.flags()
	fs.SetOutput(w)
	fs.PrintDefaults()
}

// joined puts commas between the values of a list, which fws_server takes as separate
// arguments: -f one two.
func joined(fs *flag.FlagSet, args []string) (out []string) {
	for i := 0; i < len(args); i++ {
		out = append(out, args[i])
		f := fs.Lookup(strings.TrimLeft(args[i], "-"))
		if f == nil || !strings.HasPrefix(args[i], "-") {
			continue
		}
		if _, ok := f.Value.(*list); !ok {
			continue
		}
		var values []string
		for i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			i++
			values = append(values, args[i])
		}
		if values != nil {
			out = append(out, strings.Join(values, ","))
		}
	}
	return out
}

// readFile sets the flags that the file names and the arguments do not.
func readFile(fs *flag.FlagSet, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	given := make(map[flag.Value]bool) // two names of a flag have one value
	fs.Visit(func(f *flag.Flag) { given[f.Value] = true })
	var object map[string]any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&object); err != nil {
		return fmt.Errorf("%s: not a JSON object: %w", file, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more follows after the object", file)
	}
	seen := make(map[flag.Value]string)
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if key == "flags" { // as fws_server has it: flags that take no value
			if err := setFlags(fs, object[key]); err != nil {
				return fmt.Errorf("%s: %q: %w", file, key, err)
			}
			continue
		}
		f := fs.Lookup(key)
		if f == nil || f.Name == "c" || f.Name == "config" {
			return fmt.Errorf("%s: unknown key %q", file, key)
		}
		if other, ok := seen[f.Value]; ok {
			return fmt.Errorf("%s: %q and %q are the same", file, other, key)
		}
		seen[f.Value] = key
		word, err := asFlag(object[key])
		if err == nil && !given[f.Value] {
			err = fs.Set(key, word)
		}
		if err != nil {
			return fmt.Errorf("%s: %q: %w", file, key, err)
		}
	}
	return nil
}

// setFlags sets what the list "flags" names: redis is the only flag of fws_server without a
// value.
func setFlags(fs *flag.FlagSet, value any) error {
	names, _ := value.([]any)
	for _, name := range names {
		if name != "redis" {
			return fmt.Errorf("there is no flag %v without a value", name)
		}
		if fs.Lookup("storage").Value.String() == "" {
			_ = fs.Set("storage", "redis") // a string takes any
		}
	}
	return nil
}

// asFlag returns a value of the file in the form of a flag.
func asFlag(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	case []any:
		var words []string
		for _, elem := range v {
			word, ok := elem.(string)
			if !ok {
				return "", errors.New("a list must be of strings")
			}
			words = append(words, word)
		}
		return strings.Join(words, ","), nil
	}
	return "", errors.New("must be a string, a number, true, false or a list of strings")
}

// check refuses options that contradict each other.
func (o *Options) check() error {
	switch {
	case o.port < 0 || o.port > 65535:
		return fmt.Errorf("-port: there is no %d", o.port)
	case (o.key == "") != (o.cert == ""):
		return errors.New("-key, -cert: one needs the other")
	case o.storage != "" && o.storage != "redis" && o.storage != "memory":
		return fmt.Errorf("-storage: %q is neither redis nor memory", o.storage)
	case o.storage == "memory" && (o.redis != "" || o.redisHost != ""):
		return errors.New("-storage memory: and yet a Redis is named")
	case o.redis != "" && o.redisHost != "":
		return errors.New("-redis, -redis_host: one is enough; -redis_port is of the latter")
	case o.redisPort < 1 || o.redisPort > 65535:
		return fmt.Errorf("-redis_port: there is no %d", o.redisPort)
	}
	for _, glob := range o.channels {
		if _, err := path.Match(glob, ""); err != nil {
			return fmt.Errorf("-channels: %q is not a glob", glob)
		}
	}
	for _, name := range o.redisChannels {
		if _, err := pubsub.ParseTopic[[]byte](name); err != nil || strings.HasPrefix(name, "__") {
			return fmt.Errorf("-redis_channels: %.80q is not the name of a channel that can be followed", name)
		}
	}
	if err := o.checkFilters(); err != nil {
		return err
	}
	if len(o.channels) > 0 && o.plain() {
		return errors.New("-channels: with a filter that broadcasts, clients send no commands and can't read them")
	}
	return nil
}

// NamesRedis reports whether the flags name a Redis, or the one inside the process.
func (o *Options) NamesRedis() bool {
	return o.redis != "" || o.redisHost != "" || o.storage == "memory"
}

// complete sets what depends on other options. given says whether there is a pool
// already.
func (o *Options) complete(given bool) {
	if !given && !o.NamesRedis() {
		o.redis = os.Getenv("REDIS_URL")
	}
	if o.redis == "" && (o.redisHost != "" || o.storage == "redis") {
		o.redis = "redis://" + net.JoinHostPort(cmp.Or(o.redisHost, "localhost"), strconv.Itoa(o.redisPort))
	}
	o.memory = !given && o.redis == ""
	if o.redisChannels == nil {
		o.redisChannels = list{"global"}
	}
	if o.channels == nil && o.memory {
		o.channels = list{"*"}
	}
}

// readable returns those of the names that clients may read.
func (o *Options) readable(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !slices.ContainsFunc(o.channels, func(glob string) bool {
			ok, err := path.Match(glob, name)
			return ok && err == nil
		})
	})
}

// list is the value of a flag with several values.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = list{}
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word != "" {
			*l = append(*l, word)
		}
	}
	return nil
}

// seconds is a duration; a number without a unit is in seconds, as in Python.
type seconds time.Duration

func (s *seconds) String() string { return time.Duration(*s).String() }

func (s *seconds) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		text = strconv.FormatFloat(n, 'f', -1, 64) + "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errors.New("not a number of seconds, nor a time like 1m30s")
	}
	*s = seconds(d)
	return nil
}
