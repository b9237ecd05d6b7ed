package geo_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway/geo"
)

func BenchmarkProjector(b *testing.B) {
	for _, code := range []geo.EPSG{3857, 3395, 32632, 2154, 3035, 28992, 2056, 5514, 31257} {
		p, err := geo.Lookup(code)
		require.NoError(b, err)
		x, y := p.Forward(9.5, 47.25)
		b.Run(code.String()+"/forward", func(b *testing.B) {
			for b.Loop() {
				p.Forward(9.5, 47.25)
			}
		})
		b.Run(code.String()+"/inverse", func(b *testing.B) {
			for b.Loop() {
				p.Inverse(x, y)
			}
		})
	}
}
