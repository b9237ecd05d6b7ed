package geo_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway/geo"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// The query of an event stream may have a box and a projection, in the order that counts.
func TestABoxInTheQueryOfAnEventStream(t *testing.T) {
	t.Parallel()
	s := serve(t, storagetest.New(t), geo.Config{})
	point := func(at string) string { return `{"type":"Point","coordinates":` + at + `}` }
	require.NoError(t, s.pool.Redis().HSet(t.Context(), s.key("trains"), "in", point("[8.5, 5]"), "out", point("[15, 5]")).Err())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		strings.Replace(s.url, "ws", "http", 1)+"?sub=trains&snapshot=1&projection=epsg:3857&bbox=0+0+1000000+1000000", nil)
	require.NoError(t, err)
	r.Header.Set("Accept", "text/event-stream")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	var got []string
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() && !strings.Contains(lines.Text(), "subscribed") {
		if strings.Contains(lines.Text(), "Point") {
			got = append(got, lines.Text())
		}
	}
	require.Len(t, got, 1)
	require.Contains(t, got[0], "[946215.671")
}
