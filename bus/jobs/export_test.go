package jobs

import (
	"strings"

	"github.com/heliograph/heliograph/internal/redisio"
)

// ClaimByIdle makes workers claim the entries of others whether their leases have ended
// or not, until restore is called.
func ClaimByIdle() (restore func()) {
	right := luaBeat
	luaBeat = redisio.NewScript(strings.Replace(luaBeatSource, "not (ends and tonumber(ends) >= time)", "true", 1))
	return func() { luaBeat = right }
}
