package keywords_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestAllowIsGivenTheOrigin(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var by keywords.Origin
		run(t, pool, keywords.DispatcherConfig{Allow: func(_ context.Context, o keywords.Origin, keyword string) error {
			if by = o; keyword == "MODE" {
				return errors.New("not you")
			}
			return nil
		}}, nil).wait()
		for _, o := range []keywords.Origin{
			{User: "ann", Host: "ws1", PID: 12, Program: "gui"},
			{User: `OBS\ann@site`, Host: "::1", Program: "bin/gui@2:1"},
			{PID: 7},
		} {
			k, err := keywords.NewClient(pool, keywords.ClientConfig{Origin: o})
			require.NoError(t, err)
			_, err = keywords.Modify(t.Context(), k, Speed, 2)
			require.NoError(t, err)
			require.Equal(t, o, by)
			v, err := keywords.Read(t.Context(), k, Speed)
			require.NoError(t, err)
			require.Equal(t, o.String(), v.Source)
			_, err = keywords.Modify(t.Context(), k, ModeOf, Slew)
			require.ErrorIs(t, err, keywords.CodeNotAllowed)
			require.NoError(t, k.Close())
		}
		k, err := keywords.NewClient(pool, keywords.ClientConfig{})
		require.NoError(t, err)
		defer k.Close()
		for _, name := range []string{"ada", "bob"} { // one client sets for several
			o := keywords.ModifyOptions{Origin: keywords.Origin{User: name, Program: "gateway"}}
			_, err := keywords.Modify(t.Context(), k, Speed, 3, o)
			require.NoError(t, err)
			require.Equal(t, o.Origin, by)
			_, err = keywords.ModifyText(t.Context(), k, "stage", "SPEED", "4", o)
			require.NoError(t, err)
			_, err = keywords.ModifyAsync(t.Context(), k, Speed, 5, o).Wait(t.Context())
			require.NoError(t, err)
			_, err = keywords.ModifyMany(t.Context(), k, Speed.To(6, o))
			require.NoError(t, err)
			v, err := keywords.Read(t.Context(), k, Speed)
			require.NoError(t, err)
			require.Equal(t, o.Origin.String(), v.Source)
		}
		_, err = keywords.ModifyMany(t.Context(), k, Speed.To(6), ModeOf.To(Idle, keywords.ModifyOptions{Origin: keywords.Origin{User: "ada"}}))
		require.ErrorContains(t, err, "ModifyOptions.Origin")
		_, err = keywords.Modify(t.Context(), k, Speed, 3, keywords.ModifyOptions{Origin: keywords.Origin{User: "a/b"}})
		require.ErrorContains(t, err, "ModifyOptions.Origin.User")

		_, err = keywords.NewClient(pool, keywords.ClientConfig{Origin: keywords.Origin{Host: "a/b"}})
		require.ErrorContains(t, err, "Origin.Host")
	})
}
