package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/bus"
)

func (t *tool) downloadCommand() *cli.Command {
	return &cli.Command{
		Name: "download", Usage: "fetch a file, or a folder as a zip archive, from a worker", ArgsUsage: "TARGET PATH", Category: "calls and workers",
		Description: example("TARGET is the id of a worker, or a type that has one worker. It must offer files: bus.Files,\n"+
			"helio worker --worker_path.",
			"helio download calc:ada:4711:k3j9x2 var/result.csv", "helio download calc:ada:4711:k3j9x2 var --dir --to backup.zip"),
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "dir", Usage: "PATH is a folder; . is all that the worker offers"},
			&cli.StringFlag{Name: "to", TakesFile: true, Usage: "`FILE` to write, - for stdout (default: the base name of PATH)"},
			&cli.BoolFlag{Name: "force", Usage: "replace FILE if it exists"},
			&secondsFlag{Name: "wait", Value: 5 * time.Second, Usage: "how long to wait for the worker to begin"},
		}, oneTargetFlags()...),
		Action: t.download,
	}
}

func (t *tool) download(ctx context.Context, cmd *cli.Command) error {
	args, err := arguments(cmd, "[TARGET]", "PATH")
	if err != nil {
		return err
	}
	from, err := oneTargetOf(cmd, args[:len(args)-1]...)
	if err != nil {
		return err
	}
	file := args[len(args)-1]
	method, to := bus.Download, cmd.String("to")
	if to == "" {
		to = path.Base(file)
		if to == "." || to == "/" {
			to = "files"
		}
		if cmd.Bool("dir") {
			to += ".zip"
		}
	}
	if cmd.Bool("dir") {
		method = bus.DownloadDir
	}
	if _, err := os.Stat(to); err == nil && to != "-" && !cmd.Bool("force") {
		return usage("%s exists: name another file with --to, or replace it with --force", to)
	}
	return t.withBus(ctx, cmd, bus.ClientConfig{Timeout: cmd.Duration("wait")}, func(s session) error {
		id, err := s.idOf(ctx, from)
		if err != nil {
			return err
		}
		c := caller{session: s, method: method.Name(), to: newTarget("", id, "", false, false), wait: cmd.Duration("wait")}
		chunks := bus.Stream(ctx, s.bus, bus.Direct(id), method, file)
		if to == "-" {
			_, err := c.save(ctx, t.out, chunks)
			return err
		}
		return c.saveFile(ctx, to, chunks)
	})
}

// saveFile writes a temporary file beside to and renames it once it is complete.
func (c caller) saveFile(ctx context.Context, to string, chunks iter.Seq2[[]byte, error]) error {
	part, err := os.CreateTemp(filepath.Dir(to), filepath.Base(to)+".part*")
	if err != nil {
		return usage("--to: %v", err)
	}
	defer os.Remove(part.Name())
	defer part.Close()
	n, err := c.save(ctx, part, chunks)
	if err != nil {
		return err
	}
	if err := part.Chmod(0o644); err != nil {
		return err
	}
	if err := part.Close(); err != nil {
		return err
	}
	if err := os.Rename(part.Name(), to); err != nil {
		return err
	}
	if c.json {
		return c.emit(map[string]any{"file": to, "bytes": n})
	}
	_, err = fmt.Fprintf(c.out, "%s: %d bytes\n", to, n)
	return err
}

func (c caller) save(ctx context.Context, w io.Writer, chunks iter.Seq2[[]byte, error]) (n int64, err error) {
	p := c.begin("waiting for " + c.to.text)
	defer p.end()
	for chunk, err := range chunks {
		if err != nil {
			p.clear()
			return n, c.why(ctx, err)
		}
		if _, err := w.Write(chunk); err != nil {
			return n, err
		}
		n += int64(len(chunk))
		p.say("%.1f MB", float64(n)/1e6)
	}
	return n, nil
}
