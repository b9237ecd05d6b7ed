package expr_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords/internal/expr"
)

func TestParseErrors(t *testing.T) {
	nested := func(n int, open, end string) string {
		return strings.Repeat(open, n) + "$X" + strings.Repeat(end, n)
	}
	for text, want := range map[string]string{
		``:                            "column 1: the expression ends, want a value",
		`  `:                          "column 3: the expression ends, want a value",
		`$a.X >`:                      "column 7: the expression ends, want a value",
		`$a.X > > 3`:                  `column 8: found ">", want a value`,
		`$a.X 3`:                      `column 6: found "3", want an operator`,
		`$a.X == Hello World`:         `column 15: found "World", want an operator`,
		`($a.X > 3`:                   "column 10: the expression ends, want )",
		`$a.X > 3)`:                   `column 9: found ")", want an operator`,
		`$a.X == in`:                  `column 9: found "in", want a value`,
		`1 + not $a.X`:                `column 5: found "not", want a value`,
		`$a.X not 3`:                  `column 10: found "3", want in`,
		`$a.X in 3`:                   `column 9: found "3", want (`,
		`$a.X in ()`:                  `column 10: found ")", want a value`,
		`$a.X in (1 2)`:               `column 12: found "2", want , or )`,
		`$a.X in (1,`:                 "column 12: the expression ends, want a value",
		`0 < $a.X < 3`:                "column 10: a comparison of a comparison: join two with and",
		`$a.X == $a.Y == true`:        "column 14: a comparison of a comparison: join two with and",
		`$a.X in (1) in (2)`:          "column 13: a comparison of a comparison: join two with and",
		`$a.X % 2 == 1`:               "column 6: unexpected '%'",
		`ärger`:                       "column 1: unexpected 'ä'",
		`'ä' == ärger`:                "column 8: unexpected 'ä'",
		`$a.X == 'abc`:                "column 9: string without closing quote",
		`$a.X == 'a\q'`:               `column 9: bad escape in a string: "\\q'"`,
		`$a.X == 'a\`:                 `column 9: bad escape in a string: "\\"`,
		`$a.X > 5mm`:                  "column 8: 5mm is not a number; a string needs quotes",
		`$a.X > 1.2.3`:                "column 8: 1.2.3 is not a number; a string needs quotes",
		`$a.X > 1_000`:                "column 8: 1_000 is not a number; a string needs quotes",
		`$a.X > 1_0.5`:                "column 8: 1_0.5 is not a number; a string needs quotes",
		`$a.X > 0xg`:                  "column 8: 0xg is not a number; a string needs quotes",
		`$a.X > 0x1p2`:                "column 8: 0x1p2 is not a number; a string needs quotes",
		`$a.X > 0x`:                   "column 8: 0x is not a number; a string needs quotes",
		`$a.X > .`:                    "column 8: . is not a number; a string needs quotes",
		`$a.X > 1e999`:                "column 8: 1e999 is beyond float64",
		`$a.X > 9223372036854775808`:  "column 8: 9223372036854775808 is beyond 64 bits",
		`$a.X > -9223372036854775809`: "column 9: -9223372036854775809 is beyond 64 bits",
		`$a.X > 0x8000000000000000`:   "column 8: 0x8000000000000000 is beyond 64 bits",
		`$X > 3`:                      "column 1: $X names no service: $service.X",
		`$ > 3`:                       `column 1: "" is not a keyword's name: want letters, digits, '_' and '-', which can't be first`,
		`${a.} > 3`:                   `column 1: "" is not a keyword's name: want letters, digits, '_' and '-', which can't be first`,
		`${a.-X} > 3`:                 `column 1: "-X" is not a keyword's name: want letters, digits, '_' and '-', which can't be first`,
		`${a.X.Y} > 3`:                `column 1: "X.Y" is not a keyword's name: want letters, digits, '_' and '-', which can't be first`,
		`${ a.X } > 3`:                `column 1: service " a": want lower-case letters, digits, '_' and '-', which can't be first`,
		`${.X} > 3`:                   `column 1: service "": want lower-case letters, digits, '_' and '-', which can't be first`,
		`1 < ${a.X`:                   "column 5: ${ without }",
		`$Stage.X > 3`:                `column 1: service "Stage": want lower-case letters, digits, '_' and '-', which can't be first`,
		`$my-stage.X > 3`:             "column 1: a name with '-' needs braces, as ${service.KEYWORD}",
		`$a.X[-1] > 3`:                `column 6: found "-", want the number of an element, from 0`,
		`$a.X[1.0] > 3`:               `column 6: found "1.0", want the number of an element, from 0`,
		`$a.X['1'] > 3`:               `column 6: found "1", want the number of an element, from 0`,
		`$a.X[4294967296] > 3`:        `column 6: found "4294967296", want the number of an element, from 0`,
		`$a.X[1 > 3`:                  `column 8: found ">", want ]`,
		`ascii($a.X[1]) == x`:         "column 1: ascii takes a whole keyword",
		`ascii(3) == x`:               `column 7: found "3", want a keyword`,
		`ascii($a.X == x`:             `column 12: found "==", want )`,
		`1 == 1`:                      "column 1: no keyword; one begins with $",
		`true`:                        "column 1: no keyword; one begins with $",
		// what can't be right whatever the values are
		`SPEED > 3`:                         "column 7: 'SPEED' > 3: a number does not compare with a string; a keyword begins with $",
		`$a.X and 3 < a`:                    "column 12: 3 < 'a': a number does not compare with a string; a keyword begins with $",
		`$a.X and 3 < 'a'`:                  "column 12: 3 < 'a': a number does not compare with a string",
		`$a.X and SPEED`:                    "column 10: 'SPEED' is a string, not a condition",
		`$a.X + 1`:                          "column 6: (…) is a number, not a condition",
		`not $a.X + 1`:                      "column 10: (…) is a number, not a condition",
		`-$a.X`:                             "column 1: (…) is a number, not a condition",
		`not 3 and $a.X`:                    "column 5: 3 is a number, not a condition",
		`ascii($a.X) or $a.Y`:               "column 1: ascii($a.X) is a string, not a condition",
		`$a.X or $a.Y or $a.Z * 2`:          "column 22: (…) is a number, not a condition",
		`$a.X > -'a'`:                       "column 8: -'a': a string is not a number",
		`$a.X > 1 / 0`:                      "column 10: 1 / 0: division by zero",
		`$a.X > 1 / 0.0`:                    "column 10: 1 / 0: division by zero",
		`$a.X > 9223372036854775807 + 1`:    "column 28: 9223372036854775807 + 1: beyond 64 bits",
		`true > false and $a.X`:             "column 6: true > false: a boolean is not less or greater",
		`1 has 1 and $a.X`:                  "column 3: 1 has 1: a number is not a mask",
		`ascii($a.X) > 3`:                   "column 13: ascii($a.X) > 3: a number does not compare with a string",
		`ascii($a.X) in (1, $a.Y)`:          "column 13: ascii($a.X) in 1: a number does not compare with a string",
		`$a.X + 1 not in (on, 1)`:           "column 10: (…) in 'on': a number does not compare with a string; a keyword begins with $",
		`$a.X + 1 == 'a'`:                   "column 10: (…) == 'a': a number does not compare with a string",
		`$a.X / 2 == $a.Y / 2 + ($a.X > 1)`: "column 22: (…) + (…): a boolean is not a number",
		`-($a.X and $a.Y) > 2`:              "column 1: -(…): a boolean is not a number",
		`($a.X > 1) == open`:                "column 12: (…) == 'open': not a word for true or false",
		`$a.X * 2 has 1`:                    "column 10: (…) has 1: a number is not a mask",
		nested(expr.MaxDepth+1, "(", ")"):   "column 65: nested deeper than 64",
		nested(expr.MaxDepth+1, "!", ""):    "column 65: nested deeper than 64",
		"0 < " + nested(65, "-", ""):        "column 69: nested deeper than 64",
		nested(300, "(not -", ")"):          "column 128: nested deeper than 64",
	} {
		_, err := expr.Parse(text, expr.Options{})
		require.EqualError(t, err, "keywords: expression: "+want, text)
	}

	_, err := expr.Parse(strings.Repeat(" ", expr.MaxLen+1), expr.Options{})
	require.EqualError(t, err, "keywords: expression of 4097 bytes, the limit is 4096")
	_, err = expr.Parse("$a.X == '\xff'", expr.Options{})
	require.EqualError(t, err, "keywords: expression is not UTF-8")
	_, err = expr.Parse("$X", expr.Options{Service: "Stage"})
	require.EqualError(t, err, `keywords: expression: default service "Stage": want lower-case letters, digits, '_' and '-', which can't be first`)
}

func TestEvalErrors(t *testing.T) {
	for text, want := range map[string]string{
		`$SPEED == 'x'`:            "column 8: $stage.SPEED == 'x': a number does not compare with a string",
		`$SPEED == x`:              "column 8: $stage.SPEED == 'x': a number does not compare with a string; a keyword begins with $",
		`$SPEED == '3.5'`:          "column 8: $stage.SPEED == '3.5': a number does not compare with a string",
		`3 == $NAME`:               "column 3: 3 == $stage.NAME: a number does not compare with a string",
		`$SPEED == true`:           "column 8: $stage.SPEED == true: a number does not compare with a boolean",
		`$COUNT == true`:           "column 8: $stage.COUNT == true: a number does not compare with a boolean",
		`$ON == 2`:                 "column 5: $stage.ON == 2: a number does not compare with a boolean",
		`$ON > no`:                 "column 5: $stage.ON > 'no': a boolean is not less or greater; a keyword begins with $",
		`$ON == 'open'`:            "column 5: $stage.ON == 'open': not a word for true or false",
		`$ON == $MODE`:             "column 5: $stage.ON == $stage.MODE: an enumerated value does not compare with a boolean",
		`$MODE == 'trak'`:          "column 7: $stage.MODE == 'trak': no such enumerator",
		`$MODE in (slew, trak)`:    "column 7: $stage.MODE in 'trak': no such enumerator",
		`$MODE == $OTHER`:          "column 7: $stage.MODE == $stage.OTHER: the enumerators or bits differ; ascii(…) compares the text",
		`$MODE == $FLAGS`:          "column 7: $stage.MODE == $stage.FLAGS: an enumerated value does not compare with a mask",
		`$MODE + 1 > 2`:            "column 7: $stage.MODE + 1: an enumerated value is not a number",
		`$FLAGS has 'OPEN|shut'`:   "column 8: $stage.FLAGS has 'OPEN|shut': no bit 'shut'",
		`$FLAGS == 'shut'`:         "column 8: $stage.FLAGS == 'shut': no bit 'shut'",
		`$FLAGS > 1`:               "column 8: $stage.FLAGS > 1: a mask is not less or greater",
		`$FLAGS has 0`:             "column 8: $stage.FLAGS has 0: want one or more of 32 bits",
		`$FLAGS has ''`:            "column 8: $stage.FLAGS has '': want one or more of 32 bits",
		`$FLAGS has -1`:            "column 8: $stage.FLAGS has -1: want one or more of 32 bits",
		`$FLAGS has 4294967296`:    "column 8: $stage.FLAGS has 4294967296: want one or more of 32 bits",
		`$FLAGS has 1.0`:           "column 8: $stage.FLAGS has 1: a number does not name bits",
		`$MODE has 1`:              "column 7: $stage.MODE has 1: an enumerated value is not a mask",
		`$POS == 3`:                "column 6: $stage.POS == 3: an array compares by its elements, $…[0], or its text, ascii($…)",
		`$SPEED[0] == 3`:           "column 1: $stage.SPEED is a number, not an array",
		`$POS[0] == 'a'`:           "column 9: $stage.POS[0] == 'a': a number does not compare with a string",
		`$RAW == 3`:                "column 6: $stage.RAW == 3: a number does not compare with a string of bytes",
		`$RAW < 'a'`:               "column 6: $stage.RAW < 'a': a string of bytes is not less or greater",
		`$NAME + 1 == 2`:           "column 7: $stage.NAME + 1: a string is not a number",
		`-$NAME == 2`:              "column 1: -$stage.NAME: a string is not a number",
		`$COUNT + 1 in (2, $NAME)`: "column 12: (…) in $stage.NAME: a number does not compare with a string",
		`1 / $ZERO > 1`:            "column 3: 1 / $stage.ZERO: division by zero",
		`$SPEED / $ZERO > 1`:       "column 8: $stage.SPEED / $stage.ZERO: division by zero",
		`$MAX + 1 > 0`:             "column 6: $stage.MAX + 1: beyond 64 bits",
		`$MIN - 1 < 0`:             "column 6: $stage.MIN - 1: beyond 64 bits",
		`-$MIN > 0`:                "column 1: -$stage.MIN: beyond 64 bits",
		`$MAX * 2 > 0`:             "column 6: $stage.MAX * 2: beyond 64 bits",
		`$MIN * -1 > 0`:            "column 6: $stage.MIN * -1: beyond 64 bits",
		`-1 * $MIN > 0`:            "column 4: -1 * $stage.MIN: beyond 64 bits",
		`$MIN / -1 > 0`:            "column 6: $stage.MIN / -1: beyond 64 bits",
		`$SPEED`:                   "column 1: $stage.SPEED is a number, not a condition",
		`not $MODE`:                "column 5: $stage.MODE is an enumerated value, not a condition",
		`$POS[0] or $ON`:           "column 1: $stage.POS[0] is a number, not a condition",
		`$NONE == 3`:               "column 7: $stage.NONE == 3: a value of no kind does not compare with a number",
		// a mistake isn't hidden by what has no value
		`$MISSING or $SPEED`:        "column 13: $stage.SPEED is a number, not a condition",
		`$MISSING and $SPEED`:       "column 14: $stage.SPEED is a number, not a condition",
		`$SPEED or $ON`:             "column 1: $stage.SPEED is a number, not a condition",
		`$COUNT in ($MISSING, 'a')`: "column 8: $stage.COUNT in 'a': a number does not compare with a string",
	} {
		_, err := eval(t, text, expr.Options{Service: "stage"})
		require.EqualError(t, err, "keywords: expression: "+want, text)
		require.NotErrorIs(t, err, expr.ErrNoValue)
	}
}

func TestWithoutValue(t *testing.T) {
	opts := expr.Options{Service: "stage"}
	for text, want := range map[string]string{
		`$MISSING`:                    "column 1: $stage.MISSING has no value",
		`$SPEED > 3 and $away.X == 1`: "column 16: $away.X has no value",
		`not $MISSING`:                "column 5: $stage.MISSING has no value",
		`1 < -$MISSING * 2`:           "column 6: $stage.MISSING has no value",
		`ascii($MISSING) == ''`:       "column 1: ascii($stage.MISSING) has no value",
		`$POS[3] > 1`:                 "column 1: $stage.POS[3] has no value",
		`$NAMES[2] == a`:              "column 1: $stage.NAMES[2] has no value",
		`$COUNTS[2147483647] == 1`:    "column 1: $stage.COUNTS[2147483647] has no value",
		`$MISSING and $ON`:            "column 1: $stage.MISSING has no value",
		`$MISSING or $OFF`:            "column 1: $stage.MISSING has no value",
		`$MISSING or $away.X`:         "column 1: $stage.MISSING has no value",
		`$MISSING in (1, 2)`:          "column 1: $stage.MISSING has no value",
		`$COUNT in (1, $MISSING)`:     "column 15: $stage.MISSING has no value",
		`$COUNT not in (1, $MISSING)`: "column 19: $stage.MISSING has no value",
	} {
		_, err := eval(t, text, opts)
		require.EqualError(t, err, "keywords: expression: "+want, text)
		require.ErrorIs(t, err, expr.ErrNoValue)
	}
	for text, want := range map[string]bool{ // where it doesn't matter
		`$MISSING or $ON`:                   true,
		`$ON or $MISSING`:                   true,
		`$MISSING and $OFF`:                 false,
		`$OFF and $MISSING`:                 false,
		`not ($MISSING > 3 and $SPEED > 4)`: true,
		`$COUNT in ($MISSING, 7)`:           true,
		`$COUNT not in ($MISSING, 7)`:       false,
	} {
		got, err := eval(t, text, opts)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
}
