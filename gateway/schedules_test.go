package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
	"github.com/heliograph/heliograph/storage/storagetest/history"
)

// memoryResponse is the response of an event stream without a socket: it passes the lines
// of each event to a function.
type memoryResponse struct {
	header http.Header
	event  func(id, data string)

	mu   sync.Mutex
	rest []byte
}

func (w *memoryResponse) Header() http.Header              { return w.header }
func (w *memoryResponse) WriteHeader(int)                  {}
func (w *memoryResponse) Flush()                           {}
func (w *memoryResponse) SetReadDeadline(time.Time) error  { return nil }
func (w *memoryResponse) SetWriteDeadline(time.Time) error { return nil }
func (w *memoryResponse) EnableFullDuplex() error          { return nil }
func (w *memoryResponse) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		text, rest, found := bytes.Cut(w.rest, []byte("\n\n"))
		if !found {
			return len(p), nil
		}
		w.rest = rest
		var id, data string
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch name {
			case "id":
				id = value
			case "data":
				data += value
			}
		}
		w.event(id, data)
	}
}

var scheduleTopics = []pubsub.Topic[int]{
	pubsub.NewTopic[int]("plain").WithCodec(storage.JSON),
	pubsub.NewTopic[int]("kept").WithCodec(storage.JSON).WithHistory(pubsub.History{}),
}

// scheduleFaults are the faults after which the offsets of a channel that clients have are
// those of messages that Redis has, or of another epoch.
var scheduleFaults = storagetest.Faults[:len(storagetest.Faults)-2]

// schedule is publications, clients and faults at random, and what came of them.
type schedule struct {
	t        *testing.T
	network  *storagetest.Network
	messages history.Messages
	calm     atomic.Bool // all has recovered
}

func (s *schedule) open(link *storagetest.Link) *storage.Pool {
	cfg := link.Config()
	cfg.Logger = slog.New(slog.DiscardHandler) // faults are told by the thousand
	return storagetest.Open(s.t, cfg)
}

// follow follows a channel, again whenever the stream ends, until ctx ends. Each stream
// lasts for up to lasts; a channel with a history is resumed where the last one ended.
func (s *schedule) follow(ctx context.Context, h http.Handler, channel string, r *rand.Rand, lasts time.Duration) {
	seen := s.messages.Subscribe(channel)
	last := "" // id
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, lasts/2+time.Duration(r.Int64N(int64(lasts))))
		request := httptest.NewRequestWithContext(one, http.MethodGet, "/?sub="+url.QueryEscape(channel), nil)
		request.Header.Set("Accept", "text/event-stream")
		if last != "" {
			request.Header.Set("Last-Event-ID", last)
		}
		resumed := last != ""
		h.ServeHTTP(&memoryResponse{header: http.Header{}, event: func(id, data string) {
			if id != "" {
				last = id
			}
			s.event(seen, resumed, channel, data)
		}}, request)
		cancel()
		if last == "" {
			seen.Gap() // between two streams
		}
		select { // of a browser
		case <-time.After(time.Duration(r.IntN(500)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
	seen.End()
}

// event notes an event of a stream.
func (s *schedule) event(seen *history.Subscriber, resumed bool, channel, data string) {
	if data == "" {
		return
	}
	var in struct {
		Source  string
		Content json.RawMessage
	}
	if err := json.Unmarshal([]byte(data), &in); err != nil {
		s.t.Error(err, data)
		return
	}
	if in.Source == channel {
		var n int
		if err := json.Unmarshal(in.Content, &n); err != nil {
			s.t.Error(err, data)
		}
		seen.Receive(n)
		return
	}
	var status struct {
		Status    string
		Recovered bool
	}
	_ = json.Unmarshal(in.Content, &status)
	if status.Status == "gap" || status.Status == "subscribed" && resumed && !status.Recovered {
		if s.calm.Load() {
			s.t.Errorf("%s: a gap long after the faults: %s", channel, data)
		}
		seen.Gap()
	}
}

func (s *schedule) publish(c *pubsub.Client, topic pubsub.Topic[int], r *rand.Rand, n int) {
	for range n {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
		number, end := s.messages.Publish(topic.String())
		if _, err := pubsub.Publish(ctx, c, topic, number); err == nil {
			end(history.Answered)
		}
		cancel()
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
	}
}

// TestChannelsSchedules publishes to channels that clients follow by event streams, which
// end and resume, while connections and Redis fail in every way. Each client receives the
// messages in order and none twice, and what it misses is covered by gaps that it is told
// of; long after the faults it misses nothing.
func TestChannelsSchedules(t *testing.T) {
	t.Parallel()
	storagetest.Schedules(t, storagetest.ScheduleOptions{Long: 200}, func(t *testing.T, seed uint64) {
		s := &schedule{t: t, network: storagetest.NewNetwork(t)}
		random := rand.New(rand.NewPCG(seed, 0))
		var befell []string
		defer func() {
			if t.Failed() {
				t.Log("after ", befell)
			}
		}()
		publisher, err := pubsub.NewClient(s.open(s.network.Link()), pubsub.Config{})
		require.NoError(t, err)
		link := s.network.Link()
		h, err := gateway.New(s.open(link), gateway.Config{Channels: []gateway.Channel{{Pattern: "plain"}, {Pattern: "kept", History: &pubsub.History{}}}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var following sync.WaitGroup
		for i, topic := range scheduleTopics {
			for j, lasts := range []time.Duration{time.Hour, 2 * time.Second} {
				r := rand.New(rand.NewPCG(seed, uint64(100+10*i+j)))
				following.Go(func() { s.follow(ctx, h, topic.String(), r, lasts) })
			}
		}
		time.Sleep(time.Second) // all have begun
		publish := func(round uint64, n int) *sync.WaitGroup {
			var publishing sync.WaitGroup
			for i, topic := range scheduleTopics {
				publishing.Go(func() { s.publish(publisher, topic, rand.New(rand.NewPCG(seed, 10*round+uint64(i)+1)), n) })
			}
			return &publishing
		}
		first := publish(0, 60)
		for range 1 + random.IntN(4) {
			time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
			i := random.IntN(len(scheduleFaults) + 1)
			if i == len(scheduleFaults) { // the gateway is cut off
				befell = append(befell, "part")
				link.Down()
				time.Sleep(time.Duration(random.IntN(10_000)) * time.Millisecond)
				link.Up()
				continue
			}
			befell = append(befell, string(scheduleFaults[i]))
			s.network.Befall(scheduleFaults[i], random, 5*time.Second)
		}
		first.Wait()
		time.Sleep(15 * time.Second)
		publish(1, 3).Wait() // which may tell the last gap
		time.Sleep(15 * time.Second)
		s.calm.Store(true)
		publish(2, 5).Wait()
		time.Sleep(5 * time.Second)
		cancel()
		following.Wait()
		require.NoError(t, h.Close())
		require.NoError(t, publisher.Close())
		require.NoError(t, s.messages.Check())
	})
}
