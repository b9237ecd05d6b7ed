package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Address names who is to answer a call: a [Group] or, with [Direct], one
// worker.
type Address struct {
	typ string
	id  string // of Direct
}

// Group is any one worker of a type.
func Group(typ string) Address { return Address{typ: typ} }

// Direct is the worker with that id, as [WorkerInfo] has it.
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

// Audience names who are to answer a [Gather]: all living workers that match.
type Audience struct {
	named   bool   // by Broadcast, Multicast or Local: a zero Audience names no workers
	typ     string // "": every type
	glob    bool   // pattern says which
	pattern string // of ids
	local   bool
	labels  map[string]string
}

// Broadcast is every worker of a type or, if typ is empty, of the whole site,
// without the dispatchers of package keywords.
func Broadcast(typ string) Audience { return Audience{named: true, typ: typ} }

// Multicast is every worker whose id, type:host:pid:uid, matches a glob:
// * stands for any run of characters, colons included, and ? for any one.
//
//	bus.Multicast("calc:10.130.*")
func Multicast(glob string) Audience {
	a := Audience{named: true, glob: true, pattern: glob}
	if typ, _, found := strings.Cut(glob, ":"); found && !strings.ContainsAny(typ, "*?") {
		a.typ = typ
	}
	return a
}

// Local is every worker of a type, or of all if typ is empty, on this host.
func Local(typ string) Audience { return Audience{named: true, typ: typ, local: true} }

// WithLabels returns the part of the audience that has these labels, among
// others, in [WorkerConfig].Labels.
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

// filter returns what tells the workers of the audience from others of its
// type.
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

// members returns the living workers of the audience.
func (c *Client) members(ctx context.Context, a Audience) ([]WorkerInfo, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	workers, err := c.workers(ctx, a.typ)
	if err != nil {
		return nil, err
	}
	in := a.filter()
	return slices.DeleteFunc(workers, func(w WorkerInfo) bool { return !in(w) }), nil
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

// checkName checks a part of a key. A colon would let one name pass for two.
func checkName(kind, name string) error {
	if err := redisio.CheckName(name); err != nil {
		return fmt.Errorf("bus: %s: %w", kind, err)
	}
	if strings.Contains(name, ":") {
		return fmt.Errorf("bus: %s: name %q: ':' is not allowed", kind, name)
	}
	return nil
}
