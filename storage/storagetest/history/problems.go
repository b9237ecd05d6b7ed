package history

import (
	"errors"
	"fmt"
	"strings"
)

// maxShown is the number of problems that an error names.
const maxShown = 10

// problems are what is wrong with a history.
type problems struct{ all []string }

func (p *problems) addf(format string, args ...any) {
	p.all = append(p.all, fmt.Sprintf(format, args...))
}

// err returns an error that names the first problems, or nil if there are none.
func (p *problems) err(what string) error {
	if len(p.all) == 0 {
		return nil
	}
	shown := p.all[:min(len(p.all), maxShown)]
	text := fmt.Sprintf("history: %s: %s", what, strings.Join(shown, "\n"))
	if n := len(p.all) - len(shown); n > 0 {
		text += fmt.Sprintf("\n… and %d more", n)
	}
	return errors.New(text)
}
