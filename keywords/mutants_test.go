package keywords_test

import (
	"testing"

	"github.com/heliograph/heliograph/storage/storagetest"
)

var mutants = []storagetest.Mutant{
	{
		Name: "a commit that does not check the fence", File: "wire.go",
		// The epoch is a fence too: without both, a dispatcher that was replaced can write.
		Changes: []string{
			"var luaCommit = redisio.NewScript(luaFence + `", "var luaCommit = redisio.NewScript(`",
			"if m[1] ~= ARGV[2] then return", "local replaced = (tonumber(m[1]) or 0) > tonumber(ARGV[2])\nif m[1] ~= ARGV[2] and not replaced then return",
			"if m[2] ~= ARGV[3] then return", "if m[2] ~= ARGV[3] and not replaced then return",
		},
	},
	{
		Name: "IfRevision is checked before the hook only", File: "commit.go",
		Changes: []string{"st.served.atLocked(st.only)", `st.served.atLocked("")`},
	},
}

// The schedules find defects that were made on purpose. In runs so far the first 50 have.
func TestMutantsAreCaught(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			m.Caught(t, "^TestHistoriesAreLinearizableInSchedules$", "500", "history: registers: not linearizable (Illegal)")
		})
	}
}
