package keywords

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ktlBundle is a file of KTL XML: some keywords of one dispatcher of a service.
type ktlBundle struct {
	XMLName     xml.Name     `xml:"bundle"`
	Service     string       `xml:"service,attr"`
	Dispatchers []string     `xml:"dispatcher>name"`
	Keywords    []ktlKeyword `xml:"keyword"`
}

type ktlKeyword struct {
	Names  []string `xml:"name"`
	Types  []string `xml:"type"`
	Units  []string `xml:"units"`
	Format []string `xml:"format"`
	Help   []struct {
		Text string `xml:",chardata"`
	} `xml:"help"`
	Minimum      []string        `xml:"range>minimum"`
	Maximum      []string        `xml:"range>maximum"`
	Values       []ktlEntry      `xml:"values>entry"`
	Elements     []ktlEntry      `xml:"elements>entry"`
	Capability   []ktlCapability `xml:"capability"`
	Capabilities []ktlCapability `xml:"capabilities>capability"`
	Serverside   []ktlInitialize `xml:"serverside>initialize"`
	ServerSide   []ktlInitialize `xml:"server-side>initialize"`
}

type ktlEntry struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
	Label string `xml:"label"`
}

type ktlCapability struct {
	Type  string `xml:"type,attr"`
	Value string `xml:",chardata"`
}

type ktlInitialize struct {
	Value    []string `xml:"value"`
	UseCache []string `xml:"use_cache"`
}

// ktlElements are the elements that the fields of a Definition come from.
var ktlElements = map[string]string{
	"Service": "<bundle service>", "Dispatcher": "<dispatcher><name>", "Name": "<name>", "Kind": "<type>",
	"Units": "<units>", "Help": "<help>", "Format": "<format>",
	"Min": "<range><minimum>", "Max": "<range><maximum>",
	"Enumerators": "<values>", "Bits": "<values>", "Elements": "<elements>",
	"Initial": "<serverside><initialize><value>", "WriteOnly": "<capability>",
}

// LoadXML reads a bundle, the file in which KTL has the keywords of a
// dispatcher. Names of services, dispatchers and keywords may be in any case
// there. It takes
//
//   - name, type, units, format (of C, too) and help, of which brief and verbose
//     are both kept;
//   - range, with minimum and maximum, both inclusive;
//   - values: enumerators, the bits of a mask, by number, and what false and true
//     are called. A mask without bits is called none, whatever the file says;
//   - elements: the labels of an array's;
//   - capability: broadcast, read or write, false;
//   - serverside, with initialize: value is Initial, use_cache is Persist.
//
// The file is UTF-8, ISO-8859-1 or US-ASCII, as its first line says. Elements that
// LoadXML does not know are skipped; a value that it can't take is an error that
// names keyword and element.
func LoadXML(r io.Reader) ([]Definition, error) {
	data, err := readFile(r)
	if err != nil {
		return nil, err
	}
	var b ktlBundle
	dec := xml.NewDecoder(bytes.NewReader(data))
	dec.CharsetReader = charsetReader
	if err := dec.Decode(&b); err != nil {
		return nil, fmt.Errorf("keywords: bundle: %w", err)
	}
	service := strings.ToLower(strings.TrimSpace(b.Service))
	dispatcher, err := single("<dispatcher><name>", b.Dispatchers)
	if err != nil {
		return nil, fmt.Errorf("keywords: bundle: %w", err)
	}
	dispatcher = strings.ToLower(strings.ReplaceAll(dispatcher, "+service+", service))
	defs := make([]Definition, len(b.Keywords))
	for i, k := range b.Keywords {
		d := &defs[i]
		d.Service, d.Dispatcher = service, dispatcher
		err := k.define(d)
		if err == nil {
			d.Dispatcher = cmp.Or(d.Dispatcher, defaultDispatcher)
			err = d.complete()
		}
		var field *fieldError
		if errors.As(err, &field) {
			err = badField(cmp.Or(ktlElements[field.field], field.field), "%s", field.text)
		}
		if err != nil {
			return nil, fmt.Errorf("keywords: %s.%s: %w", service, cmp.Or(d.Name, fmt.Sprint("keyword ", i)), err)
		}
	}
	return defs, checkTwice(defs)
}

// charsetReader reads what is not UTF-8, which package xml reads by itself.
func charsetReader(charset string, r io.Reader) (io.Reader, error) {
	var limit byte
	switch strings.ToLower(charset) {
	case "iso-8859-1":
		limit = 0xff
	case "us-ascii":
		limit = 0x7f
	default:
		return nil, errors.New("want UTF-8, ISO-8859-1 or US-ASCII")
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	for _, c := range data {
		if c > limit {
			return nil, fmt.Errorf("byte %#x", c)
		}
		text.WriteRune(rune(c))
	}
	return strings.NewReader(text.String()), nil
}

// define fills d with what the file says.
func (k *ktlKeyword) define(d *Definition) (err error) {
	for _, field := range []struct {
		to      *string
		element string
		from    []string
	}{
		{&d.Name, "<name>", k.Names}, {&d.Format, "<format>", k.Format},
	} {
		if *field.to, err = single(field.element, field.from); err != nil {
			return err
		}
	}
	d.Name = strings.ToUpper(d.Name)
	d.Format = goFormat(d.Format)
	typ, err := single("<type>", k.Types)
	if err != nil {
		return err
	}
	if d.Kind, err = ParseKind(typ); err != nil {
		return badField("<type>", "%v", err)
	}
	if len(k.Units) > 0 { // the others are those of other forms
		d.Units = strings.TrimSpace(k.Units[0])
	}
	var help []string
	for _, h := range k.Help {
		if text := strings.TrimSpace(h.Text); text != "" {
			help = append(help, text)
		}
	}
	d.Help = strings.Join(help, "\n")
	if err := k.defineNames(d); err != nil {
		return err
	}
	if err := k.defineCapabilities(d); err != nil {
		return err
	}
	return k.defineValues(d)
}

func (k *ktlKeyword) defineNames(d *Definition) error {
	for _, e := range k.Elements {
		d.Elements = append(d.Elements, strings.TrimSpace(e.Label))
	}
	for _, e := range k.Values {
		key, name := strings.TrimSpace(e.Key), strings.TrimSpace(e.Value)
		if d.Kind == KindMask && strings.EqualFold(key, noBits) {
			continue
		}
		n, err := readInt(key, 32)
		switch {
		case err != nil:
			return badField("<values><entry><key>", "%.40q is no number of 32 bits", key)
		case name == "":
			return badField("<values><entry><value>", "%d has none", n)
		case d.Kind == KindMask && (n < 0 || n > 31):
			return badField("<values><entry><key>", "%d is no bit of a mask", n)
		case d.Kind == KindMask:
			for int64(len(d.Bits)) <= n {
				d.Bits = append(d.Bits, "")
			}
			if d.Bits[n] != "" {
				return badField("<values><entry><key>", "%d is given twice", n)
			}
			d.Bits[n] = name
			continue
		case d.Enumerators == nil:
			d.Enumerators = make(map[int32]string)
		}
		if _, ok := d.Enumerators[int32(n)]; ok {
			return badField("<values><entry><key>", "%d is given twice", n)
		}
		d.Enumerators[int32(n)] = name
	}
	return nil
}

func (k *ktlKeyword) defineCapabilities(d *Definition) error {
	for _, c := range append(k.Capability, k.Capabilities...) {
		may, err := ktlBool("<capability>", c.Value)
		if err != nil {
			return err
		}
		switch strings.ToLower(strings.TrimSpace(c.Type)) {
		case "broadcast":
			d.NoBroadcast = !may
		case "read":
			d.WriteOnly = !may
		case "write":
			d.ReadOnly = !may
		}
	}
	return nil
}

// defineValues reads what is written as the keyword's values are, for which its
// kind and names must be known.
func (k *ktlKeyword) defineValues(d *Definition) error {
	r, err := newRules(&Definition{Kind: d.Kind, Enumerators: d.Enumerators, Bits: d.Bits})
	if err != nil {
		return err
	}
	var initial []string
	for _, side := range append(k.Serverside, k.ServerSide...) {
		initial = append(initial, side.Value...)
		text, err := single("<serverside><initialize><use_cache>", side.UseCache)
		if err != nil {
			return err
		}
		if text == "" {
			continue
		}
		if d.Persist, err = ktlBool("<serverside><initialize><use_cache>", text); err != nil {
			return err
		}
	}
	for _, field := range []struct {
		to      *any
		element string
		from    []string
	}{
		{&d.Min, "<range><minimum>", k.Minimum}, {&d.Max, "<range><maximum>", k.Maximum},
		{&d.Initial, "<serverside><initialize><value>", initial},
	} {
		text, err := single(field.element, field.from)
		if err != nil {
			return err
		}
		if text == "" && (len(field.from) == 0 || d.Kind != KindString) {
			continue
		}
		if *field.to, err = r.parse(text); err != nil {
			return badField(field.element, "%s", reason(err))
		}
	}
	return nil
}

// single returns the text of an element that may be there once. Without it, it
// is empty.
func single(element string, list []string) (string, error) {
	switch len(list) {
	case 0:
		return "", nil
	case 1:
		return strings.TrimSpace(list[0]), nil
	}
	return "", badField(element, "given %d times", len(list))
}

func ktlBool(element, text string) (bool, error) {
	v, err := (&rules{}).parseBool(strings.TrimSpace(text))
	if err != nil {
		return false, badField(element, "%s", reason(err))
	}
	return v.(bool), nil
}

// goFormat writes a format of C in Go: there are no lengths, and d for i and u.
func goFormat(format string) string {
	verb := strings.IndexByte(format, '%')
	if verb < 0 {
		return format
	}
	head, tail := format[:verb+1], format[verb+1:]
	flags := strings.IndexFunc(tail, func(c rune) bool { return !strings.ContainsRune("+-# 0123456789.", c) })
	if flags < 0 {
		return format
	}
	head, tail = head+tail[:flags], strings.TrimLeft(tail[flags:], "hlL")
	if tail != "" && (tail[0] == 'i' || tail[0] == 'u') {
		tail = "d" + tail[1:]
	}
	return head + tail
}
