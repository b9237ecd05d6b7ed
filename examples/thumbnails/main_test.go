package main

import (
	"context"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) {
	if os.Getenv("HELIOGRAPH_TEST_THUMBNAILS") != "" { // this process is the program
		main()
		return
	}
	storagetest.Main(m)
}

const patience = 60 * time.Second

func picture(t *testing.T, a album, name string) {
	t.Helper()
	f, err := os.Create(filepath.Join(a.from, name))
	require.NoError(t, err)
	require.NoError(t, png.Encode(f, image.NewRGBA(image.Rect(0, 0, 400, 200))))
	require.NoError(t, f.Close())
}

// shown returns how many thumbnails the page shows.
func shown(a album) int {
	page, _ := os.ReadFile(filepath.Join(a.to, "index.html"))
	return strings.Count(string(page), "<figure>")
}

func TestThePageShowsThePictures(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		a := album{t.TempDir(), t.TempDir()}
		picture(t, a, "moon.png")
		picture(t, a, "sun & sea.png")
		require.NoError(t, os.WriteFile(filepath.Join(a.from, "broken.jpg"), []byte("no"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(a.from, "text"), nil, 0o600))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, pool, a, time.Second) }()
		require.Eventually(t, func() bool { return shown(a) == 2 }, patience, 10*time.Millisecond)
		f, err := os.Open(a.thumbnail("moon.png"))
		require.NoError(t, err)
		thumbnail, err := png.Decode(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Equal(t, image.Rect(0, 0, 160, 80), thumbnail.Bounds())

		picture(t, a, "stars.png")
		require.Eventually(t, func() bool { return shown(a) == 3 }, patience, 10*time.Millisecond)
		q, err := jobs.NewClient(pool, jobs.ClientConfig{})
		require.NoError(t, err)
		dead, _, err := q.List(t.Context(), queue, jobs.StateDead)
		require.NoError(t, err)
		require.NotEmpty(t, dead)
		require.Contains(t, dead[0].Error, "broken.jpg: not a picture")
		stop()
		require.NoError(t, <-ended)
	})
}

// The program is killed while it works, and another goes on.
func TestKilled(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t)
	a := album{t.TempDir(), t.TempDir()}
	for i := range 40 {
		picture(t, a, strconv.Itoa(i)+".png")
	}
	for range 4 {
		cmd := exec.Command(os.Args[0], "-from", a.from, "-to", a.to, "-every", "1s")
		cmd.Env = append(os.Environ(), "HELIOGRAPH_TEST_THUMBNAILS=1", "REDIS_URL=redis://"+srv.Addr())
		before := made(t, a)
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool { return made(t, a) > before || before == 40 }, patience, time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	pool := storagetest.Open(t, srv.Config())
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, pool, a, time.Second) }()
	require.Eventually(t, func() bool { return shown(a) == 40 }, patience, 10*time.Millisecond)
	stop()
	require.NoError(t, <-ended)
}

func made(t *testing.T, a album) int {
	all, err := filepath.Glob(filepath.Join(a.to, "*.png"))
	require.NoError(t, err)
	return len(all)
}
