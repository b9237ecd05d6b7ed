package storage

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the longest name that [CheckName] accepts, in bytes.
const MaxName = 255

// CheckName accepts what may stand in a key or channel: UTF-8 without spaces,
// control characters and the characters that mean something to Redis, globs
// (* ? [ ] \) and hash tags ({ }). The error quotes the name and says what is
// wrong with it.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("empty name")
	case len(name) > MaxName:
		return fmt.Errorf("name %q…: %d bytes, the limit is %d", name[:32], len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not UTF-8", name)
	}
	for _, r := range name {
		if strings.ContainsRune(`*?[]\{}`, r) || unicode.IsSpace(r) || unicode.IsControl(r) {
			return fmt.Errorf("name %q: %q is not allowed", name, r)
		}
	}
	return nil
}

// HashTag joins parts with colons and puts them in braces, for one part of a
// [Pool.Key]: in a cluster, keys with the same tag live on the same server.
func HashTag(parts ...string) string { return "{" + strings.Join(parts, ":") + "}" }

// Key joins parts with colons, behind the pool's prefix. Each must satisfy
// [CheckName], or be a [HashTag] of what does.
func (p *Pool) Key(parts ...string) (string, error) {
	if len(parts) == 0 {
		return "", fmt.Errorf("storage: key without parts")
	}
	for _, part := range parts {
		name := part
		if len(part) > 2 && part[0] == '{' && part[len(part)-1] == '}' {
			name = part[1 : len(part)-1]
		}
		if err := CheckName(name); err != nil {
			return "", fmt.Errorf("storage: key: %w", err)
		}
	}
	key := strings.Join(parts, ":")
	if p.cfg.Prefix != "" {
		key = p.cfg.Prefix + ":" + key
	}
	return key, nil
}
