package storagetest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Mutant is a defect that the tests of a package must find: a change to one of its source
// files.
type Mutant struct {
	Name string // what is wrong
	File string // of the package whose tests run

	// Changes are pairs of a text that stands once in the file, and the text in its place.
	Changes []string
}

// mutantTime bounds the tests of a mutant.
const mutantTime = 5 * time.Minute

// Caught builds the tests of the package with the mutant, runs those that match run, for
// so many schedules (see [Schedules]), and requires that they fail and say want. It is
// for the long run, and needs go on the PATH.
func (m Mutant) Caught(t *testing.T, run, schedules, want string) {
	t.Helper()
	Long(t)
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go on the PATH: this builds the package")
	}
	ctx, cancel := context.WithTimeout(t.Context(), mutantTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.build(ctx, t), "-test.run="+run, "-test.failfast")
	cmd.Env = append(os.Environ(), "HELIOGRAPH_SEED=1", "HELIOGRAPH_SCHEDULES="+schedules)
	said, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("%s is not found by %s schedules", m.Name, schedules)
	}
	if !strings.Contains(string(said), want) {
		t.Fatalf("%s: the tests do not say %q:\n%s", m.Name, want, said)
	}
}

// build builds the tests of the package with the mutant, and returns the program.
func (m Mutant) build(ctx context.Context, t *testing.T) (program string) {
	t.Helper()
	must := func(err error, said []byte) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v\n%s", m.Name, err, said)
		}
	}
	path, err := filepath.Abs(m.File)
	must(err, nil)
	source, err := os.ReadFile(path)
	must(err, nil)
	text := string(source)
	for i := 0; i < len(m.Changes); i += 2 {
		if n := strings.Count(text, m.Changes[i]); n != 1 {
			t.Fatalf("%s: %s has %d times: %s", m.Name, m.File, n, m.Changes[i])
		}
		text = strings.Replace(text, m.Changes[i], m.Changes[i+1], 1)
	}
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		name = filepath.Join(dir, name)
		must(os.WriteFile(name, data, 0o600), nil)
		return name
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: file(filepath.Base(m.File), []byte(text))}})
	must(err, nil)
	program = filepath.Join(dir, "mutant.test")
	said, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, "-overlay", file("overlay.json", overlay), ".").CombinedOutput()
	must(err, said)
	return program
}
