package jobs

import (
	"strconv"
	"strings"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// Priority says which jobs of a queue begin first. It is strict: while there are jobs
// of a higher priority, those of a lower one wait.
type Priority int

// The priorities. The zero value is PriorityNormal.
const (
	PriorityNormal Priority = iota
	PriorityHigh
	PriorityLow
	priorities

	// grouped is the stream of jobs of groups, which are entered into it when they begin.
	grouped = priorities
	streams = grouped + 1
)

// letters are the priorities in keys and ids.
const letters = "nhlg"

func (p Priority) letter() string { return letters[p : p+1] }

// String returns "normal", "high" or "low".
func (p Priority) String() string {
	switch p {
	case PriorityNormal:
		return "normal"
	case PriorityHigh:
		return "high"
	case PriorityLow:
		return "low"
	}
	return "Priority(" + strconv.Itoa(int(p)) + ")"
}

// byRank are the priorities, highest first.
var byRank = [priorities]Priority{PriorityHigh, PriorityNormal, PriorityLow}

// all are the streams of a queue, in the order in which their jobs are listed.
var all = [streams]Priority{PriorityHigh, PriorityNormal, PriorityLow, grouped}

// parsePriority returns the priority that begins text.
func parsePriority(text string) (Priority, bool) {
	if text == "" {
		return 0, false
	}
	i := strings.IndexByte(letters, text[0])
	return Priority(i), i >= 0
}

// group is the name of the consumer group of each stream.
const group = "g"

// returned is the name of the consumer of entries that workers gave back. No worker has
// it: a worker's id has colons.
const returned = "returned"

// queue has the keys of a queue, which are in one slot of a cluster:
//
//	jobs:{site:queue}:ready:<p>     stream  jobs that wait or run, of priority h, n or l; g: jobs of groups that run
//	jobs:{site:queue}:later         zset    <p><id> → when it is due, Redis ms
//	jobs:{site:queue}:dead          zset    <id> → when it died, Redis ms
//	jobs:{site:queue}:jobs          hash    <id> → record of a job in later, dead or grouped
//	jobs:{site:queue}:at            hash    <id> → <p><entry>, of jobs with an id that is not an entry's; w<member> of grouped
//	jobs:{site:queue}:alive         zset    worker's id → end of its lease, Redis ms
//	jobs:{site:queue}:notes         stream  what workers are to know at once
//	jobs:{site:queue}:paused        string  exists while the queue is paused
//	jobs:{site:queue}:schedules     hash    <name> → schedule
//	jobs:{site:queue}:fires         zset    <name> → when a worker looks at the schedule next, Redis ms
//	jobs:{site:queue}:flow:<id>     hash    jobs of a flow: see luaFlow
//	jobs:{site:queue}:unique        hash    <key> → <Redis ms>:<id> of the job that has it
//	jobs:{site:queue}:held          hash    <key> → <p><id> of the job in later that begins when that one has ended
//	jobs:{site:queue}:throttle:<key> string <id> of the job that was submitted last
//	jobs:{site:queue}:grouped       zset    <group>\x01<rank><µs><id>, all 0: jobs of groups that wait
//	jobs:{site:queue}:turns         zset    <group> → its turn: groups that wait and may begin a job
//	jobs:{site:queue}:slow          zset    <group> → when its rate permits a job, Redis ms
//	jobs:{site:queue}:active        hash    <group> → jobs that run
//	jobs:{site:queue}:ingroup       hash    <id> → <group>
//	jobs:{site:queue}:stopped       set     <group> that is paused
//	jobs:{site:queue}:rate          string  when the rate of the queue is used up, Redis µs
//	jobs:{site:queue}:rates         zset    <group> → the same of a group
//	jobs:{site:queue}:wake          stream  a group may begin a job, and none could before
//	jobs:{site:queue}:done:<id>     string  the job was done; its result
//	jobs:{site:queue}:checkpoint:<id> string what its handler kept
//	jobs:{site:queue}:progress:<id> string  what its handler reported
type queue struct{ site, name, base string }

func openQueue(pool *storage.Pool, site, name string) (queue, error) {
	if err := checkName("queue", name); err != nil {
		return queue{}, err
	}
	base, err := pool.Key("jobs", redisio.HashTag(site, name))
	return queue{site, name, base}, err
}

func (q queue) ready(p Priority) string     { return q.base + ":ready:" + p.letter() }
func (q queue) later() string               { return q.base + ":later" }
func (q queue) dead() string                { return q.base + ":dead" }
func (q queue) jobs() string                { return q.base + ":jobs" }
func (q queue) at() string                  { return q.base + ":at" }
func (q queue) alive() string               { return q.base + ":alive" }
func (q queue) notes() string               { return q.base + ":notes" }
func (q queue) paused() string              { return q.base + ":paused" }
func (q queue) schedules() string           { return q.base + ":schedules" }
func (q queue) fires() string               { return q.base + ":fires" }
func (q queue) throttle(key string) string  { return q.base + ":throttle:" + key }
func (q queue) grouped() string             { return q.base + ":grouped" }
func (q queue) flow(id string) string       { return q.base + ":flow:" + id }
func (q queue) wake() string                { return q.base + ":wake" }
func (q queue) done(id string) string       { return q.base + ":done:" + id }
func (q queue) checkpoint(id string) string { return q.base + ":checkpoint:" + id }
func (q queue) progress(id string) string   { return q.base + ":progress:" + id }

// streams returns the keys of the streams, highest priority first.
func (q queue) streams() []string {
	keys := make([]string, 0, len(all)+16)
	for _, p := range all {
		keys = append(keys, q.ready(p))
	}
	return keys
}

// keys returns the keys that luaKeys names, and then more.
func (q queue) keys(more ...string) []string {
	keys := append(q.streams(), q.later(), q.jobs(), q.at(), q.dead(), q.notes(), q.alive(), q.paused())
	for _, name := range []string{"unique", "held", "grouped", "turns", "active", "slow", "rates", "rate", "stopped", "ingroup"} {
		keys = append(keys, q.base+":"+name)
	}
	return append(append(keys, q.wake(), q.fires()), more...)
}

// public returns the id of a job as users see it.
func (q queue) public(id string) string { return q.name + ":" + id }

func checkName(what, name string) error {
	if err := redisio.CheckName(name); err != nil {
		return invalid("%s: %v", what, err)
	}
	if strings.Contains(name, ":") {
		return invalid("%s: name %q: ':' is not allowed", what, name)
	}
	return nil
}

// place is the entry of a job in the stream of a priority.
type place struct {
	priority Priority
	entry    string
}

func (p place) String() string { return p.priority.letter() + p.entry }

// parsePlace parses what String returned.
func parsePlace(text string) (p place, ok bool) {
	p.priority, ok = parsePriority(text)
	if !ok || !isEntry(text[1:]) {
		return place{}, false
	}
	p.entry = text[1:]
	return p, true
}

// id returns the id of a job that has none but that of its entry, such as
// 1732713600000-0.n.
func (p place) id() string { return p.entry + "." + p.priority.letter() }

// placeOf parses what place.id returned.
func placeOf(id string) (p place, ok bool) {
	entry, letter, ok := strings.Cut(id, ".")
	if !ok || len(letter) != 1 {
		return place{}, false
	}
	return parsePlace(letter + entry)
}

// isEntry reports whether id is a complete id of an entry.
func isEntry(id string) bool {
	ms, seq, ok := strings.Cut(id, "-")
	if !ok {
		return false
	}
	_, err := strconv.ParseUint(ms, 10, 64)
	if err == nil {
		_, err = strconv.ParseUint(seq, 10, 64)
	}
	return err == nil
}

// after returns the smallest id of an entry above id.
func after(id string) string {
	ms, seq, _ := strings.Cut(id, "-")
	n, _ := strconv.ParseUint(seq, 10, 64)
	return ms + "-" + strconv.FormatUint(n+1, 10)
}
