package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

var codecs = map[string]storage.Codec{"msgpack": storage.MsgPack, "json": storage.JSON, "text": storage.Text}

func codecFlag() cli.Flag {
	return &cli.StringFlag{Name: "codec", Value: "msgpack", Validator: oneOf("msgpack", "json", "text"),
		Usage: "`FORMAT` of values in Redis: msgpack, the default of Go programs, json or text"}
}

// formFlag is codecFlag for commands that only read. Redis does not store the format of
// a value, so auto guesses it.
func formFlag() cli.Flag {
	return &cli.StringFlag{Name: "codec", Value: "auto", Validator: oneOf("auto", "msgpack", "json", "text"),
		Usage: "`FORMAT` of values in Redis: msgpack, json, text, or auto for the first of these that a value is"}
}

// encode encodes a typed value with a codec.
func encode(codec storage.Codec, word string) ([]byte, error) {
	if codec == storage.Text {
		return []byte(word), nil
	}
	return codec.Marshal(fromWord(word))
}

// withTopics runs do with a pub/sub client.
func (t *tool) withTopics(ctx context.Context, cmd *cli.Command, do func(ps *pubsub.Client) error) error {
	return t.with(ctx, cmd, func(pool *storage.Pool) error {
		ps, err := pubsub.NewClient(pool, pubsub.Config{})
		if err != nil {
			return err
		}
		return do(ps)
	})
}

// topicOf returns a topic whose values are the bytes of the messages.
func topicOf(name string, history int) (pubsub.Topic[[]byte], error) {
	topic, err := pubsub.ParseTopic[[]byte](name)
	if err != nil {
		return topic, usage("%s", strings.TrimPrefix(err.Error(), "pubsub: topic: "))
	}
	topic = topic.WithCodec(storage.Raw)
	if history > 0 {
		topic = topic.WithHistory(pubsub.History{Size: history})
	}
	return topic, nil
}

func historyFlag() cli.Flag {
	return &cli.IntFlag{Name: "history", HideDefault: true, Validator: positive, Usage: "the channel keeps its last `N` messages; all its publishers and subscribers must use a history"}
}

func (t *tool) pubCommand() *cli.Command {
	return &cli.Command{
		Name: "pub", Usage: "publish messages on a channel", ArgsUsage: "CHANNEL [MESSAGE]...", Category: "pub/sub and objects",
		Description: example("A MESSAGE that is valid JSON is that value, any other is a string. Without one, each line of stdin is a message.",
			"helio pub positions '{\"x\":1,\"y\":2}'", "tail -f app.log | helio pub log --codec text"),
		Flags:  []cli.Flag{codecFlag(), historyFlag()},
		Action: t.pub,
	}
}

func (t *tool) pub(ctx context.Context, cmd *cli.Command) error {
	args, err := arguments(cmd, "CHANNEL...")
	if err != nil {
		return err
	}
	topic, err := topicOf(args[0], cmd.Int("history"))
	if err != nil {
		return err
	}
	if len(args) == 1 && !t.piped() {
		return usage("MESSAGE is missing: helio pub %s MESSAGE..., or lines on stdin", args[0])
	}
	codec := codecs[cmd.String("codec")]
	return t.withTopics(ctx, cmd, func(ps *pubsub.Client) error {
		n, received, err := publish(ctx, ps, topic, codec, t.words(ctx, args[1:]))
		if err != nil {
			return err
		}
		if t.json {
			return t.emit(map[string]int{"messages": n, "received": received})
		}
		_, err = fmt.Fprintf(t.out, "%s, received %s\n", count(n, "message"), count(received, "time"))
		return err
	})
}

// publish publishes all words, and returns their number and how often they were
// received.
func publish(ctx context.Context, ps *pubsub.Client, topic pubsub.Topic[[]byte], codec storage.Codec, words <-chan typed) (n, received int, err error) {
	for {
		select {
		case <-ctx.Done():
			return n, received, ctx.Err()
		case word, ok := <-words:
			switch {
			case !ok:
				return n, received, nil
			case word.err != nil:
				return n, received, usage("stdin: %v, after %s", word.err, count(n, "message"))
			}
			message, err := encode(codec, word.text)
			if err != nil {
				return n, received, err
			}
			r, err := pubsub.Publish(ctx, ps, topic, message)
			if err != nil {
				return n, received, err
			}
			n, received = n+1, received+r
		}
	}
}

// typed is a word of the command line or a line of stdin, or the error of reading it.
type typed struct {
	text string
	err  error
}

// words returns the words or, if there are none, the lines of stdin.
func (t *tool) words(ctx context.Context, words []string) <-chan typed {
	all := make(chan typed)
	send := func(w typed) bool {
		select {
		case all <- w:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() { // ends after the words, or after the line of stdin that it waits for
		defer close(all)
		for _, word := range words {
			if !send(typed{text: word}) {
				return
			}
		}
		if len(words) > 0 {
			return
		}
		lines := bufio.NewScanner(t.in)
		lines.Buffer(nil, maxArguments)
		for lines.Scan() {
			if !send(typed{text: lines.Text()}) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			send(typed{err: err})
		}
	}()
	return all
}

func (t *tool) subCommand() *cli.Command {
	return &cli.Command{
		Name: "sub", Usage: "print what is published, until Ctrl-C", ArgsUsage: "CHANNEL...", Category: "pub/sub and objects",
		Description: example("A CHANNEL with any of * ? [ is a pattern. With several channels or a pattern, each message is printed after its channel.",
			"helio sub positions", "helio sub 'room:*' news --count 10", "helio sub orders --history 100 --replay"),
		Flags: []cli.Flag{
			formFlag(),
			historyFlag(),
			&cli.BoolFlag{Name: "replay", Usage: "begin with all messages in the history"},
			&cli.StringFlag{Name: "after", Usage: "begin after the message with this `OFFSET`, from --output json"},
			&cli.IntFlag{Name: "count", HideDefault: true, Validator: positive, Usage: "end after `N` messages"},
			&secondsFlag{Name: "timeout", Aliases: []string{"t"}, Usage: "how long to listen (default: no limit)"},
		},
		Action: t.sub,
	}
}

func (t *tool) sub(ctx context.Context, cmd *cli.Command) error {
	names, err := arguments(cmd, "CHANNEL...")
	if err != nil {
		return err
	}
	if cmd.Int("history") == 0 && (cmd.Bool("replay") || cmd.String("after") != "") {
		return usage("--replay and --after need --history N")
	}
	if len(names) > 1 && cmd.String("after") != "" {
		return usage("--after goes with one channel: each channel has its own offsets")
	}
	var sources []pubsub.Source[[]byte]
	several := len(names) > 1
	for _, name := range names {
		source, err := sourceOf(name, cmd.Int("history"))
		if err != nil {
			return err
		}
		_, exact := source.(pubsub.Topic[[]byte])
		several, sources = several || !exact, append(sources, source)
	}
	listening := ctx
	if timeout := cmd.Duration("timeout"); timeout > 0 {
		var cancel context.CancelFunc
		listening, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return untilCtrlC(ctx, t.withTopics(listening, cmd, func(ps *pubsub.Client) error {
		p := &listener{tool: t, codec: cmd.String("codec"), several: several, history: cmd.Int("history") > 0, most: cmd.Int("count")}
		err := p.listen(listening, ps, sources, pubsub.SubscribeOptions{
			Replay: cmd.Bool("replay"), After: pubsub.Offset(cmd.String("after")), Overflow: pubsub.OverflowBlock,
		})
		switch {
		case !errors.Is(err, context.DeadlineExceeded):
			return err
		case p.most > 0:
			return fail(exitLate, "%d of %d messages within %s", p.n, p.most, short(cmd.Duration("timeout")))
		}
		return nil // --timeout without --count is no failure
	}))
}

// sourceOf returns the topic or the pattern that a name means.
func sourceOf(name string, history int) (pubsub.Source[[]byte], error) {
	if !strings.ContainsAny(name, "*?[") {
		return topicOf(name, history)
	}
	if history > 0 {
		return nil, usage("%q is a pattern, which has no history", name)
	}
	pattern, err := pubsub.ParsePattern[[]byte](name)
	if err != nil {
		return nil, usage("%s", strings.TrimPrefix(err.Error(), "pubsub: pattern: "))
	}
	return pattern.WithCodec(storage.Raw), nil
}

// listener prints messages.
type listener struct {
	*tool
	codec   string
	several bool // channels
	history bool // --history was given
	most    int  // messages; 0: any number

	mu sync.Mutex
	n  int
}

func (l *listener) listen(ctx context.Context, ps *pubsub.Client, from []pubsub.Source[[]byte], opts pubsub.SubscribeOptions) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var names []string
	for _, source := range from {
		sub, err := pubsub.Subscribe(ctx, ps, source, opts)
		if err != nil {
			cancel(err)
			break
		}
		names = append(names, source.String())
		wg.Go(func() {
			defer sub.Close()
			for {
				select {
				case <-ctx.Done():
					return
				case m, ok := <-sub.C():
					err := sub.Err()
					if ok {
						err = l.take(ctx, m)
					}
					if !ok || err != nil {
						cancel(err)
						return
					}
				}
			}
		})
	}
	if len(names) == len(from) {
		fmt.Fprintln(l.err, "listening to", strings.Join(names, ", "))
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

// take prints a message, and returns errEnough after the last.
func (l *listener) take(ctx context.Context, m pubsub.Message[[]byte]) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case errors.Is(m.Err, pubsub.ErrHistoryMismatch) && l.history:
		return fail(exitFailed, "channel %s keeps no history: its messages are published without --history", m.Channel)
	case errors.Is(m.Err, pubsub.ErrHistoryMismatch):
		return fail(exitFailed, "channel %s keeps a history: read it with helio sub %[1]s --history N", m.Channel)
	case m.Err != nil:
		return l.gap(m)
	}
	if err := l.print(m); err != nil {
		return err
	}
	l.n++
	if l.n == l.most {
		return errEnough
	}
	return nil
}

// gap prints that messages may be missing, and why if that is known.
func (l *listener) gap(m pubsub.Message[[]byte]) error {
	if l.json {
		return l.emit(map[string]any{"channel": m.Channel, "gap": oneLine(m.Err.Error())})
	}
	why := ""
	if gap := new(pubsub.GapError); errors.As(m.Err, &gap) && gap.Cause != nil {
		why = ": " + oneLine(gap.Cause.Error())
	}
	_, err := fmt.Fprintf(l.err, "messages may be missing here%s\n", why)
	return err
}

func (l *listener) print(m pubsub.Message[[]byte]) error {
	value := readAs(l.codec, m.Value)
	if l.json {
		line := map[string]any{"channel": m.Channel, "value": value, "time": time.Now()}
		if m.Offset != "" {
			line["offset"] = m.Offset
		}
		return l.emit(line)
	}
	text := plain(l.text(value))
	if l.several {
		text = m.Channel + "  " + text
	}
	_, err := fmt.Fprintln(l.out, text)
	return err
}
