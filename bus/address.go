package bus

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Address says which worker answers a call: one of a [Group] or, with [Direct], a
// particular one.
type Address struct {
	typ string
	id  string // of Direct
}

// Group returns the address of any one worker of a type.
func Group(typ string) Address { return Address{typ: typ} }

// Direct returns the address of the worker with an id, which is [WorkerInfo].ID.
func Direct(id string) Address {
	typ, _, _ := strings.Cut(id, ":")
	return Address{typ: typ, id: id}
}

// String returns "group calc" or "worker calc:host:4711:k3j9x2".
func (a Address) String() string {
	if a.id != "" {
		return "worker " + a.id
	}
	return "group " + a.typ
}

func (a Address) check() error {
	if a == (Address{}) {
		return errors.New("bus: Address without a type: use Group or Direct")
	}
	if a.id == "" {
		return checkName("type", a.typ)
	}
	parts := strings.Split(a.id, ":")
	if len(parts) != 4 {
		return fmt.Errorf("bus: worker id %q: want type:host:pid:uid", a.id)
	}
	for _, part := range parts {
		if err := checkName("worker id", part); err != nil {
			return err
		}
	}
	return nil
}

// Audience says which workers answer a [Gather]: all living ones that match. The zero
// Audience is refused.
type Audience struct {
	named   bool   // by Broadcast, Multicast or Local: a zero Audience names no workers
	typ     string // "": every type
	glob    bool   // pattern says which
	pattern string // of ids
	local   bool
	labels  map[string]string
}

// Broadcast returns the audience of every worker of a type or, if typ is empty, of the whole site,
// without the dispatchers of package keywords.
func Broadcast(typ string) Audience { return Audience{named: true, typ: typ} }

// Multicast returns the audience of every worker whose id, type:host:pid:uid, matches
// a glob: * matches any characters, colons included, and ? any single one.
//
//	bus.Multicast("calc:10.130.*")
func Multicast(glob string) Audience {
	a := Audience{named: true, glob: true, pattern: glob}
	if typ, _, found := strings.Cut(glob, ":"); found && !strings.ContainsAny(typ, "*?") {
		a.typ = typ
	}
	return a
}

// Local returns the audience of every worker on this host of a type or, if typ is
// empty, of all types.
func Local(typ string) Audience { return Audience{named: true, typ: typ, local: true} }

// WithLabels returns the part of the audience whose [WorkerConfig].Labels include
// these.
func (a Audience) WithLabels(labels map[string]string) Audience {
	a.labels = maps.Clone(a.labels)
	if a.labels == nil {
		a.labels = make(map[string]string)
	}
	maps.Copy(a.labels, labels)
	return a
}

// String returns "all calc", "all calc:10.130.*", "all calc here", each with
// its labels.
func (a Audience) String() string {
	s := "all"
	switch {
	case a.pattern != "":
		s += " " + a.pattern
	case a.typ != "":
		s += " " + a.typ
	}
	if a.local {
		s += " here"
	}
	for _, name := range slices.Sorted(maps.Keys(a.labels)) {
		s += " " + name + "=" + a.labels[name]
	}
	return s
}

func (a Audience) check() error {
	if !a.named {
		return errors.New("bus: zero Audience: use Broadcast, Multicast or Local")
	}
	if a.glob && a.pattern == "" {
		return errors.New("bus: Multicast: empty glob")
	}
	if a.typ == "" {
		return nil
	}
	return checkName("type", a.typ)
}

// filter returns a function that reports whether a worker of the audience's type
// belongs to it.
func (a Audience) filter() func(WorkerInfo) bool {
	var glob *regexp.Regexp
	if a.glob {
		text := regexp.QuoteMeta(a.pattern)
		text = strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(text)
		glob = regexp.MustCompile(`\A(?s:` + text + `)\z`)
	}
	here, _ := os.Hostname()
	here = hostName(here)
	return func(w WorkerInfo) bool {
		if glob != nil && !glob.MatchString(w.ID) || a.local && w.Host != here {
			return false
		}
		for name, value := range a.labels {
			if have, ok := w.Labels[name]; !ok || have != value {
				return false
			}
		}
		return true
	}
}

// Destination is an [Address] or an [Audience]: [Send] takes either.
type Destination interface {
	String() string
	check() error
}

// checkDestination refuses what is neither an Address nor an Audience.
func checkDestination(to Destination) error {
	switch to := to.(type) {
	case Address, Audience:
		return nil
	case nil:
		return errors.New("bus: nil Destination")
	default:
		return fmt.Errorf("bus: Destination of type %T: want Address or Audience", to)
	}
}

// checkName checks a name that becomes a part of a key. It refuses colons, which
// separate the parts.
func checkName(kind, name string) error {
	if err := redisio.CheckName(name); err != nil {
		return fmt.Errorf("bus: %s: %w", kind, err)
	}
	if strings.Contains(name, ":") {
		return fmt.Errorf("bus: %s: name %q: ':' is not allowed", kind, name)
	}
	return nil
}
