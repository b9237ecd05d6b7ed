package geo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/geo"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// site is a gateway with the commands, and what publishes to it.
type site struct {
	t    testing.TB
	pool *storage.Pool
	geo  *geo.Geo
	url  string
}

func serve(t testing.TB, pool *storage.Pool, cfg geo.Config) *site {
	t.Helper()
	g, err := geo.New(cfg)
	require.NoError(t, err)
	h, err := gateway.New(pool, gateway.Config{
		Channels: []gateway.Channel{{Pattern: "*"}}, Keys: []string{"*"}, Commands: g.Commands(),
	})
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		require.NoError(t, h.Close())
		srv.Close()
	})
	return &site{t, pool, g, strings.Replace(srv.URL, "http", "ws", 1)}
}

func (s *site) key(name string) string {
	key, err := s.pool.Key(name)
	require.NoError(s.t, err)
	return key
}

func (s *site) publish(channel string, values ...string) {
	s.t.Helper()
	for _, v := range values {
		require.NoError(s.t, s.pool.Redis().Publish(s.t.Context(), s.key(channel), v).Err())
	}
}

// browser is a client.
type browser struct {
	t    testing.TB
	conn *websocket.Conn
}

func (s *site) open(commands ...string) *browser {
	s.t.Helper()
	conn, _, err := websocket.Dial(s.t.Context(), s.url, nil)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	b := &browser{s.t, conn}
	require.JSONEq(s.t, `{"status": "open"}`, b.next())
	b.send(commands...)
	return b
}

// send sends commands, and returns when they were carried out without an answer.
func (b *browser) send(commands ...string) {
	b.t.Helper()
	for _, c := range append(commands, "PING") {
		require.NoError(b.t, b.conn.Write(b.t.Context(), websocket.MessageText, []byte(c)))
	}
	require.Equal(b.t, `"PONG"`, b.next())
}

// ask sends a command, and returns the contents of what answers it.
func (b *browser) ask(command string) (all []string) {
	b.t.Helper()
	for _, c := range []string{command, "PING"} {
		require.NoError(b.t, b.conn.Write(b.t.Context(), websocket.MessageText, []byte(c)))
	}
	for {
		content := b.next()
		if content == `"PONG"` {
			return all
		}
		all = append(all, content)
	}
}

// next returns the content of the next message.
func (b *browser) next() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	_, data, err := b.conn.Read(ctx)
	require.NoError(b.t, err)
	var e struct{ Content json.RawMessage }
	require.NoError(b.t, json.Unmarshal(data, &e))
	return string(e.Content)
}

// fails returns what the gateway has against a command.
func (b *browser) fails(command string) string {
	b.t.Helper()
	answers := b.ask(command)
	require.Len(b.t, answers, 1)
	var said struct {
		Code    gateway.Code
		Message string
	}
	require.NoError(b.t, json.Unmarshal([]byte(answers[0]), &said))
	require.Equal(b.t, gateway.CodeBadCommand, said.Code)
	return said.Message
}

func at(id int, lon, lat float64) string {
	return fmt.Sprintf(`{"type":"Feature","id":%d,"geometry":{"type":"Point","coordinates":[%v,%v]}}`, id, lon, lat)
}

// mercator is at, as PROJECTION epsg:3857 has it.
func mercator(t testing.TB, id int, lon, lat float64) string {
	t.Helper()
	p, err := geo.Lookup(3857)
	require.NoError(t, err)
	x, y := p.Forward(lon, lat)
	return fmt.Sprintf(`{"type":"Feature","id":%d,"geometry":{"type":"Point","coordinates":[%.17v,%.17v]}}`, id, x, y)
}

func TestOnlyListedProjectionsMayBeAskedFor(t *testing.T) {
	t.Parallel()
	s := serve(t, storagetest.New(t), geo.Config{Codes: []geo.EPSG{3857}})
	b := s.open()
	require.Empty(t, b.ask("PROJECTION epsg:3857"))
	require.Empty(t, b.ask("PROJECTION epsg:4326"))
	require.Equal(t, []string{"null"}, b.ask("PGET trains projection=epsg:3857"))
	for _, command := range []string{"PROJECTION epsg:3395", "PGET trains projection=epsg:3395"} {
		require.Equal(t, "epsg:3395 is not one of those that may be asked for", b.fails(command), command)
	}
	_, err := geo.New(geo.Config{Codes: []geo.EPSG{3857, 1}})
	require.EqualError(t, err, "geo: Config.Codes[1]: geo: no projection of that code: epsg:1")
}

func TestABrowserOfTheOriginal(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := serve(t, pool, geo.Config{})
		b := s.open("BBOX 0 0 10 10", "SUB trains")
		// A line that crosses the box has no vertex in it, and isn't delivered.
		s.publish("trains", at(1, 15, 5), `{"type":"LineString","coordinates":[[-5,5],[15,5]]}`, at(2, 5, 5), `{"v":1}`, `no JSON`)
		require.Equal(t, at(2, 5, 5), b.next())
		require.Equal(t, `{"v":1}`, b.next())
		require.Equal(t, `"no JSON"`, b.next())
		require.EqualValues(t, 2, s.geo.Stats().Withheld)

		b.send("BBOX")
		s.publish("trains", at(1, 15, 5))
		require.Equal(t, at(1, 15, 5), b.next())

		b.send("PROJECTION epsg:3857")
		s.publish("trains", at(1, 0.1, 3.5))
		require.JSONEq(t, mercator(t, 1, 0.1, 3.5), b.next())
		b.send("PROJECTION EPSG:4326")
		s.publish("trains", at(1, 0.1, 3.5))
		require.Equal(t, at(1, 0.1, 3.5), b.next())
	})
}

// Filters run in the order in which they were first set, so that a box is in the
// units of the projection that came before it.
func TestTheBoxIsOfTheProjectionBeforeIt(t *testing.T) {
	t.Parallel()
	s := serve(t, storagetest.New(t), geo.Config{})
	metres := s.open("PROJECTION epsg:3857", "BBOX 0 0 1000000 1000000", "SUB trains")
	degrees := s.open("BBOX 0 0 10 10", "PROJECTION epsg:3857", "SUB trains")
	s.publish("trains", at(1, 5, 5), at(2, 8.99, 5), at(3, 5, 11))
	require.JSONEq(t, mercator(t, 1, 5, 5), metres.next())
	require.JSONEq(t, mercator(t, 1, 5, 5), degrees.next())
	require.JSONEq(t, mercator(t, 2, 8.99, 5), degrees.next())
	// 8.99° are 1,000,762 m.
	metres.send("BBOX 1000000 0 1100000 1000000")
	s.publish("trains", at(1, 5, 5), at(2, 8.99, 5))
	require.JSONEq(t, mercator(t, 2, 8.99, 5), metres.next())
}

func TestGetGoesThroughTheFilters(t *testing.T) {
	t.Parallel()
	s := serve(t, storagetest.New(t), geo.Config{})
	require.NoError(t, s.pool.Redis().HSet(t.Context(), s.key("trains"), "1", at(1, 5, 5), "2", at(2, 15, 5)).Err())
	b := s.open("BBOX 0 0 10 10")
	require.Equal(t, []string{at(1, 5, 5)}, b.ask("GET trains"))
	require.Equal(t, []string{at(1, 5, 5)}, b.ask("GET trains 1"))
	require.Equal(t, []string{"null"}, b.ask("GET trains 2"))
	b.send("PROJECTION epsg:3857")
	require.JSONEq(t, mercator(t, 1, 5, 5), b.ask("GET trains")[0])
}

func TestPGet(t *testing.T) {
	t.Parallel()
	s := serve(t, storagetest.New(t), geo.Config{})
	require.NoError(t, s.pool.Redis().HSet(t.Context(), s.key("trains"), "1", at(1, 5, 5), "2", at(2, 15, 5), "pole", at(3, 5, 90)).Err())
	one := func(b *browser, command string) string {
		t.Helper()
		answers := b.ask(command)
		require.Len(t, answers, 1)
		return answers[0]
	}
	b := s.open()
	require.Len(t, b.ask("PGET trains"), 3)
	require.JSONEq(t, mercator(t, 1, 5, 5), one(b, "PGET trains 1 projection=epsg:3857"))
	require.JSONEq(t, mercator(t, 1, 5, 5), one(b, "PGET trains 1 ref epsg:3857"))
	require.Equal(t, "null", one(b, "PGET trains pole projection=epsg:3857"))
	require.Len(t, b.ask("PGET trains projection=epsg:3857"), 2)
	require.EqualValues(t, 2, s.geo.Stats().Dropped)
	require.Equal(t, "null", one(b, "PGET nothing projection=epsg:3857"))

	// The box is in metres, and PGET asks for degrees. The connection's map has no
	// pole, so that no box on it can keep that out.
	b.send("PROJECTION epsg:3857", "BBOX 0 0 1000000 1000000")
	require.ElementsMatch(t, []string{at(1, 5, 5), at(3, 5, 90)}, b.ask("PGET trains projection=epsg:4326"))
	require.JSONEq(t, mercator(t, 1, 5, 5), one(b, "PGET trains"))

	require.Contains(t, b.fails("PGET trains projection=epsg:1"), "epsg:1")
	require.Contains(t, b.fails("PGET trains 1 ref epsg:3857 projection=epsg:3857"), "projection is given twice")
	require.JSONEq(t, mercator(t, 1, 5, 5), one(b, "PGET trains ref=1 client_ref=x projection=epsg:3857"))
}

func TestABadCommandKeepsWhatWasSet(t *testing.T) {
	t.Parallel()
	s := serve(t, storagetest.New(t), geo.Config{})
	b := s.open("PROJECTION epsg:3857", "BBOX 0 0 1000000 1000000", "SUB trains")
	for command, says := range map[string]string{
		"PROJECTION":                      "usage: PROJECTION epsg:code",
		"PROJECTION epsg:1":               "no projection of that code: epsg:1",
		"PROJECTION 3857":                 "want epsg: and a number",
		"PROJECTION epsg:3857 2":          "usage",
		"BBOX 1 2 3":                      "box: 3 arguments",
		"BBOX 1 2 3 4 5":                  "usage",
		"BBOX a 2 3 4":                    `left is "a"`,
		"BBOX NaN 2 3 4":                  `left is "NaN"`,
		"BBOX 4 2 3 4":                    "left, 4, is above right, 3",
		"BBOX 1 5 3 4":                    "bottom, 5, is above top, 4",
		"BBOX 1 2 3 4 exit=yes":           "exit must be 0 or 1",
		"BBOX exit=1":                     "box: 0 arguments",
		"BBOX 1 2 3 4 antimeridian=":      "antimeridian must be 0 or 1",
		"BBOX 1 2 3 4 intersect=1":        "no option",
		"BBOX 170 -10 -170 10 exit=1":     "left, 170, is above right, -170",
		"PROJECTION epsg:4326 strict=1":   "no option",
		"PROJECTION epsg:99999999999999":  "want epsg: and a number",
		"PROJECTION epsg:4326epsg:999999": "want epsg: and a number",
	} {
		require.Contains(t, b.fails(command), says, command)
	}
	s.publish("trains", at(1, 15, 5), at(2, 5, 5))
	require.JSONEq(t, mercator(t, 2, 5, 5), b.next())
}

func TestBoxOptions(t *testing.T) {
	t.Parallel()
	s := serve(t, storagetest.New(t), geo.Config{})
	crossing := `{"type":"LineString","coordinates":[[-5,5],[15,5]]}`
	b := s.open("BBOX 0 0 10 10 intersects=1", "SUB trains")
	s.publish("trains", at(1, 15, 5), crossing)
	require.Equal(t, crossing, b.next())
	b.send("BBOX 170 -10 -170 10 antimeridian=1")
	s.publish("trains", at(1, 5, 5), at(1, 175, 5))
	require.Equal(t, at(1, 175, 5), b.next())
}

func TestWhatLeavesTheBoxIsAnnounced(t *testing.T) {
	t.Parallel()
	s := serve(t, storagetest.New(t), geo.Config{IDProperty: "name", MaxExits: 4})
	b := s.open("PROJECTION epsg:3857", "BBOX 0 0 1000000 1000000 exit=1", "SUB trains")
	gone := `{"type":"Feature","id":1,"geometry":null}`
	s.publish("trains", at(1, 15, 5), at(1, 5, 5), at(1, 15, 5), at(1, 15, 5), at(2, 5, 5))
	require.JSONEq(t, mercator(t, 1, 5, 5), b.next())
	require.Equal(t, gone, b.next())
	require.JSONEq(t, mercator(t, 2, 5, 5), b.next())

	b.send("BBOX 2000000 0 3000000 1000000 exit=1") // the map is moved, and 2 is still on it
	s.publish("trains", at(2, 5, 5))
	require.Equal(t, `{"type":"Feature","id":2,"geometry":null}`, b.next())
	require.EqualValues(t, 2, s.geo.Stats().Exits)

	b.send("BBOX 0 0 1000000 1000000 exit=1", "SUB buses")
	s.publish("trains", at(1, 5, 5))
	require.JSONEq(t, mercator(t, 1, 5, 5), b.next())
	s.publish("buses", at(1, 15, 5))
	s.publish("trains", at(1, 15, 5))
	require.Equal(t, gone, b.next(), "and not the bus with its number")
	require.EqualValues(t, 3, s.geo.Stats().Exits)

	// What came by GET of one field has left with the channel of that name.
	require.NoError(t, s.pool.Redis().HSet(t.Context(), s.key("trains"), "9", at(9, 5, 5)).Err())
	require.NotEmpty(t, b.ask("GET trains 9"))
	s.publish("trains", at(9, 15, 5))
	require.Equal(t, `{"type":"Feature","id":9,"geometry":null}`, b.next())

	b.send("BBOX 0 0 1000000 1000000")
	s.publish("trains", at(1, 5, 5), at(1, 15, 5), at(3, 5, 5))
	require.JSONEq(t, mercator(t, 1, 5, 5), b.next())
	require.JSONEq(t, mercator(t, 3, 5, 5), b.next())

	b.send("BBOX 0 0 1000000 1000000 exit=1")
	for id := range 10 {
		s.publish("trains", at(id, 5, 5))
		b.next()
	}
	require.EqualValues(t, 6, s.geo.Stats().Forgotten)
	_, err := geo.New(geo.Config{MaxExits: -1})
	require.ErrorContains(t, err, "MaxExits")
}

func TestAFeatureWithoutAnImageIsNotSent(t *testing.T) {
	t.Parallel()
	s := serve(t, storagetest.New(t), geo.Config{})
	b := s.open("PROJECTION epsg:3857", "SUB trains")
	other := s.open("PROJECTION epsg:3857", "SUB trains")
	s.publish("trains", at(1, 5, 90), at(2, 5, 5))
	require.JSONEq(t, mercator(t, 2, 5, 5), b.next())
	require.JSONEq(t, mercator(t, 2, 5, 5), other.next())
	require.EqualValues(t, 1, s.geo.Stats().Dropped, "once for the projection")
}

func TestStrictAxes(t *testing.T) {
	t.Parallel()
	s := serve(t, storagetest.New(t), geo.Config{StrictAxes: true})
	b := s.open("PROJECTION epsg:4258", "SUB trains")
	s.publish("trains", at(1, 5, 6))
	require.Equal(t, at(1, 6, 5), b.next())
	b.send("PROJECTION epsg:4326")
	s.publish("trains", at(1, 5, 6))
	require.Equal(t, at(1, 5, 6), b.next())
}

// A page with a switch of projections sends the box anew with each, in its units.
func TestAProjectionThatIsEndedKeepsItsPlace(t *testing.T) {
	t.Parallel()
	s := serve(t, storagetest.New(t), geo.Config{})
	b := s.open("PROJECTION epsg:3857", "BBOX 0 0 1000000 1000000", "SUB trains")
	b.send("PROJECTION epsg:4326", "BBOX 0 0 10 10")
	s.publish("trains", at(1, 15, 5), at(1, 5, 5))
	require.Equal(t, at(1, 5, 5), b.next())
	b.send("PROJECTION epsg:3857", "BBOX 0 0 1000000 1000000")
	s.publish("trains", at(1, 15, 5), at(1, 5, 5))
	require.JSONEq(t, mercator(t, 1, 5, 5), b.next())
}
