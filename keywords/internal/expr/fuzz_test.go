package expr_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords/internal/expr"
)

var (
	serviceName = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]*$`)
	keywordName = regexp.MustCompile(`^[A-Z0-9_][A-Z0-9_-]*$`)
)

// FuzzExpr: nothing panics, names are valid and each there once, and every error
// says that it is of the expression.
func FuzzExpr(f *testing.F) {
	values := slices.Sorted(maps.Keys(stage))
	for i, seed := range []string{
		hot, `($a.X == INPOS)`, `$x=2`, `$X not in (1, 'a', "b\x00") && !(${a-b.c-d}[3] <= -1.5e-3)`,
		`ascii($a.b) != 'ä' || $c has 0xff`, `1/0==$x`, `((((`, `$a.X < $b.Y < 3`, `- - -$x`, `'\`,
	} {
		f.Add(seed, "a", i%2 == 0, uint8(i))
	}
	f.Fuzz(func(t *testing.T, text, defaultService string, ignore bool, salt uint8) {
		e, err := expr.Parse(text, expr.Options{IgnoreCase: ignore, Service: defaultService})
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "keywords: expression"), err)
			return
		}
		names := e.Names()
		require.NotEmpty(t, names)
		for i, n := range names {
			require.Regexp(t, serviceName, n.Service)
			require.Regexp(t, keywordName, n.Keyword)
			require.NotContains(t, names[:i], n)
		}
		// Every kind of value takes its turn in every place, and so does none.
		for turn := range len(values) + 1 {
			asked := 0
			ok, err := e.Eval(func(n expr.Name) (expr.Value, bool) {
				require.Contains(t, names, n)
				asked++
				i := (turn + asked*int(salt)) % (len(values) + 1)
				if i == len(values) {
					return expr.Value{}, false
				}
				return stage[values[i]], true
			})
			if err != nil {
				require.False(t, ok)
				require.True(t, strings.HasPrefix(err.Error(), "keywords: expression: column "), err)
			}
		}
	})
}
