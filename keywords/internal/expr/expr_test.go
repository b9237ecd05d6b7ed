package expr_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords/internal/expr"

	"github.com/heliograph/heliograph/storage/storagetest"
)

var (
	modes      = []expr.Label{{Name: "Idle", Number: 0}, {Name: "slew", Number: 1}, {Name: "track", Number: 2}, {Name: "Ready", Number: 7}}
	otherModes = []expr.Label{{Name: "Idle", Number: 0}, {Name: "track", Number: 1}}
	flags      = []expr.Label{{Name: "OPEN", Number: 1}, {Name: "Homed", Number: 2}, {Name: "limit", Number: 1 << 31}}
)

// stage is the service of these tests. MISSING and what isn't here has no value.
var stage = map[string]expr.Value{
	"SPEED":  expr.NewValue(3.5, "3.5"),
	"WHOLE":  expr.NewValue(4.0, "4"),
	"COUNT":  expr.NewValue(int64(7), "7"),
	"ZERO":   expr.NewValue(int64(0), "0"),
	"BIG":    expr.NewValue(int64(1<<53+1), "9007199254740993"),
	"BIGF":   expr.NewValue(float64(1<<53), "9007199254740992"),
	"MAX":    expr.NewValue(int64(math.MaxInt64), "9223372036854775807"),
	"MIN":    expr.NewValue(int64(math.MinInt64), "-9223372036854775808"),
	"TWO63":  expr.NewValue(float64(1<<63), "9.223372036854776e+18"),
	"NAN":    expr.NewValue(math.NaN(), "NaN"),
	"INF":    expr.NewValue(math.Inf(1), "Inf"),
	"NAME":   expr.NewValue("M 31 Ärger", "M 31 Ärger"),
	"EMPTY":  expr.NewValue("", ""),
	"ON":     expr.NewValue(true, "true"),
	"OFF":    expr.NewValue(false, "false"),
	"MODE":   expr.Enumerated(2, modes, "track"),
	"MODE2":  expr.Enumerated(1, modes, "slew"),
	"OTHER":  expr.Enumerated(1, otherModes, "track"),
	"FLAGS":  expr.Mask(1|1<<31, flags, "OPEN|limit"),
	"FLAGS2": expr.Mask(0, flags, ""),
	"POS":    expr.NewValue([]float64{0.5, 1, 2.5}, "0.5 1 2.5"),
	"COUNTS": expr.NewValue([]int64{1, 1<<53 + 1}, "1 9007199254740993"),
	"LAMPS":  expr.NewValue([]bool{true, false}, "true false"),
	"BEAMS":  expr.Booleans([]bool{true, false}, []expr.Label{{Name: "Out", Number: 0}, {Name: "In", Number: 1}}, "true false"),
	"NAMES":  expr.NewValue([]string{"a", "B"}, "a B"),
	"RAW":    expr.NewValue([]byte("\x00\xff"), "AP8="),
	"A-B":    expr.NewValue(int64(1), "1"),
	"NONE":   expr.NewValue(3, "3"),
}

func lookup(n expr.Name) (expr.Value, bool) {
	if n.Service != "stage" && n.Service != "my-stage_2" {
		return expr.Value{}, false
	}
	v, ok := stage[n.Keyword]
	return v, ok
}

func parse(t *testing.T, text string, opts expr.Options) *expr.Expr {
	t.Helper()
	e, err := expr.Parse(text, opts)
	require.NoError(t, err, text)
	return e
}

func eval(t *testing.T, text string, opts expr.Options) (bool, error) {
	t.Helper()
	return parse(t, text, opts).Eval(lookup)
}

func TestTrueAndFalse(t *testing.T) {
	for text, want := range map[string]bool{
		// as users of KTL write them
		`$stage.SPEED > 3 and $stage.MODE == 'track'`: true,
		`($stage.MODE == track)`:                      true,
		`$stage.MODE >= Ready`:                        false,
		`$NAME != "M 33"`:                             true,
		`$mode=TRACK`:                                 true,
		`${stage.MODE} == 'track'`:                    true,
		`${my-stage_2.a-b} == 1`:                      true,
		// arrays of booleans
		`$LAMPS[0]`:                     true,
		`$LAMPS[1] == off`:              true,
		`$BEAMS[0] == IN`:               true,
		`$BEAMS[1] != 'In'`:             true,
		`not $BEAMS[1]`:                 true,
		`ascii($BEAMS) == 'true false'`: true,
		// numbers
		`$SPEED == 3.5`:                     true,
		`$SPEED != 3.5`:                     false,
		`$SPEED < 3.5`:                      false,
		`$SPEED <= 3.5`:                     true,
		`$SPEED >= 3.50`:                    true,
		`$SPEED > .5e+1`:                    false,
		`$WHOLE == 4`:                       true,
		`$COUNT == 7.0`:                     true,
		`$COUNT == 0x7`:                     true,
		`$COUNT > -0x10`:                    true,
		`$COUNT == 1E1 - 3`:                 true,
		`-$COUNT == -7`:                     true,
		`- - $COUNT == 7`:                   true,
		`--7 == $COUNT`:                     true,
		`$BIG == 9007199254740993`:          true,
		`$BIG == 9007199254740992`:          false,
		`$BIG > $BIGF`:                      true,
		`$BIGF < $BIG`:                      true,
		`$BIG == $BIGF`:                     false,
		`$MAX < $TWO63`:                     true,
		`$TWO63 > $MAX`:                     true,
		`$MAX == 9223372036854775807`:       true,
		`$MIN == -9223372036854775808`:      true,
		`$MIN == -9223372036854775808.0`:    true,
		`$MIN > -1e19`:                      true,
		`$MAX < $INF and $MIN > -$INF`:      true,
		`$COUNT < 7.5 and $COUNT > 6.5`:     true,
		`-$COUNT > -7.5 and -$COUNT < -6.5`: true,
		// NaN
		`$NAN == $NAN`: false,
		`$NAN != $NAN`: true,
		`$NAN < 1 or $NAN > 1 or $NAN <= 1 or $NAN >= 1`: false,
		`$COUNT < $NAN or $COUNT >= $NAN`:                false,
		`$NAN in (1, 2)`:                                 false,
		// arithmetic and its precedence
		`1 + 2 * 3 == $COUNT`:          true,
		`(1 + 2) * 3 == $COUNT + 2`:    true,
		`10 - 2 - 1 == $COUNT`:         true,
		`84 / 6 / 2 == $COUNT`:         true,
		`$COUNT / 2 == $SPEED`:         true,
		`$COUNT*2-$COUNT/7 == 13`:      true,
		`-$COUNT + 8 == 1`:             true,
		`2 * -$COUNT == -14`:           true,
		`$SPEED + 0.5 == 4`:            true,
		`$SPEED - 1 == 2.5`:            true,
		`$SPEED * 2 == $COUNT`:         true,
		`$SPEED / 2 == 1.75`:           true,
		`$BIG - 1 == 9007199254740992`: true,
		`$MAX / 7 * 7 == $MAX`:         true,
		// and, or, not: not binds looser than comparisons, and tighter than or
		`$ON or $OFF and $OFF`:           true,
		`($ON or $OFF) and $OFF`:         false,
		`not $COUNT == 7`:                false,
		`not $OFF and $OFF`:              false,
		`not ($OFF and $OFF)`:            true,
		"\t$ON\r\n and\v$ON\f":           true,
		`not not $ON`:                    true,
		`!$OFF && !($COUNT < 7) || $OFF`: true,
		`! $COUNT == 7 || $ON`:           true,
		`$ON and not $OFF`:               true,
		`true and $ON`:                   true,
		`$ON and false`:                  false,
		`($COUNT == 7) == $ON`:           true,
		`($COUNT == 7) != true`:          false,
		// booleans and their words
		`$ON == true`:   true,
		`$OFF == false`: true,
		`$ON == yes and $ON == 'ON' and $ON == T and $ON == True`:      true,
		`$ON == Y and $ON == '1' and $ON == 1`:                         true,
		`$OFF == no and $OFF == "Off" and $OFF == F and $OFF == FALSE`: true,
		`$OFF == N and $OFF == '0' and 0 == $OFF`:                      true,
		`$ON != off and no != $ON`:                                     true,
		`$ON != $OFF`:                                                  true,
		// strings
		`$NAME == 'M 31 Ärger'`:      true,
		`$NAME == 'm 31 ärger'`:      false,
		`'M 31 \u00c4rger' == $NAME`: true,
		`$NAME > "M 3"`:              true,
		`$NAME < N`:                  true,
		`$EMPTY == ''`:               true,
		`$EMPTY < $NAME`:             true,
		`$NAME != "\"\t\\'"`:         true,
		`ascii($NAME) == $NAME`:      true,
		// enumerated
		`$MODE == 'track'`:               true,
		`$MODE == 2`:                     true,
		`$MODE == 2.0`:                   true,
		`'TRACK' == $MODE`:               true,
		`$MODE != slew`:                  true,
		`$MODE > slew and $MODE < Ready`: true,
		`Ready >= $MODE`:                 true,
		`$MODE > $MODE2`:                 true,
		`ascii($MODE) == ascii($OTHER)`:  true,
		`ascii($MODE) == 'TRACK'`:        false,
		`$MODE > 1.5`:                    true,
		// masks
		`$FLAGS has 'OPEN'`:              true,
		`$FLAGS has open`:                true,
		`$FLAGS has homed`:               false,
		`$FLAGS has 'OPEN|Homed'`:        false,
		`$FLAGS has 'limit, open'`:       true,
		`$FLAGS has 0x80000001`:          true,
		`$FLAGS has 3`:                   false,
		`not $FLAGS has Homed`:           true,
		`$FLAGS == 'OPEN|limit'`:         true,
		`$FLAGS == OPEN`:                 false,
		`$FLAGS == 2147483649`:           true,
		`$FLAGS2 == '' and $FLAGS2 == 0`: true,
		`$FLAGS != $FLAGS2`:              true,
		// arrays
		`$POS[0] == 0.5 and $POS[2] > $POS[1]`: true,
		`$COUNTS[1] == 9007199254740993`:       true,
		`$COUNTS [ 0 ] == 1`:                   true,
		`$NAMES[1] == B`:                       true,
		`$POS[2] * 2 == 5`:                     true,
		`ascii($POS) == "0.5 1 2.5"`:           true,
		// bytes
		`$RAW == '\x00\xff'`:    true,
		`"\xff" != $RAW`:        true,
		`$RAW == $RAW`:          true,
		`ascii($RAW) == 'AP8='`: true,
		// in
		`$MODE in (slew, 'track')`:      true,
		`$MODE in(1,2)`:                 true,
		`$COUNT not in (1, 2, 3)`:       true,
		`$COUNT in (1, $COUNTS[0] + 6)`: true,
		`not $COUNT in (7)`:             false,
		`$SPEED + 0.5 in (4) and $ON`:   true,
		`3.5 in ($COUNT, $SPEED)`:       true,
	} {
		got, err := eval(t, text, expr.Options{Service: "stage"})
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
}

func TestIgnoresCaseOfStrings(t *testing.T) {
	for text, want := range map[string][2]bool{ // with the case, without
		`$NAME == 'm 31 äRGER'`:              {false, true},
		`$NAME != 'm 31 äRGER'`:              {true, false},
		`$NAME < a`:                          {true, false},
		`$NAMES[0] >= 'A' and $NAMES[0] < b`: {true, true},
		`$NAMES[1] < a`:                      {true, false},
		`$NAMES[1] in (a, b)`:                {false, true},
		`ascii($MODE) == 'TRACK'`:            {false, true},
		`$NAME > 'm 3'`:                      {false, true},
		`$RAW == '\x00\xff'`:                 {true, true},
		`$MODE == TRACK`:                     {true, true},
		`$ON and a == 'A'`:                   {false, true},
	} {
		for i, ignore := range []bool{false, true} {
			got, err := eval(t, text, expr.Options{Service: "stage", IgnoreCase: ignore})
			require.NoError(t, err, text)
			require.Equal(t, want[i], got, "%s, ignoring case: %t", text, ignore)
		}
	}
}

func TestFoldsAsEqualFold(t *testing.T) {
	storagetest.Long(t)
	for r := rune(0); r <= unicode.MaxRune; r++ {
		f := expr.FoldRune(r)
		require.True(t, strings.EqualFold(string(r), string(f)), "%U folds to %U", r, f)
		require.Equal(t, f, expr.FoldRune(unicode.SimpleFold(r)), "%U", r)
	}
}

func TestNames(t *testing.T) {
	e := parse(t, `$b.TWO > 1 and ($ONE or ${b.x-y}) and $b.two in ($b.TWO, $a.ONE) and ascii($c.Z_9) == $a.ONE`, expr.Options{Service: "a"})
	require.Equal(t, []expr.Name{{"b", "TWO"}, {"a", "ONE"}, {"b", "X-Y"}, {"c", "Z_9"}}, e.Names())

	e = parse(t, `true or $a.X`, expr.Options{})
	require.Equal(t, []expr.Name{{"a", "X"}}, e.Names(), "what a constant decides is named all the same")
}

func TestLimitsAreInclusive(t *testing.T) {
	opts := expr.Options{Service: "stage"}
	deep := strings.Repeat("(", expr.MaxDepth) + "$ON" + strings.Repeat(")", expr.MaxDepth)
	long := "$ON" + strings.Repeat(" and $ON", 511) // a tree as deep as text can make it
	for _, text := range []string{deep, long, long + strings.Repeat(" ", expr.MaxLen-len(long))} {
		ok, err := eval(t, text, opts)
		require.NoError(t, err)
		require.True(t, ok)
	}
	ok, err := eval(t, strings.Repeat("(($ON)) and ", 100)+"$ON", opts)
	require.NoError(t, err)
	require.True(t, ok, "depth, not number")
}

func TestShortCircuit(t *testing.T) {
	for text, want := range map[string][]string{
		`$ON or $SPEED`:                     {"ON"},
		`$OFF and $SPEED`:                   {"OFF"},
		`$OFF and $SPEED and $COUNT or $ON`: {"OFF", "ON"},
		`$COUNT in (7, $SPEED)`:             {"COUNT"},
		`$ON and $OFF and $SPEED`:           {"ON", "OFF"},
		`true or $SPEED`:                    nil,
		`false and $SPEED`:                  nil,
	} {
		var seen []string
		_, err := parse(t, text, expr.Options{Service: "stage"}).Eval(func(n expr.Name) (expr.Value, bool) {
			seen = append(seen, n.Keyword)
			return lookup(n)
		})
		require.NoError(t, err, text)
		require.Equal(t, want, seen, text)
	}
}

// Whole numbers and floats compare as big.Float does, which rounds nothing.
func TestComparesExactly(t *testing.T) {
	e := parse(t, "$a.N < $a.F", expr.Options{})
	equal := parse(t, "$a.N == $a.F", expr.Options{})
	greater := parse(t, "$a.F < $a.N", expr.Options{})
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		n := int64(rnd.Uint64()) >> rnd.IntN(64)
		f := float64(n)
		switch rnd.IntN(4) {
		case 0:
			f = math.Nextafter(f, math.Inf(1))
		case 1:
			f = math.Nextafter(f, math.Inf(-1))
		case 2:
			f += 0.5
		}
		values := func(name expr.Name) (expr.Value, bool) {
			if name.Keyword == "N" {
				return expr.NewValue(n, ""), true
			}
			return expr.NewValue(f, ""), true
		}
		want := new(big.Float).SetPrec(64).SetInt64(n).Cmp(big.NewFloat(f))
		for i, e := range []*expr.Expr{e, equal, greater} {
			got, err := e.Eval(values)
			require.NoError(t, err)
			require.Equal(t, want == i-1, got, "%d and %v", n, f)
		}
	}
}

const hot = `$stage.SPEED * 2 > 3 and $stage.MODE in ('slew', 'track') and $stage.FLAGS has 'open|limit' and not $stage.NAME == 'm 31' and $stage.RAW != 'a' or $stage.POS[1] >= 2`

func TestEvalAllocatesNothing(t *testing.T) {
	for _, text := range []string{hot, "$stage.MISSING > 3 and $stage.SPEED > 3"} {
		e := parse(t, text, expr.Options{IgnoreCase: true})
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = e.Eval(lookup) }), text)
	}
}

func BenchmarkEval(b *testing.B) {
	for name, text := range map[string]string{"one": "$stage.SPEED > 3", "six": hot} {
		b.Run(name, func(b *testing.B) {
			e, err := expr.Parse(text, expr.Options{})
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = e.Eval(lookup)
			}
		})
	}
}
