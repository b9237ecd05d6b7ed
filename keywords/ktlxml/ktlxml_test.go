package ktlxml_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/keywords/ktlxml"
)

const bundle = `<?xml version="1.0" encoding="UTF-8"?>
<!-- what a dispatcher of a dome may have -->
<bundle name="DISP1" service="Dome" id="1000" xmlns:xsi="http://www.w3.org/2001/XML-Schema-instance">
	<dispatcher><name>+service+_dispatch_1</name><host>dome1</host></dispatcher>
	<keyword id="1">
		<name>Azimuth</name>
		<type>double</type>
		<units>deg</units>
		<units type="formatted">h</units>
		<format>%6.2lf</format>
		<help level="brief">Where the slit is.</help>
		<help level="verbose">
			From north through east.
		</help>
		<range><minimum>-180</minimum><maximum> 180.0 </maximum></range>
		<capability type="write">False</capability>
		<conversion><secret/></conversion>
	</keyword>
	<keyword>
		<name>SHUTTER</name>
		<type>Enumerated</type>
		<values>
			<entry><key>0</key><value>Open</value></entry>
			<entry><key>1</key><value>Closed</value></entry>
			<entry><key>-1</key><value>Unknown</value></entry>
		</values>
		<serverside><initialize><use_cache>True</use_cache><value>closed</value></initialize></serverside>
	</keyword>
	<keyword>
		<name>FAULTS</name>
		<type>mask</type>
		<values>
			<entry><key>none</key><value>All well</value></entry>
			<entry><key>2</key><value>Overheated</value></entry>
			<entry><key>0</key><value>Stuck</value></entry>
		</values>
	</keyword>
	<keyword>
		<name>LIGHTS</name>
		<type>boolean</type>
		<values><entry><key>0</key><value>dark</value></entry><entry><key>1</key><value>lit</value></entry></values>
		<server-side><initialize><value>dark</value></initialize></server-side>
	</keyword>
	<keyword>
		<name>OFFSET</name>
		<type>float array</type>
		<elements><entry><label>north</label><units>mm</units></entry><entry><label>east</label></entry></elements>
		<range><minimum>-1</minimum></range>
	</keyword>
	<keyword>
		<name>STEPS</name>
		<type>integer array</type>
		<format>%04ld</format>
	</keyword>
	<keyword>
		<name>COUNT</name>
		<type>integer</type>
		<range/>
		<capability type="broadcast">no</capability>
		<capability type="colour">no</capability>
	</keyword>
	<keyword><name>NOTE</name><type>basic</type><serverside><initialize><value/></initialize></serverside></keyword>
	<keyword><name>GO</name><type>float</type><capabilities><capability type="read">0</capability></capabilities></keyword>
</bundle>`

func TestLoad(t *testing.T) {
	defs, err := ktlxml.Load(strings.NewReader(bundle))
	require.NoError(t, err)
	require.Len(t, defs, 9)
	azimuth, shutter, faults, lights, offset, steps, count, note, start := defs[0], defs[1], defs[2], defs[3], defs[4], defs[5], defs[6], defs[7], defs[8]

	for _, d := range defs {
		require.Equal(t, "dome", d.Service)
		require.Equal(t, "dome_dispatch_1", d.Dispatcher)
	}
	require.Equal(t, "dome.AZIMUTH", azimuth.String())
	require.Equal(t, keywords.KindDouble, azimuth.Kind)
	require.Equal(t, "deg", azimuth.Units)
	require.Equal(t, "Where the slit is.\nFrom north through east.", azimuth.Help)
	require.Equal(t, "%6.2f", azimuth.Format)
	require.Equal(t, " -0.50", azimuth.Display(-0.5))
	require.True(t, azimuth.ReadOnly)
	require.NoError(t, azimuth.Check(-180.0))
	require.NoError(t, azimuth.Check(180.0))
	require.ErrorIs(t, azimuth.Check(180.1), keywords.CodeRange)

	require.Equal(t, int64(1), shutter.Initial)
	require.True(t, shutter.Persist)
	require.Equal(t, "Unknown", shutter.Text(int64(-1)))

	require.Equal(t, []string{"Stuck", "", "Overheated"}, faults.Bits)
	require.Equal(t, "Stuck,Overheated", faults.Text(int64(5)))
	require.Equal(t, "none", faults.Text(int64(0)))

	require.Equal(t, false, lights.Initial)
	require.Equal(t, "lit", lights.Display(true))
	require.False(t, lights.Persist)

	require.Equal(t, keywords.KindFloatArray, offset.Kind)
	require.Equal(t, []string{"north", "east"}, offset.Elements)
	require.NoError(t, offset.Check([]float64{0, -1}))
	require.ErrorIs(t, offset.Check([]float64{0}), keywords.CodeRange)
	require.ErrorIs(t, offset.Check([]float64{0, -1.5}), keywords.CodeRange)

	require.Equal(t, "0001 -002", steps.Display([]int64{1, -2}))
	require.True(t, count.NoBroadcast)
	require.Nil(t, count.Max)
	require.Equal(t, keywords.KindString, note.Kind)
	require.Equal(t, "", note.Initial)
	require.True(t, start.WriteOnly)
}

func TestLoadWithoutDispatcher(t *testing.T) {
	defs, err := ktlxml.Load(strings.NewReader(`<bundle service="s"><keyword><name>A</name><type>string</type></keyword></bundle>`))
	require.NoError(t, err)
	require.Equal(t, "main", defs[0].Dispatcher)
	defs, err = ktlxml.Load(strings.NewReader(`<bundle service="s"/>`))
	require.NoError(t, err)
	require.Empty(t, defs)
}

func TestLoadInOtherCharsets(t *testing.T) {
	file := func(charset, units string) string {
		return `<?xml version="1.0" encoding="` + charset + `"?><bundle service="s"><keyword><name>A</name><type>double</type><units>` + units + `</units></keyword></bundle>`
	}
	for _, row := range [][3]string{
		{"UTF-8", "°µ", "°µ"}, {"utf-8", "K", "K"},
		{"ISO-8859-1", "\xb0\xb5", "°µ"}, {"iso-8859-1", "K", "K"},
		{"US-ASCII", "K", "K"}, {"us-ascii", "K", "K"},
	} {
		defs, err := ktlxml.Load(strings.NewReader(file(row[0], row[1])))
		require.NoError(t, err, row[0])
		require.Equal(t, row[2], defs[0].Units)
	}
	for charset, want := range map[string]string{
		"UTF-8":    "invalid UTF-8",
		"us-ascii": `ktlxml: bundle: xml: opening charset "us-ascii": byte 0xb0 is not of this charset`,
		"koi8-r":   `ktlxml: bundle: xml: opening charset "koi8-r": want UTF-8, ISO-8859-1 or US-ASCII`,
	} {
		_, err := ktlxml.Load(strings.NewReader(file(charset, "\xb0")))
		require.ErrorContains(t, err, want)
	}
}

func TestLoadRefuses(t *testing.T) {
	for in, want := range map[string]string{
		``:                     `bundle: EOF`,
		`<bundle`:              `bundle: XML syntax error on line 1: unexpected EOF`,
		`<index service="s"/>`: `bundle: expected element type <bundle> but have <index>`,
		`<bundle service="s"><dispatcher><name>a</name></dispatcher><dispatcher><name>b</name></dispatcher></bundle>`: `bundle: <dispatcher><name>: given 2 times`,
	} {
		_, err := ktlxml.Load(strings.NewReader(in))
		require.EqualError(t, err, "ktlxml: "+want, in)
	}
	for in, want := range map[string]string{
		`<type>double</type>`:                                                                           `s.keyword 0: <name>: empty name`,
		`<name>A B</name><type>double</type>`:                                                           `s.A B: <name>: name "A B": ' ' is not allowed`,
		`<name>A</name><name>B</name><type>double</type>`:                                               `s.keyword 0: <name>: given 2 times`,
		`<name>A</name>`:                                                                                `s.A: <type>: no kind ""`,
		`<name>A</name><type>complex</type>`:                                                            `s.A: <type>: no kind "complex"`,
		`<name>A</name><type>double</type><range><minimum>low</minimum></range>`:                        `s.A: <range><minimum>: "low" is not a number`,
		`<name>A</name><type>integer</type><range><maximum>3e9</maximum></range>`:                       `s.A: <range><maximum>: 3e9 does not fit 32 bits`,
		`<name>A</name><type>double</type><range><minimum>2</minimum><maximum>1</maximum></range>`:      `s.A: <range><maximum>: 1 is below Min, 2`,
		`<name>A</name><type>string</type><range><minimum>2</minimum></range>`:                          `s.A: <range><minimum>: not for a keyword that is string`,
		`<name>A</name><type>double</type><format>%d</format>`:                                          `s.A: <format>: "%d": %d is not for a keyword that is double`,
		`<name>A</name><type>enumerated</type>`:                                                         `s.A: <values>: none`,
		`<name>A</name><type>double</type><values><entry><key>1</key><value>a</value></entry></values>`: `s.A: <values>: not for a keyword that is double`,
		`<name>A</name><type>enumerated</type><values><entry><value>a</value></entry></values>`:         `s.A: <values><entry><key>: "" is not an integer of 32 bits`,
		`<name>A</name><type>enumerated</type><values><entry><key>1</key></entry></values>`:             `s.A: <values><entry><value>: missing for the key 1`,
		`<name>A</name><type>enumerated</type><values><entry><key>1</key><value>a</value></entry><entry><key>1</key><value>b</value></entry></values>`: `s.A: <values><entry><key>: 1 is given twice`,
		`<name>A</name><type>mask</type><values><entry><key>32</key><value>a</value></entry></values>`:                                                 `s.A: <values><entry><key>: 32 is not a bit of a mask, want 0 to 31`,
		`<name>A</name><type>mask</type><values><entry><key>0</key><value>a</value></entry><entry><key>0</key><value>b</value></entry></values>`:       `s.A: <values><entry><key>: 0 is given twice`,
		`<name>A</name><type>boolean</type><capability type="write">maybe</capability>`:                                                                `s.A: <capability>: "maybe" is not a boolean`,
		`<name>A</name><type>boolean</type><capability type="write">no</capability><capability type="read">no</capability>`:                            `s.A: <capability>: the keyword is ReadOnly too`,
		`<name>A</name><type>boolean</type><serverside><initialize><use_cache>x</use_cache></initialize></serverside>`:                                 `s.A: <serverside><initialize><use_cache>: "x" is not a boolean`,
		`<name>A</name><type>boolean</type><serverside><initialize><value>x</value></initialize></serverside>`:                                         `s.A: <serverside><initialize><value>: "x" is not a boolean`,
		`<name>A</name><type>double</type><range><maximum>1</maximum></range><serverside><initialize><value>2</value></initialize></serverside>`:       `s.A: <serverside><initialize><value>: 2 is above 1`,
		`<name>A</name><type>double</type></keyword><keyword><name>a</name><type>double</type>`:                                                        `s.A: defined twice`,
	} {
		_, err := ktlxml.Load(strings.NewReader(`<bundle service="s"><keyword>` + in + `</keyword></bundle>`))
		require.EqualError(t, err, "ktlxml: "+want, in)
	}
	_, err := ktlxml.Load(strings.NewReader(`<bundle><keyword><name>A</name><type>double</type></keyword></bundle>`))
	require.EqualError(t, err, "ktlxml: .A: <bundle service>: empty name")
}

func TestLoadKnowsKTLsNamesOfKinds(t *testing.T) {
	for name, want := range map[string]keywords.Kind{
		"basic": keywords.KindString, "Keyword": keywords.KindString, " Float Array ": keywords.KindFloatArray, "boolean array": keywords.KindBooleanArray, "DOUBLE": keywords.KindDouble,
	} {
		defs, err := ktlxml.Load(strings.NewReader(`<bundle service="s"><keyword><name>A</name><type>` + name + `</type></keyword></bundle>`))
		require.NoError(t, err, name)
		require.Equal(t, want, defs[0].Kind, name)
	}
}

func FuzzXML(f *testing.F) {
	f.Add(bundle)
	f.Fuzz(func(t *testing.T, in string) {
		defs, err := ktlxml.Load(strings.NewReader(in))
		if err != nil {
			return
		}
		for _, d := range defs {
			again, err := d.Complete()
			require.NoError(t, err)
			require.Equal(t, d.String(), again.String())
		}
	})
}

// Limits and initial values may be written as the format displays them.
func TestSexagesimalFormats(t *testing.T) {
	defs, err := ktlxml.Load(strings.NewReader(`<bundle service="dcs"><keyword><name>dec</name><type>double</type>
		<format>%d:%m:%.1s</format><range><minimum>-30:30:00</minimum><maximum>89:59:59.9</maximum></range>
		<serverside><initialize><value>-0:30</value></initialize></serverside></keyword></bundle>`))
	require.NoError(t, err)
	require.Equal(t, -30.5, defs[0].Min)
	require.Equal(t, -0.5, defs[0].Initial)
	require.Equal(t, "89:59:59.9", defs[0].Display(defs[0].Max))
	_, err = ktlxml.Load(strings.NewReader(`<bundle service="dcs"><keyword><name>dec</name><type>double</type>
		<format>%12.3H</format><range><minimum>-30:60:00</minimum></range></keyword></bundle>`))
	require.EqualError(t, err, `ktlxml: dcs.DEC: <range><minimum>: "-30:60:00": 60 minutes, want less than 60`)
}
