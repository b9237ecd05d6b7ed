package storagetest

import (
	"os"
	"testing"

	"github.com/heliograph/heliograph/storage"
)

// BenchServer returns the configuration of the server for a benchmark: that of
// REDIS_URL where it is set, or else one of its own, as [Start] does.
func BenchServer(b *testing.B) storage.Config {
	b.Helper()
	if url := os.Getenv("REDIS_URL"); url != "" {
		return storage.Config{URL: url}
	}
	return Start(b).Config()
}
