package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/keywords"
)

func (t *tool) dispatchersCommand() *cli.Command {
	return &cli.Command{
		Name: "dispatchers", Usage: "show which processes serve a service, and which wait to take over", ArgsUsage: "SERVICE", Category: "keywords",
		Description: example("EPOCH begins the revisions of what the dispatcher sets. A dispatcher that takes over has a greater one.",
			"helio dispatchers stage", "helio dispatchers stage --output json"),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			words, err := arguments(cmd, "SERVICE")
			if err != nil {
				return err
			}
			return t.withKeywords(ctx, cmd, func(s kwSession) error { return s.dispatchers(ctx, strings.ToLower(words[0])) })
		},
	}
}

func (s kwSession) dispatchers(ctx context.Context, service string) error {
	all, err := s.kw.Dispatchers(ctx, service)
	if errors.Is(err, keywords.CodeUnknownService) {
		_, err = s.all(ctx, service) // which says what services there are
	}
	if err != nil {
		return err
	}
	var rows [][]string
	row := func(d keywords.DispatcherInfo, epoch, state string, p keywords.DispatcherProcess) {
		rows = append(rows, []string{d.Name, state, epoch, p.Host, strconv.Itoa(p.PID), clock(p.Since), short(max(0, time.Since(p.Since)).Truncate(time.Second)), p.Worker})
	}
	for _, d := range all {
		epoch := strconv.FormatUint(d.Epoch, 10)
		if d.Serving != nil {
			row(d, epoch, "serves", *d.Serving)
		} else {
			rows = append(rows, []string{d.Name, "none", epoch})
		}
		for _, p := range d.Standbys {
			row(d, "", "waits", p)
		}
	}
	return s.table([]string{"DISPATCHER", "STATE", "EPOCH", "HOST", "PID", "SINCE", "FOR", "WORKER"}, rows, all)
}
