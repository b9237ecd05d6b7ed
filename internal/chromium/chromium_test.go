package chromium_test

import (
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/chromium"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

func TestAPage(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<title>%s</title><script>setTimeout(() => document.title += "!", 50)</script>`, r.URL.Path)
	}))
	t.Cleanup(srv.Close)
	p := chromium.Start(t)
	p.Navigate(srv.URL + "/hello")
	p.Await(`document.title === "/hello!"`)
	require.JSONEq(t, `{"two": [1, "1"]}`, string(p.Eval(`({two: [1, "1"]})`)))
	require.JSONEq(t, `3`, string(p.Eval(`Promise.resolve(1 + 2)`)))
	require.Nil(t, p.Eval(`undefined`))

	file := filepath.Join(t.TempDir(), "page.png")
	p.Screenshot(file)
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	picture, err := png.Decode(f)
	require.NoError(t, err)
	require.Equal(t, 1100, picture.Bounds().Dx())
}
