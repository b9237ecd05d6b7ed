package control

import (
	"context"
	"errors"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/keywords"
)

// keywordOf returns the service and the keyword that a command names, if the client may do
// that with it.
func (cfg *Config) keywordOf(ctx context.Context, c *gateway.Conn, kind Kind, name string) (service, keyword string, err error) {
	if service, keyword, err = split(name); err != nil {
		return "", "", err
	}
	return service, keyword, cfg.authorize(ctx, c, Operation{Kind: kind, Service: service, Keyword: keyword})
}

// split returns the service and the keyword of service.KEYWORD.
func split(name string) (service, keyword string, err error) {
	service, keyword, ok := strings.Cut(name, ".")
	if !ok || service == "" || keyword == "" {
		return "", "", gateway.Errorf(gateway.CodeBadName, "want service.KEYWORD")
	}
	return service, strings.ToUpper(keyword), nil
}

// read is the command READ.
func (cfg *Config) read(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
	service, keyword, err := cfg.keywordOf(ctx, c, Read, r.Args[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	def, err := cfg.Keywords.Describe(ctx, service, keyword)
	if err != nil {
		return keywordsError(err)
	}
	v, err := keywords.ReadText(ctx, cfg.Keywords, service, keyword)
	if err != nil {
		return keywordsError(err)
	}
	return c.Reply(r, r.Args[0], typed(def, v))
}

// set is the command SET.
func (cfg *Config) set(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
	service, keyword, err := cfg.keywordOf(ctx, c, Set, r.Args[0])
	if err != nil {
		return err
	}
	o := keywords.ModifyOptions{Origin: origin(c)}
	if text, ok := r.Options["if"]; ok {
		if o.IfRevision, err = keywords.ParseRevision(text); err != nil {
			return gateway.Errorf(gateway.CodeBadCommand, "if: not a revision")
		}
	}
	ctx, cancel, err := bounded(ctx, r, cfg.Timeout)
	if err != nil {
		return err
	}
	defer cancel()
	rev, err := keywords.ModifyText(ctx, cfg.Keywords, service, keyword, r.Args[1], o)
	if err != nil {
		return keywordsError(err)
	}
	return c.Reply(r, r.Args[0], map[string]any{"revision": rev})
}

var host = sync.OnceValue(func() string {
	name, _ := os.Hostname()
	return strings.NewReplacer("/", "-", "@", "-").Replace(name)
})

// origin returns the client as the origin of what it sets.
func origin(c *gateway.Conn) keywords.Origin {
	return keywords.Origin{User: strings.ReplaceAll(c.Principal().Name, "/", "_"), Host: host(), PID: os.Getpid(), Program: "gateway"}
}

// watch is the command WATCH.
func (cfg *Config) watch(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
	service, pattern, one := strings.Cut(r.Args[0], ".")
	if !one {
		pattern = "*"
	}
	pattern = strings.ToUpper(pattern)
	defs, all, err := cfg.watched(ctx, c, service, pattern)
	if err != nil {
		return err
	}
	if !all {
		var names []string
		for name := range defs {
			names = append(names, name)
		}
		pattern = strings.Join(names, ",")
	}
	isAnother := newPrincipal(c)
	for ev, err := range keywords.WatchText(ctx, cfg.Keywords, service, pattern) {
		if err != nil {
			return keywordsError(err)
		}
		if isAnother() {
			for name := range defs {
				if err := cfg.authorize(ctx, c, Operation{Kind: Read, Service: service, Keyword: name}); err != nil {
					return err
				}
			}
		}
		if ev.Definition != nil {
			defs[ev.Keyword] = *ev.Definition
		}
		def, ok := defs[ev.Keyword]
		if !ok { // it was defined meanwhile
			if cfg.authorize(ctx, c, Operation{Kind: Read, Service: service, Keyword: ev.Keyword}) != nil {
				continue
			}
			if def, err = cfg.Keywords.Describe(ctx, service, ev.Keyword); err != nil {
				return keywordsError(err)
			}
			defs[ev.Keyword] = def
		}
		if err := c.Reply(r, service+"."+ev.Keyword, typedEvent(def, ev)); err != nil {
			return err
		}
	}
	return nil
}

// watched returns the definitions of the keywords that a pattern matches and the client may
// read, and whether those are all that it matches.
func (cfg *Config) watched(ctx context.Context, c *gateway.Conn, service, pattern string) (defs map[string]keywords.Definition, all bool, err error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, false, gateway.Errorf(gateway.CodeBadName, "not a name or pattern")
	}
	defs, all = make(map[string]keywords.Definition), true
	bounded, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	known, err := cfg.Keywords.Keywords(bounded, service)
	if err != nil && !errors.Is(err, keywords.CodeUnknownService) {
		return nil, false, keywordsError(err)
	}
	for _, def := range known {
		if matched, _ := path.Match(pattern, def.Name); !matched {
			continue
		}
		if cfg.authorize(ctx, c, Operation{Kind: Read, Service: service, Keyword: def.Name}) != nil {
			all = false
			continue
		}
		defs[def.Name] = def
	}
	if len(defs) == 0 {
		return nil, false, gateway.Errorf(gateway.CodeForbidden, "not allowed, or there is none")
	}
	return defs, all, nil
}

// named finds the keywords of an expression. It also finds those in strings, which then
// must be allowed too.
var named = regexp.MustCompile(`\$(?:\{([^}]*)\}?|([A-Za-z0-9_.]*))`)

// wait is the command WAIT.
func (cfg *Config) wait(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
	for _, found := range named.FindAllStringSubmatch(r.Args[0], -1) {
		service, keyword, err := split(found[1] + found[2])
		if err != nil {
			return gateway.Errorf(gateway.CodeBadCommand, "want $service.KEYWORD")
		}
		if err := cfg.authorize(ctx, c, Operation{Kind: Read, Service: service, Keyword: keyword}); err != nil {
			return err
		}
	}
	ctx, cancel, err := bounded(ctx, r, 0)
	if err != nil {
		return err
	}
	defer cancel()
	switch err := keywords.WaitForExpr(ctx, cfg.Keywords, r.Args[0]); {
	case errors.Is(err, keywords.ErrExpression):
		return gateway.Errorf("expression", "%s", strings.TrimPrefix(err.Error(), "keywords: "))
	case err != nil:
		return keywordsError(err)
	}
	return nil
}

// services is the command SERVICES.
func (cfg *Config) services(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	all, err := cfg.Keywords.Services(ctx)
	if err != nil {
		return keywordsError(err)
	}
	for _, service := range all {
		if cfg.authorize(ctx, c, Operation{Kind: Describe, Service: service}) != nil {
			continue
		}
		if err := c.Reply(r, "services", service); err != nil {
			return err
		}
	}
	return nil
}

// describe is the command DESCRIBE.
func (cfg *Config) describe(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
	if err := cfg.authorize(ctx, c, Operation{Kind: Describe, Service: r.Args[0]}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	all, err := cfg.Keywords.Keywords(ctx, r.Args[0])
	if err != nil {
		return keywordsError(err)
	}
	return replyAll(c, r, r.Args[0], all)
}
