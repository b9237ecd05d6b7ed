package keywords_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage/storagetest"
)

// mutant is a defect that the check of histories must find: a change to one source file.
type mutant struct {
	name, file string
	changes    []string // text that stands once in the file, and what stands there in the mutant
}

var mutants = []mutant{
	{
		name: "a commit that does not check the fence", file: "wire.go",
		// The epoch is a fence too: without both, a dispatcher that was replaced can write.
		changes: []string{
			"var luaCommit = redisio.NewScript(luaFence + `", "var luaCommit = redisio.NewScript(`",
			"if m[1] ~= ARGV[2] then return", "local replaced = (tonumber(m[1]) or 0) > tonumber(ARGV[2])\nif m[1] ~= ARGV[2] and not replaced then return",
			"if m[2] ~= ARGV[3] then return", "if m[2] ~= ARGV[3] and not replaced then return",
		},
	},
	{
		name: "IfRevision is checked before the hook only", file: "commit.go",
		changes: []string{"st.served.atLocked(st.only)", `st.served.atLocked("")`},
	},
}

// mutantSchedules are how many schedules may pass before one finds a mutant. In runs so far
// the first 50 have.
const mutantSchedules = "500"

// The schedules find defects that were made on purpose.
func TestTheCheckOfHistoriesFindsMutants(t *testing.T) {
	storagetest.Long(t)
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go on the PATH: this builds the package")
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			found := exec.CommandContext(ctx, m.build(ctx, t), "-test.run=^TestHistoriesAreLinearizable$", "-linear.seed=1", "-linear.schedules="+mutantSchedules)
			said, err := found.CombinedOutput()
			require.Error(t, err, "%s", said)
			require.Contains(t, string(said), "not linearizable (Illegal)")
		})
	}
}

// build builds the tests of the package with the mutant, and returns the program.
func (m mutant) build(ctx context.Context, t *testing.T) (program string) {
	t.Helper()
	path, err := filepath.Abs(m.file)
	require.NoError(t, err)
	source, err := os.ReadFile(path)
	require.NoError(t, err)
	text := string(source)
	for i := 0; i < len(m.changes); i += 2 {
		require.Equal(t, 1, strings.Count(text, m.changes[i]), "in %s: %s", m.file, m.changes[i])
		text = strings.Replace(text, m.changes[i], m.changes[i+1], 1)
	}
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, data, 0o600))
		return name
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: file(m.file, []byte(text))}})
	require.NoError(t, err)
	program = filepath.Join(dir, "mutant.test")
	said, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, "-overlay", file("overlay.json", overlay), ".").CombinedOutput()
	require.NoError(t, err, "%s", said)
	return program
}
