package bus

import (
	"context"
	"encoding/json"
	"os"
	"os/user"
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// The built-in methods, which every worker has. Called with [Direct] or an [Audience]
// they are answered even while all slots of the worker are taken. Called with a
// [Group] they wait in its queue like other calls.
var (
	// Ping does nothing.
	Ping = Method[struct{}, struct{}]{name: "bus.ping", idempotent: true}
	// Info returns what the worker is and which methods it has.
	Info = Method[struct{}, Details]{name: "bus.info", idempotent: true}
	// Stats returns the worker's counters, as [Worker.Stats] does.
	Stats = Method[struct{}, WorkerStats]{name: "bus.stats", idempotent: true}
	// Stop stops the worker as the end of Run's context does. Without
	// [WorkerConfig].AllowStop it is answered with CodeNotAllowed.
	Stop = Method[struct{}, struct{}]{name: "bus.stop", idempotent: true}
	// UpdateSpawner sets the worker's Spawner, which [Info] shows.
	UpdateSpawner = Method[string, struct{}]{name: "bus.update_spawner", idempotent: true}
)

func isBuiltin(name string) bool {
	switch name {
	case Ping.name, Info.name, Stats.name, Stop.name, UpdateSpawner.name:
		return true
	}
	return false
}

// Details is the result of [Info].
type Details struct {
	WorkerInfo
	Description string         `json:"description,omitempty"`
	Methods     []MethodInfo   `json:"methods"` // without the built-in ones
	Uptime      time.Duration  `json:"uptime_ns"`
	User        string         `json:"user"` // name of the account
	Path        string         `json:"path"` // of the executable, or WorkerConfig.Path
	Spawner     string         `json:"spawner,omitempty"`
	Tick        time.Duration  `json:"tick_ns,omitempty"` // WorkerConfig.TickInterval, if there is an OnTick
	Serial      bool           `json:"serial,omitempty"`
	Concurrency int            `json:"concurrency"` // the number of calls that it runs at a time, or Prefetch
	Go          string         `json:"go"`          // version
	Extra       map[string]any `json:"extra,omitempty"`
}

// MethodInfo describes a method in [Details].
type MethodInfo struct {
	Name       string `json:"name"` // "*": all other names, by HandleAny
	Stream     bool   `json:"stream,omitempty"`
	Idempotent bool   `json:"idempotent,omitempty"`
	// Args and Result are the JSON Schemas of the arguments and of the result, or of
	// one item, derived from their Go types. They are nil if a type has no schema.
	Args   json.RawMessage `json:"args,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

func (w *Worker) addBuiltins() {
	builtin(w, Ping, func(context.Context, struct{}) (struct{}, error) { return struct{}{}, nil })
	builtin(w, Info, func(context.Context, struct{}) (Details, error) { return w.details(), nil })
	builtin(w, Stats, func(context.Context, struct{}) (WorkerStats, error) { return w.Stats(), nil })
	builtin(w, Stop, func(context.Context, struct{}) (struct{}, error) {
		if !w.cfg.AllowStop {
			return struct{}{}, &refusal{CodeNotAllowed, "WorkerConfig.AllowStop is not set"}
		}
		signal(w.halted)
		return struct{}{}, nil
	})
	builtin(w, UpdateSpawner, func(_ context.Context, id string) (struct{}, error) {
		w.spawner.Store(&id)
		return struct{}{}, nil
	})
}

func builtin[A, R any](w *Worker, m Method[A, R], h func(context.Context, A) (R, error)) {
	w.register(m.name, &method{builtin: true}, nil, typed(h))
}

func (w *Worker) details() Details {
	d := Details{
		WorkerInfo: w.info, Description: w.cfg.Description, Uptime: w.clock.Now().Sub(w.info.Started),
		User: userName(), Path: w.cfg.Path, Spawner: *w.spawner.Load(),
		Serial: w.cfg.Serial, Concurrency: w.slots.all, Go: runtime.Version(),
	}
	if w.cfg.OnTick != nil {
		d.Tick = w.cfg.TickInterval
	}
	if w.cfg.Extra != nil {
		d.Extra = w.cfg.Extra()
	}
	for _, m := range w.served() {
		d.Methods = append(d.Methods, MethodInfo{
			Name: m.name, Stream: m.stream, Idempotent: m.idempotent, Args: schema(m.args), Result: schema(m.result),
		})
	}
	return d
}

// userName is read once: it may take a request to a directory server.
var userName = sync.OnceValue(func() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
})

var schemas sync.Map // reflect.Type → json.RawMessage

// schema returns the JSON Schema of a type, or nil if it has none.
func schema(t reflect.Type) json.RawMessage {
	if t == nil {
		return nil
	}
	if known, ok := schemas.Load(t); ok {
		return known.(json.RawMessage)
	}
	var text json.RawMessage
	if s, err := jsonschema.ForType(t, &jsonschema.ForOptions{IgnoreInvalidTypes: true}); err == nil {
		if text, err = json.Marshal(s); err != nil {
			text = nil
		}
	}
	schemas.Store(t, text)
	return text
}
