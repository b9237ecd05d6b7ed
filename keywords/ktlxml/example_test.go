package ktlxml_test

import (
	"fmt"
	"strings"

	"github.com/heliograph/heliograph/keywords/ktlxml"
)

func ExampleLoad() {
	defs, err := ktlxml.Load(strings.NewReader(`
		<bundle service="dome">
			<keyword>
				<name>SHUTTER</name> <type>enumerated</type>
				<values>
					<entry> <key>0</key> <value>open</value> </entry>
					<entry> <key>1</key> <value>closed</value> </entry>
				</values>
			</keyword>
		</bundle>`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(defs[0], defs[0].Kind, defs[0].Text(int64(1)))
	// Output: dome.SHUTTER enumerated closed
}
