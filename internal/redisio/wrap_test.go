package redisio_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
)

func TestWrapNamesThePackageOnce(t *testing.T) {
	none := errors.New("bus: no workers")
	err := redisio.Wrap("bus: call add", none)
	require.EqualError(t, err, "bus: call add: no workers")
	require.ErrorIs(t, err, none)
	require.EqualError(t, redisio.Wrap("keywords: stage", fmt.Errorf("%w, twice", none)), "keywords: stage: bus: no workers, twice")
}
