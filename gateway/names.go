package gateway

import (
	"slices"
	"strings"
)

// reserved are the beginnings of the names that the packages of this module give to their
// own keys and channels.
var reserved = []string{"kw:", "bus:", "pubsub:", "gateway:", "fws:", "jobs:"}

// reaches reports whether a glob may match a name behind a prefix of the host's. A glob
// that matches one of the reserved names doesn't reach it unless it begins with the same
// characters: whoever allows * doesn't mean the keywords of a telescope.
func reaches(prefix, glob, name string) bool {
	literal := glob
	if i := strings.IndexAny(glob, `*?[\`); i >= 0 {
		literal = glob[:i]
	}
	i := slices.IndexFunc(reserved, func(of string) bool { return strings.HasPrefix(prefix+name, of) })
	return i < 0 || strings.HasPrefix(prefix+literal, reserved[i])
}
