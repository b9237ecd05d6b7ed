package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// event is a server-sent event, read as browsers do.
type event struct {
	name, data, id string
	retry          string
}

// events is a client of an event stream.
type events struct {
	t        testing.TB
	response *http.Response
	in       *bufio.Reader
	comments int
	lastID   string
}

// follow requests an event stream. header has names and values in turn.
func follow(t testing.TB, client *http.Client, address, query string, header ...string) *events {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.Replace(address, "ws://", "http://", 1)+query, nil)
	require.NoError(t, err)
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return &events{t: t, response: response, in: bufio.NewReader(response.Body)}
}

// streams is follow, of a request that is accepted.
func streams(t testing.TB, address, query string, header ...string) *events {
	t.Helper()
	s := follow(t, http.DefaultClient, address, query, header...)
	if s.response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(s.in)
		t.Fatalf("%s: %s", s.response.Status, body)
	}
	require.Equal(t, "text/event-stream", s.response.Header.Get("Content-Type"))
	require.JSONEq(t, `{"status": "open"}`, s.content("status"))
	return s
}

// next returns the next event with data; false: the stream has ended.
func (s *events) next() (e event, ok bool) {
	s.t.Helper()
	for {
		line, err := s.in.ReadString('\n')
		if err == io.EOF && line == "" {
			return e, false
		}
		require.NoError(s.t, err)
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && e.data != "":
			e.data, e.id = strings.TrimSuffix(e.data, "\n"), s.lastID
			return e, true
		case line == "":
		case strings.HasPrefix(line, ":"):
			s.comments++
		case name == "event":
			e.name = value
		case name == "data":
			e.data += value + "\n"
		case name == "id":
			s.lastID = value
		case name == "retry":
			e.retry = value
		default:
			s.t.Fatalf("unexpected line %q", line)
		}
	}
}

// content returns the content of the envelope of the next event, which must have a name.
func (s *events) content(name string) string {
	s.t.Helper()
	e, ok := s.next()
	require.True(s.t, ok, "the stream has ended")
	require.Equal(s.t, name, e.name, e.data)
	var in envelope
	require.NoError(s.t, json.Unmarshal([]byte(e.data), &in), e.data)
	return string(in.Content)
}

// messages returns the contents of n messages, and requires of the statuses between that
// those with an offset contain a text.
func (s *events) messages(n int, text string) (contents []string) {
	s.t.Helper()
	for len(contents) < n {
		e, ok := s.next()
		require.True(s.t, ok, "the stream has ended")
		var in envelope
		require.NoError(s.t, json.Unmarshal([]byte(e.data), &in))
		switch {
		case e.name == "":
			contents = append(contents, string(in.Content))
		case strings.Contains(e.data, "offset"):
			require.Contains(s.t, e.data, text)
		}
	}
	return contents
}

// subscribed takes the answer to a SUB.
func (s *events) subscribed(channel string) {
	s.t.Helper()
	require.Contains(s.t, s.content("status"), `"status": "subscribed", "channel": "`+channel+`"`)
}

// ends returns the close code of a stream that has ended, after whatever else comes.
func (s *events) ends() (code gateway.CloseCode) {
	s.t.Helper()
	for {
		e, ok := s.next()
		if !ok {
			return code
		}
		if e.name == "close" {
			var in struct {
				Code   gateway.CloseCode
				Reason string
			}
			require.NoError(s.t, json.Unmarshal([]byte(e.data), &in))
			code = in.Code
		}
	}
}

// refused returns the status and the body of a request that is not accepted.
func refused(t testing.TB, address, query string, header ...string) (status int, body string) {
	t.Helper()
	s := follow(t, http.DefaultClient, address, query, header...)
	raw, err := io.ReadAll(s.in)
	require.NoError(t, err)
	return s.response.StatusCode, strings.TrimSpace(string(raw))
}

func TestAnEventStreamFollowsChannels(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		h, address := serve(t, pool, anything)
		ctx := t.Context()
		require.NoError(t, pool.Redis().HSet(ctx, key(t, pool, "trains"), "1", `{"v": 1}`).Err())
		s := streams(t, address, "?sub=trains+snapshot=1&sub=news&sub=%22a=b%22")
		require.Equal(t, `{"v": 1}`, s.content(""))
		s.subscribed("trains")
		s.subscribed("news")
		s.subscribed("a=b")
		for _, name := range []string{"trains", "news", "a=b"} {
			require.NoError(t, pool.Redis().Publish(ctx, key(t, pool, name), "{\"v\":\r\n 2}").Err())
			require.Equal(t, "{\"v\":\n 2}", s.content(""))
		}
		require.Equal(t, 1, h.Stats().Connections)
		require.Equal(t, 3, h.Stats().Subscriptions)
		require.NoError(t, s.response.Body.Close())
		require.Eventually(t, func() bool { n := h.Stats(); return n.Connections+n.Subscriptions == 0 }, patience, time.Millisecond)
	})
}

// Over HTTP/2 many streams share a connection, and the write deadline of one that is idle
// does not end it.
func TestAnEventStreamOverHTTP2(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	const limit = 2 * time.Second
	pool := storagetest.New(t)
	cfg := anything
	cfg.Limits = gateway.Limits{Write: limit, Ping: limit}
	h, err := gateway.New(pool, cfg)
	require.NoError(t, err)
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.Config.WriteTimeout, srv.Config.ReadTimeout = limit, limit
	srv.StartTLS()
	t.Cleanup(func() { _ = h.Close(); srv.Close() })
	var all []*events
	for range 20 {
		s := follow(t, srv.Client(), srv.URL, "?sub=news")
		require.Equal(t, 2, s.response.ProtoMajor)
		require.Equal(t, http.StatusOK, s.response.StatusCode)
		s.content("status")
		s.subscribed("news")
		all = append(all, s)
	}
	time.Sleep(5 * limit / 2) // beyond all deadlines
	require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), "1").Err())
	for _, s := range all {
		require.Equal(t, "1", s.content(""))
		require.Positive(t, s.comments)
		_ = s.response.Body.Close()
	}
	require.Eventually(t, func() bool { return h.Stats().Connections == 0 }, patience, time.Millisecond)
}

// The id of an event is what a browser sends as Last-Event-ID when it connects again: the
// stream continues on all channels.
func TestAnEventStreamResumes(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	history := pubsub.History{Size: 100}
	_, address := serve(t, pool, gateway.Config{Channels: []gateway.Channel{{Pattern: "plain"}, {Pattern: "*", History: &history, Rewind: 5}}})
	ps, err := pubsub.NewClient(pool, pubsub.Config{})
	require.NoError(t, err)
	publish := func(channel, value string) {
		topic := pubsub.NewTopic[string](channel).WithCodec(storage.JSON).WithHistory(history)
		_, err := pubsub.Publish(t.Context(), ps, topic, value)
		require.NoError(t, err)
	}
	publish("a", "before")
	publish("b", "before")
	const query = "?sub=a&sub=plain&sub=b+rewind=1"
	s := streams(t, address, query)
	s.subscribed("a")
	s.subscribed("plain")
	e, _ := s.next()
	require.Regexp(t, `^[^,]+,,[^,]+$`, e.id, "a stream that is cut here has an id as well")
	fresh := e.id
	publish("a", "one")
	require.Equal(t, `"one"`, s.content(""))
	require.NotEqual(t, fresh, s.lastID)
	afterOne := s.lastID
	_ = s.response.Body.Close()
	publish("b", "two")
	publish("a", "three")

	s = streams(t, address, query, "Last-Event-ID", afterOne)
	require.ElementsMatch(t, []string{`"two"`, `"three"`}, s.messages(2, `"recovered": true`))
	newest := s.lastID

	s = streams(t, address, query, "Last-Event-ID", fresh)
	require.ElementsMatch(t, []string{`"one"`, `"two"`, `"three"`}, s.messages(3, `"recovered": true`))
	require.Equal(t, newest, s.lastID)

	s = streams(t, address, "?sub=a&since="+strings.Split(afterOne, ",")[0])
	require.Contains(t, s.content("status"), `"recovered": true`)
	require.Equal(t, `"three"`, s.content(""))
}

func TestEventStreamsThatAreRefused(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	require.NoError(t, pool.Redis().Set(t.Context(), key(t, pool, "text"), "x", 0).Err())
	h, address := serve(t, pool, gateway.Config{
		Channels: []gateway.Channel{{Pattern: "news"}, {Pattern: "text"}}, Keys: []string{"text"}, ClientPublish: true,
		Authenticate: func(r *http.Request) (gateway.Principal, error) {
			if r.URL.Query().Get("token") == "bad" {
				return gateway.Principal{}, http.ErrNoCookie
			}
			return gateway.Principal{}, nil
		},
		Limits: gateway.Limits{Channels: 3, Message: 200},
	})
	for query, want := range map[string]string{
		"":                           "bad_command: nothing to follow: ?sub=channel is missing",
		"?sub=staff":                 "forbidden: subscribe staff is not allowed",
		"?sub=news&sub=staff":        "forbidden: subscribe staff is not allowed",
		"?sub=news&sub=news":         "bad_command: news is there twice",
		"?sub=":                      "bad_command: sub: usage: SUB channel [snapshot=1] [since=offset] [rewind=count] [ack=1]",
		"?sub=news+x":                "bad_command: sub: usage: SUB channel [snapshot=1] [since=offset] [rewind=count] [ack=1]",
		"?sub=%22news":               "bad_command: sub: a quote is not closed",
		"?sub=news&since=x":          "bad_command: since: x is not an offset",
		"?sub=news&snapshot=2":       "bad_command: snapshot must be 0 or 1",
		"?sub=news&snapshot=1":       "forbidden: get news is not allowed",
		"?sub=text&snapshot=1":       "not_a_hash: text is not a hash",
		"?sub=news&rewind=1":         "forbidden: news has no rewind",
		"?sub=%ff":                   "bad_command: the query is not encoded as in a URL, or not UTF-8",
		"?sub=%zz":                   "bad_command: the query is not encoded as in a URL, or not UTF-8",
		"?sub=__news":                "bad_name: names that begin with __ are not for clients",
		"?pub=news+1":                "bad_command: nothing to follow: ?sub=channel is missing",
		"?sub=a&sub=b&sub=c&sub=d":   "too_many: 4 channels; 3 are allowed",
		"?sub=news&protocol=unknown": "bad_command: there is no protocol unknown",
		"?sub=news&token=bad":        "Unauthorized",
		"?sub=news&x=" + strings.Repeat("x", 200): "too_large: the query has 211 bytes; 200 are allowed",
	} {
		status, body := refused(t, address, query)
		require.Equal(t, want, body, query)
		switch {
		case want == "Unauthorized":
			require.Equal(t, http.StatusUnauthorized, status)
		case strings.HasPrefix(want, "forbidden"):
			require.Equal(t, http.StatusForbidden, status)
		default:
			require.Equal(t, http.StatusBadRequest, status)
		}
	}
	status, body := refused(t, address, "?sub=news", "Last-Event-ID", "a,b")
	require.Equal(t, http.StatusBadRequest, status, body)
	r, err := http.NewRequest(http.MethodPost, strings.Replace(address, "ws", "http", 1)+"?sub=news", nil)
	require.NoError(t, err)
	r.Header.Set("Accept", "text/html, text/event-stream;q=0.5")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	_ = answer.Body.Close()
	require.Equal(t, http.StatusMethodNotAllowed, answer.StatusCode)
	require.Eventually(t, func() bool { return h.Stats().Connections == 0 }, patience, time.Millisecond)
	require.Zero(t, h.Stats().Published)
}

// A browser leaves out the Origin where the page sees nothing of the answer, and for pages of
// the same host.
func TestTheOriginOfAnEventStream(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	here, other := "https://example.org", "https://other.org"
	for _, row := range []struct {
		name         string
		cfg          gateway.Config
		origin, site string
		status       int
	}{
		{"no browser", anything, "", "", 200},
		{"typed by a user", anything, "", "none", 200},
		{"own page", anything, "", "same-origin", 200},
		{"own page with an origin", anything, here, "same-origin", 200},
		{"image of a foreign page", anything, "", "cross-site", 403},
		{"image of a page of the same site", anything, "", "same-site", 403},
		{"foreign page", anything, other, "cross-site", 403},
		{"allowed page", gateway.Config{Origins: []string{other}}, other, "cross-site", 200},
		{"own page, not allowed", gateway.Config{Origins: []string{other}}, "", "same-origin", 403},
		{"own page, allowed", gateway.Config{Origins: []string{other, here}}, "", "same-origin", 200},
		{"any page", gateway.Config{InsecureAnyOrigin: true}, other, "cross-site", 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.cfg.Channels = anything.Channels
			h, err := gateway.New(pool, row.cfg)
			require.NoError(t, err)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Host = "example.org"
				h.ServeHTTP(w, r)
			}))
			t.Cleanup(func() { _ = h.Close(); srv.Close() })
			var header []string
			if row.origin != "" {
				header = append(header, "Origin", row.origin)
			}
			if row.site != "" {
				header = append(header, "Sec-Fetch-Site", row.site)
			}
			s := follow(t, srv.Client(), srv.URL, "?sub=news", header...)
			require.Equal(t, row.status, s.response.StatusCode)
			if row.status == http.StatusOK {
				require.Equal(t, row.origin, s.response.Header.Get("Access-Control-Allow-Origin"))
				return
			}
			require.EqualValues(t, 1, h.Stats().RefusedOrigin)
		})
	}
}
