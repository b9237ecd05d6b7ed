package redisio

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
// key: in a cluster, keys with the same tag live on the same server.
func HashTag(parts ...string) string { return "{" + strings.Join(parts, ":") + "}" }
