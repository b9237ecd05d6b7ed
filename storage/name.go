package storage

import (
	"fmt"
	"strings"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Key joins the pool's prefix and parts with colons. Each part must be a name: UTF-8 of 1
// to 255 bytes without spaces, control characters and the characters of globs (* ? [ ] \)
// and hash tags ({ }). A part may be a name in braces: keys with the same name in braces
// are on the same server of a cluster.
func (p *Pool) Key(parts ...string) (string, error) {
	if len(parts) == 0 {
		return "", fmt.Errorf("storage: key without parts")
	}
	for _, part := range parts {
		name := part
		if len(part) > 2 && part[0] == '{' && part[len(part)-1] == '}' {
			name = part[1 : len(part)-1]
		}
		if err := redisio.CheckName(name); err != nil {
			return "", fmt.Errorf("storage: key: %w", err)
		}
	}
	key := strings.Join(parts, ":")
	if p.cfg.Prefix != "" {
		key = p.cfg.Prefix + ":" + key
	}
	return key, nil
}
