package keywords

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Origin says which user and program a client is. User and Host must not contain '/',
// and Host must not contain '@'.
type Origin struct {
	User    string
	Host    string
	PID     int
	Program string
}

// String returns user@host:pid/program, or "" for the zero Origin.
func (o Origin) String() string {
	if o == (Origin{}) {
		return ""
	}
	return o.User + "@" + o.Host + ":" + strconv.Itoa(o.PID) + "/" + o.Program
}

// check returns an error if parseOrigin could not read what String returns.
func (o Origin) check(options string) error {
	switch {
	case strings.Contains(o.User, "/"):
		return fmt.Errorf("keywords: %s.Origin.User: '/' is not allowed", options)
	case strings.ContainsAny(o.Host, "/@"):
		return fmt.Errorf("keywords: %s.Origin.Host: '/' and '@' are not allowed", options)
	}
	return nil
}

// parseOrigin reads what String returns. Of other text it returns the parts that it
// recognizes.
func parseOrigin(s string) (o Origin) {
	s, o.Program, _ = strings.Cut(s, "/")
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		o.PID, _ = strconv.Atoi(s[i+1:])
		s = s[:i]
	}
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		o.User, s = s[:i], s[i+1:]
	}
	o.Host = s
	return o
}

// thisProcess returns the Origin of this process.
var thisProcess = sync.OnceValue(func() Origin {
	o := Origin{PID: os.Getpid(), User: os.Getenv("USER")}
	o.Host, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		o.User = u.Username
	}
	if path, err := os.Executable(); err == nil {
		o.Program = filepath.Base(path)
	}
	return o
})
