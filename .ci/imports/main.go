// Imports checks which package imports which, so that every import goes down a
// floor of the house.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const module = "github.com/heliograph/heliograph"

// may lists the packages of the module that a package may import. Its tests may also
// import the package itself and the test kit.
var may = map[string][]string{
	"":                            {},
	"internal/redisio":            {},
	"internal/busio":              {"storage"},
	"storage":                     {"internal/redisio"},
	"storage/embedded":            {"internal/redisio", "storage"},
	"storage/storagetest":         {"internal/redisio", "storage", "storage/embedded"},
	"storage/storagetest/history": {},
	"pubsub":                      {"internal/redisio", "storage"},
	"bus":                         {"internal/redisio", "internal/busio", "storage"},
	"bus/jobs/internal/cron":      {},
	"bus/jobs":                    {"internal/redisio", "internal/busio", "storage", "bus", "bus/jobs/internal/cron"},
	"keywords/internal/expr":      {},
	"keywords":                    {"internal/redisio", "internal/busio", "storage", "pubsub", "bus", "keywords/internal/expr"},
	"keywords/ktlxml":             {"keywords"},
	"gateway":                     {"internal/redisio", "storage", "pubsub"},
	"gateway/geo":                 {"gateway"},
	"gateway/jwt":                 {"internal/redisio", "gateway"},
	"gateway/fws":                 {"internal/redisio", "storage", "pubsub", "gateway"},
	"gateway/client":              {},
	"gateway/control":             {"storage", "bus", "bus/jobs", "keywords", "gateway"},
	"internal/chromium":           {},
}

// tests lists what only the tests of a package may import beside that.
var tests = map[string][]string{
	"gateway/client":  {"pubsub", "bus", "bus/jobs", "keywords", "gateway", "gateway/control"},
	"gateway/control": {"pubsub"},
}

// testKit may be imported by the tests of every package.
var testKit = []string{"internal/redisio", "internal/chromium", "storage", "storage/embedded", "storage/storagetest", "storage/storagetest/history"}

// only lists the packages that may import a third-party module by its prefix. All
// tests may.
var only = map[string][]string{
	"github.com/stretchr/testify":       {},
	"github.com/alicebob/miniredis/":    {"storage/embedded", "storage/storagetest"},
	"github.com/anishathalye/porcupine": {"storage/storagetest/history"},
	"github.com/gobwas/ws":              {"gateway"},
	"github.com/go-jose/":               {"gateway/jwt"},
	"github.com/urfave/cli":             {"examples/helio"},
	"golang.org/x/term":                 {"examples/helio"},
}

type pkg struct {
	ImportPath, Name                   string
	Imports, TestImports, XTestImports []string
}

func main() {
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "imports: go list:", err)
		os.Exit(1)
	}
	bad := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			fmt.Fprintln(os.Stderr, "imports:", err)
			os.Exit(1)
		}
		bad += check(p)
	}
	if bad > 0 {
		os.Exit(1)
	}
}

// check prints the imports that a package may not have, and returns their number.
func check(p pkg) (bad int) {
	name := local(p.ImportPath)
	example := strings.HasPrefix(name, "examples/")
	allowed, known := may[name]
	complain := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "imports: %s: %s\n", p.ImportPath, fmt.Sprintf(format, args...))
		bad++
	}
	if !known && !example {
		complain("not in the table of .ci/imports")
	}
	for _, imp := range p.Imports {
		if ours(imp) && !example && !slices.Contains(allowed, local(imp)) {
			complain("may not import %s", imp)
		}
		for prefix, allowed := range only {
			if strings.HasPrefix(imp, prefix) && !slices.Contains(allowed, name) {
				complain("only tests may import %s (and %q)", imp, allowed)
			}
		}
	}
	for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
		if ours(imp) && !example && local(imp) != name && !slices.Contains(slices.Concat(allowed, tests[name], testKit), local(imp)) {
			complain("its tests may not import %s", imp)
		}
	}
	for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
		if strings.HasPrefix(imp, module+"/examples/") && !example {
			complain("imports %s: only examples import examples", imp)
		}
	}
	return bad
}

func ours(imp string) bool { return imp == module || strings.HasPrefix(imp, module+"/") }

func local(imp string) string { return strings.TrimPrefix(strings.TrimPrefix(imp, module), "/") }
