package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
)

// jobSession is a use of the queues of a site.
type jobSession struct {
	*tool
	jobs *jobs.Client
}

// onJobs returns the action of a command with the words names.
func (t *tool) onJobs(do func(ctx context.Context, s jobSession, cmd *cli.Command, words []string) error, names ...string) cli.ActionFunc {
	return func(ctx context.Context, cmd *cli.Command) error {
		words, err := arguments(cmd, names...)
		if err != nil {
			return err
		}
		site, err := t.site(cmd)
		if err != nil {
			return err
		}
		return t.with(ctx, cmd, func(pool *storage.Pool) error {
			c, err := jobs.NewClient(pool, jobs.ClientConfig{Site: site})
			if err != nil {
				return usage("%s", plainly(err))
			}
			defer c.Close()
			return do(ctx, jobSession{t, c}, cmd, words)
		})
	}
}

func (t *tool) jobsCommand() *cli.Command {
	each := func(name, what string, do func(ctx context.Context, s jobSession, id string) (string, error)) *cli.Command {
		return &cli.Command{
			Name: name, Usage: what, ArgsUsage: "ID...", Description: example("ID is as helio jobs list prints it.", "helio jobs "+name+" images:night-7"),
			Action: t.onJobs(func(ctx context.Context, s jobSession, _ *cli.Command, ids []string) error {
				return s.each(ctx, ids, do)
			}, "ID..."),
		}
	}
	queue := func(name, what string, do func(ctx context.Context, s jobSession, queue string) error) *cli.Command {
		return &cli.Command{
			Name: name, Usage: what, ArgsUsage: "QUEUE", Description: example("", "helio jobs "+name+" images"),
			Action: t.onJobs(func(ctx context.Context, s jobSession, _ *cli.Command, words []string) error {
				return do(ctx, s, words[0])
			}, "QUEUE"),
		}
	}
	return &cli.Command{
		Name: "jobs", Usage: "submit durable jobs, look at them and steer them", Category: "jobs",
		Commands: []*cli.Command{
			t.submitCommand(),
			{
				Name: "counts", Usage: "show how many jobs the queues have", ArgsUsage: "[QUEUE]",
				Description: example("", "helio jobs counts", "helio jobs counts images"),
				Action: t.onJobs(func(ctx context.Context, s jobSession, _ *cli.Command, words []string) error {
					return s.counts(ctx, words)
				}, "[QUEUE]"),
			},
			{
				Name: "list", Usage: "list jobs of a queue", ArgsUsage: "QUEUE", Description: example("", "helio jobs list images", "helio jobs list images --state running"),
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "state", Value: "waiting", Usage: "waiting, running, scheduled or dead", Validator: oneOf("waiting", "running", "scheduled", "dead")},
					limitFlag(),
				},
				Action: t.onJobs(func(ctx context.Context, s jobSession, cmd *cli.Command, words []string) error {
					return s.list(ctx, words[0], jobs.State(cmd.String("state")), cmd.Int("limit"))
				}, "QUEUE"),
			},
			{
				Name: "dead", Usage: "list the dead letters of a queue", ArgsUsage: "QUEUE", Description: example("", "helio jobs dead images"), Flags: []cli.Flag{limitFlag()},
				Action: t.onJobs(func(ctx context.Context, s jobSession, cmd *cli.Command, words []string) error {
					return s.list(ctx, words[0], jobs.StateDead, cmd.Int("limit"))
				}, "QUEUE"),
			},
			{
				Name: "show", Usage: "show a job", ArgsUsage: "ID", Description: example("", "helio jobs show images:night-7"),
				Action: t.onJobs(func(ctx context.Context, s jobSession, _ *cli.Command, words []string) error {
					return s.show(ctx, words[0])
				}, "ID"),
			},
			each("cancel", "cancel jobs that wait or run", func(ctx context.Context, s jobSession, id string) (string, error) {
				was, err := s.jobs.Cancel(ctx, id)
				return "was " + string(was), err
			}),
			each("retry", "make dead letters wait again", func(ctx context.Context, s jobSession, id string) (string, error) {
				return "waits", s.jobs.Retry(ctx, id)
			}),
			each("discard", "remove dead letters", func(ctx context.Context, s jobSession, id string) (string, error) {
				return "removed", s.jobs.Discard(ctx, id)
			}),
			queue("pause", "begin no more jobs of a queue", func(ctx context.Context, s jobSession, queue string) error {
				return s.say(s.jobs.Pause(ctx, queue), "%s is paused", queue)
			}),
			queue("resume", "end a pause", func(ctx context.Context, s jobSession, queue string) error {
				return s.say(s.jobs.Resume(ctx, queue), "%s is not paused", queue)
			}),
			queue("schedules", "list the schedules of a queue", func(ctx context.Context, s jobSession, queue string) error { return s.schedules(ctx, queue) }),
		},
	}
}

func limitFlag() cli.Flag {
	return &cli.IntFlag{Name: "limit", Value: 100, Usage: "list at most `N` jobs, up to 1,000", Validator: positive}
}

func (t *tool) submitCommand() *cli.Command {
	return &cli.Command{
		Name: "submit", Usage: "submit a job", ArgsUsage: "QUEUE METHOD",
		Description: example("Prints the id of the job, or with --result waits for its result and prints that. The argument is JSON,\nfrom --jsondata, --data, or stdin if it is a pipe or a file.",
			`helio jobs submit images resize --jsondata '{"picture":"moon.png"}' --delay 10m`),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "jsondata", Usage: "`JSON` as the argument; - reads it from stdin"},
			&cli.StringFlag{Name: "data", Usage: "`TEXT` as the argument; - reads it from stdin"},
			&cli.StringFlag{Name: "id", Usage: "`ID` of the job in its queue, with which a submit may be repeated", Validator: filled},
			&cli.StringFlag{Name: "group", Usage: "`GROUP` of the job: groups take turns", Validator: filled},
			&cli.StringFlag{Name: "priority", Value: "normal", Usage: "high, normal or low", Validator: oneOf("high", "normal", "low")},
			&cli.IntFlag{Name: "attempts", Usage: "begin the job at most `N` times", HideDefault: true, Validator: positive},
			&secondsFlag{Name: "delay", Usage: "how long the job waits before it may begin"},
			&cli.BoolFlag{Name: "result", Usage: "wait for the result, for --wait"},
			&secondsFlag{Name: "wait", Value: 10 * time.Second, Usage: "how long to wait for the result"},
		},
		Action: t.onJobs(func(ctx context.Context, s jobSession, cmd *cli.Command, words []string) error {
			return s.submit(ctx, cmd, words[0], words[1])
		}, "QUEUE", "METHOD"),
	}
}

func (s jobSession) submit(ctx context.Context, cmd *cli.Command, queue, method string) error {
	body, err := s.callBody(ctx, cmd)
	if err != nil {
		return err
	}
	o := jobs.SubmitOptions{ID: cmd.String("id"), Group: cmd.String("group"), Attempts: cmd.Int("attempts"), Delay: cmd.Duration("delay")}
	switch cmd.String("priority") {
	case "high":
		o.Priority = jobs.PriorityHigh
	case "low":
		o.Priority = jobs.PriorityLow
	}
	if cmd.Bool("result") {
		o.KeepResult = time.Hour
	}
	id, err := jobs.SubmitRaw(ctx, s.jobs, queue, method, body, o)
	if err != nil {
		return err
	}
	if !cmd.Bool("result") {
		if s.json {
			return s.emit(map[string]string{"id": id})
		}
		_, err = fmt.Fprintln(s.out, id)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cmd.Duration("wait"))
	defer cancel()
	result, err := jobs.WaitRaw(ctx, s.jobs, id)
	if err != nil {
		return err
	}
	return s.printBody(result)
}

// countCells are the cells of a queue in a table.
func countCells(n jobs.Counts) []string {
	note := ""
	if n.Paused {
		note = "paused"
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{number(n.Waiting), number(n.Running), number(n.Scheduled), number(n.Dead), note}
}

func (s jobSession) counts(ctx context.Context, queues []string) (err error) {
	if len(queues) == 0 {
		if queues, err = s.jobs.Queues(ctx); err != nil {
			return err
		}
	}
	var rows [][]string
	all := make(map[string]jobs.Counts)
	for _, name := range queues {
		n, err := s.jobs.Counts(ctx, name)
		if err != nil {
			return err
		}
		all[name] = n
		rows = append(rows, append([]string{name}, countCells(n)...))
	}
	return s.table([]string{"QUEUE", "WAITING", "RUNNING", "SCHEDULED", "DEAD", ""}, rows, all)
}

func (s jobSession) list(ctx context.Context, queue string, state jobs.State, limit int) error {
	list, _, err := s.jobs.List(ctx, queue, state, jobs.ListOptions{Limit: limit})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, j := range list {
		note := oneLine(clip([]byte(j.Error), 80))
		switch {
		case state == jobs.StateScheduled && !j.Due.IsZero():
			note = "due " + clock(j.Due) + " " + note
		case state == jobs.StateRunning:
			note = "for " + short(j.Running) + " on " + j.Worker
		}
		rows = append(rows, []string{j.ID, j.Method, j.Group, fmt.Sprintf("%d/%d", j.Begun, j.Attempts), clock(j.Submitted), note})
	}
	return s.table([]string{"ID", "METHOD", "GROUP", "ATTEMPTS", "SUBMITTED", ""}, rows, append([]jobs.Info{}, list...))
}

func (s jobSession) show(ctx context.Context, id string) error {
	j, err := s.jobs.Get(ctx, id)
	if err != nil {
		return err
	}
	args, err := toJSON(j.Args)
	if err != nil || len(j.Args.Data) == 0 {
		args = nil
	}
	if s.json {
		return s.emit(struct {
			jobs.Info
			Args any `json:"args"`
		}{j, args})
	}
	var rows [][]string
	row := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{"  " + name, clip([]byte(value), 4<<10)})
		}
	}
	row("state", string(j.State))
	row("method", j.Method)
	row("arguments", string(args))
	row("group", j.Group)
	row("attempts", fmt.Sprintf("%d of %d", j.Begun, j.Attempts))
	if !j.Submitted.IsZero() {
		row("submitted", clock(j.Submitted))
	}
	if !j.Due.IsZero() {
		row("due", clock(j.Due))
	}
	row("worker", j.Worker)
	row("progress", j.Progress)
	row("error", j.Error)
	row("stack", j.Stack)
	return s.table([]string{j.ID}, rows, nil)
}

// each does something with each job, and prints what became of it.
func (s jobSession) each(ctx context.Context, ids []string, do func(ctx context.Context, s jobSession, id string) (string, error)) error {
	for _, id := range ids {
		what, err := do(ctx, s, id)
		if err = s.say(err, "%s %s", id, what); err != nil {
			return err
		}
	}
	return nil
}

// say prints what was done, unless err says that it was not.
func (s jobSession) say(err error, format string, args ...any) error {
	if err != nil || s.json {
		return err
	}
	_, err = fmt.Fprintf(s.out, format+"\n", args...)
	return err
}

func (s jobSession) schedules(ctx context.Context, queue string) error {
	list, err := s.jobs.Schedules(ctx, queue)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, sc := range list {
		next := "paused"
		if !sc.Paused {
			next = clock(sc.Next)
		}
		rows = append(rows, []string{sc.Name, sc.Line, sc.Zone, sc.Method, next, strconv.FormatInt(sc.Runs, 10)})
	}
	return s.table([]string{"SCHEDULE", "LINE", "ZONE", "METHOD", "NEXT", "RUNS"}, rows, append([]jobs.ScheduleInfo{}, list...))
}
