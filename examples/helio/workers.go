package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/bus"
)

func (t *tool) workersCommand() *cli.Command {
	return &cli.Command{
		Name: "workers", Usage: "list the workers that run", ArgsUsage: "[TARGET]", Category: "calls and workers",
		Description: example(targetHelp+"\nWithout one, all workers of the site are listed.", "helio workers", "helio workers calc --follow"),
		Flags:       append([]cli.Flag{&cli.BoolFlag{Name: "follow", Usage: "print each worker that joins (+) and leaves (-), until Ctrl-C"}}, targetFlags()...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			to, err := audience(cmd)
			if err != nil {
				return err
			}
			return t.withBus(ctx, cmd, bus.ClientConfig{}, func(s session) error {
				if cmd.Bool("follow") {
					return untilCtrlC(ctx, s.followWorkers(ctx, to))
				}
				return s.listWorkers(ctx, to)
			})
		},
	}
}

func (s session) listWorkers(ctx context.Context, to target) error {
	workers, err := s.bus.Workers(ctx, to.typ)
	if err != nil {
		return err
	}
	workers = slices.DeleteFunc(workers, func(w bus.WorkerInfo) bool { return !to.matches(w) })
	if len(workers) == 0 && (!to.none || to.typ != "" || !s.json) {
		return s.noWorkers(ctx, to)
	}
	var rows [][]string
	for _, w := range workers {
		rows = append(rows, []string{w.ID, short(max(0, time.Since(w.Started)).Truncate(time.Second)), w.Version, labels(w.Labels)})
	}
	return s.table([]string{"ID", "UP", "VERSION", "LABELS"}, rows, append([]bus.WorkerInfo{}, workers...))
}

func labels(all map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		parts = append(parts, name+"="+all[name])
	}
	return plain(strings.Join(parts, " "))
}

func (s session) followWorkers(ctx context.Context, to target) error {
	for ev, err := range s.bus.Watch(ctx, to.typ) {
		if err != nil {
			return err
		}
		if !to.matches(ev.Worker) {
			continue
		}
		sign := "-"
		if ev.Joined {
			sign = "+"
		}
		if s.json {
			err = s.emit(map[string]any{"joined": ev.Joined, "worker": ev.Worker})
		} else {
			_, err = fmt.Fprintf(s.out, "%s %s %s\n", clock(time.Now()), sign, ev.Worker.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// asking returns a command that calls a built-in method of all workers in a target.
func asking[R any](t *tool, name, what string, method bus.Method[struct{}, R], show func(t *tool, begun time.Time, from bus.WorkerInfo, answer R) error) *cli.Command {
	form, everyone := "[TARGET]", "\nWithout one, all workers of the site are asked."
	if name == "stop" {
		form, everyone = "TARGET", ""
	}
	return &cli.Command{
		Name: name, Usage: what, ArgsUsage: form, Category: "calls and workers",
		Description: example(targetHelp+" All its workers are asked."+everyone+"\nA worker answers at once, also while it is busy.", "helio "+name+" calc"),
		Flags:       append([]cli.Flag{&secondsFlag{Name: "wait", Value: time.Second, Usage: "how long to wait for the answers"}}, targetFlags()...),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			to, err := audience(cmd)
			switch {
			case err != nil:
				return err
			case name == "stop" && to.none:
				return usage("no target: helio stop TARGET, with a worker type, an id or a pattern; --broadcast stops all workers")
			}
			wait := cmd.Duration("wait")
			return t.withBus(ctx, cmd, bus.ClientConfig{Timeout: wait}, func(s session) error {
				waiting, cancel := context.WithTimeout(ctx, wait)
				defer cancel()
				begun := time.Now()
				c := caller{session: s, to: to, method: method.Name(), wait: wait}
				return gathered(ctx, c, bus.Gather(waiting, s.bus, to.all, method, struct{}{}), func(from bus.WorkerInfo, answer R) error {
					return show(t, begun, from, answer)
				})
			})
		},
	}
}

func (t *tool) pingCommand() *cli.Command {
	return asking(t, "ping", "measure how soon workers answer", bus.Ping, func(t *tool, begun time.Time, from bus.WorkerInfo, _ struct{}) error {
		took := time.Since(begun)
		if t.json {
			return t.emit(map[string]any{"worker": from.ID, "seconds": took.Seconds()})
		}
		_, err := fmt.Fprintf(t.out, "%s  %s\n", from.ID, short(took))
		return err
	})
}

func (t *tool) stopCommand() *cli.Command {
	return asking(t, "stop", "stop workers that allow it", bus.Stop, func(t *tool, _ time.Time, from bus.WorkerInfo, _ struct{}) error {
		if t.json {
			return t.emit(map[string]any{"worker": from.ID, "stopping": true})
		}
		_, err := fmt.Fprintf(t.out, "%s  stopping\n", from.ID)
		return err
	})
}

func (t *tool) infoCommand() *cli.Command {
	return asking(t, "info", "describe workers and their methods", bus.Info, func(t *tool, _ time.Time, from bus.WorkerInfo, d bus.Details) error {
		if t.json {
			return t.emit(d)
		}
		serves := "up to " + strconv.Itoa(d.Concurrency) + " calls at a time"
		if d.Serial {
			serves = "one call at a time"
		}
		rows := [][]string{
			{"version", d.Version}, {"description", d.Description}, {"labels", labels(d.Labels)}, {"up", short(d.Uptime.Truncate(time.Second))},
			{"serves", serves}, {"user", d.User}, {"path", d.Path}, {"spawner", d.Spawner}, {"go", d.Go},
		}
		for _, name := range slices.Sorted(maps.Keys(d.Extra)) {
			rows = append(rows, []string{name, fmt.Sprint(d.Extra[name])})
		}
		for _, m := range d.Methods {
			rows = append(rows, []string{"method", methodLine(m)})
		}
		rows = slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" })
		if _, err := fmt.Fprintln(t.out, from.ID); err != nil {
			return err
		}
		for _, line := range aligned(rows) {
			if _, err := fmt.Fprintln(t.out, "  "+plain(line)); err != nil {
				return err
			}
		}
		return nil
	})
}

func methodLine(m bus.MethodInfo) string {
	line := m.Name
	if m.Name == "*" {
		line = "* (any other name)"
	}
	if m.Stream {
		line += " (stream)"
	}
	if m.Idempotent {
		line += " (idempotent)"
	}
	if m.Args != nil || m.Result != nil {
		line += ": " + shape(m.Args) + " → " + shape(m.Result)
	}
	return line
}

func (t *tool) statsCommand() *cli.Command {
	return asking(t, "stats", "print counts of calls, errors and times", bus.Stats, func(t *tool, _ time.Time, from bus.WorkerInfo, st bus.WorkerStats) error {
		if t.json {
			return t.emit(map[string]any{"worker": from.ID, "stats": st})
		}
		rows := [][]string{{"METHOD", "CALLS", "ERRORS", "IN FLIGHT", "P50", "P99"}}
		for _, m := range st.Methods {
			var failed int64
			for _, n := range m.Errors {
				failed += n
			}
			rows = append(rows, []string{m.Name, fmt.Sprint(m.Calls), fmt.Sprint(failed), fmt.Sprint(m.InFlight), took(m, m.Time.Quantile(0.5)), took(m, m.Time.Quantile(0.99))})
		}
		if _, err := fmt.Fprintf(t.out, "%s  %s, %s, %d held, %d expired, %d lost\n", from.ID, count(int(st.Calls), "call"), count(int(st.Errors), "error"), st.Held, st.Expired, st.Lost); err != nil {
			return err
		}
		if len(st.Methods) == 0 {
			return nil
		}
		for i, line := range aligned(rows) {
			if i == 0 {
				line = t.dress.faint(line)
			}
			if _, err := fmt.Fprintln(t.out, "  "+line); err != nil {
				return err
			}
		}
		return nil
	})
}

// took returns a quantile of a method's times, or nothing if it was not called.
func took(m bus.MethodStats, d time.Duration) string {
	if m.Calls == 0 {
		return ""
	}
	return short(d)
}
