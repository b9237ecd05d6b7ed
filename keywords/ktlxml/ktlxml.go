package ktlxml

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/heliograph/heliograph/keywords"
)

const (
	maxFile = 16 << 20 // bytes
	noBits  = "none"   // the text of a mask without bits
)

// bundle is a file of KTL XML: some keywords of one dispatcher of a service.
type bundle struct {
	XMLName     xml.Name  `xml:"bundle"`
	Service     string    `xml:"service,attr"`
	Dispatchers []string  `xml:"dispatcher>name"`
	Keywords    []keyword `xml:"keyword"`
}

type keyword struct {
	Names  []string `xml:"name"`
	Types  []string `xml:"type"`
	Units  []string `xml:"units"`
	Format []string `xml:"format"`
	Help   []struct {
		Text string `xml:",chardata"`
	} `xml:"help"`
	Minimum      []string     `xml:"range>minimum"`
	Maximum      []string     `xml:"range>maximum"`
	Values       []entry      `xml:"values>entry"`
	Elements     []entry      `xml:"elements>entry"`
	Capability   []capability `xml:"capability"`
	Capabilities []capability `xml:"capabilities>capability"`
	Serverside   []initialize `xml:"serverside>initialize"`
	ServerSide   []initialize `xml:"server-side>initialize"`
}

type entry struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
	Label string `xml:"label"`
}

type capability struct {
	Type  string `xml:"type,attr"`
	Value string `xml:",chardata"`
}

type initialize struct {
	Value    []string `xml:"value"`
	UseCache []string `xml:"use_cache"`
}

// elementOf has the element from which each field of a Definition comes.
var elementOf = map[string]string{
	"Service": "<bundle service>", "Dispatcher": "<dispatcher><name>", "Name": "<name>", "Kind": "<type>",
	"Units": "<units>", "Help": "<help>", "Format": "<format>",
	"Min": "<range><minimum>", "Max": "<range><maximum>",
	"Enumerators": "<values>", "Bits": "<values>", "Elements": "<elements>",
	"Initial": "<serverside><initialize><value>", "WriteOnly": "<capability>",
}

// Load reads a bundle and returns the definitions of its keywords, completed. The
// file may have up to 16 MiB.
func Load(r io.Reader) ([]keywords.Definition, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("ktlxml: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("ktlxml: bundle of more than %d bytes", maxFile)
	}
	var b bundle
	dec := xml.NewDecoder(bytes.NewReader(data))
	dec.CharsetReader = charsetReader
	if err := dec.Decode(&b); err != nil {
		return nil, fmt.Errorf("ktlxml: bundle: %w", err)
	}
	service := strings.ToLower(strings.TrimSpace(b.Service))
	dispatcher, err := single("<dispatcher><name>", b.Dispatchers)
	if err != nil {
		return nil, fmt.Errorf("ktlxml: bundle: %w", err)
	}
	dispatcher = strings.ToLower(strings.ReplaceAll(dispatcher, "+service+", service))
	defs := make([]keywords.Definition, 0, len(b.Keywords))
	seen := make(map[string]bool)
	for i, k := range b.Keywords {
		d := keywords.Definition{Service: service, Dispatcher: dispatcher}
		err := k.define(&d)
		name := service + "." + cmp.Or(d.Name, fmt.Sprint("keyword ", i))
		if err == nil {
			d, err = d.Complete()
		}
		if err != nil {
			return nil, fmt.Errorf("ktlxml: %s: %w", name, inElement(err))
		}
		if seen[name] {
			return nil, fmt.Errorf("ktlxml: %s: defined twice", name)
		}
		seen[name] = true
		defs = append(defs, d)
	}
	return defs, nil
}

// inElement returns an error about a field of a Definition as one about the element
// that the field comes from.
func inElement(err error) error {
	var field *keywords.FieldError
	if errors.As(err, &field) {
		return elementErrorf(cmp.Or(elementOf[field.Field], field.Field), "%s", field.Text)
	}
	return err
}

func elementErrorf(element, format string, args ...any) error {
	return fmt.Errorf("%s: "+format, append([]any{element}, args...)...)
}

// reason returns the part of an error of package keywords that does not say which
// keyword it is about.
func reason(err error) string {
	var refused *keywords.Error
	if errors.As(err, &refused) {
		return refused.Text
	}
	return err.Error()
}

// charsetReader returns r converted to UTF-8. Package xml calls it for other charsets only.
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
			return nil, fmt.Errorf("byte %#x is not of this charset", c)
		}
		text.WriteRune(rune(c))
	}
	return strings.NewReader(text.String()), nil
}

// define sets the fields of d from the elements of the keyword.
func (k *keyword) define(d *keywords.Definition) (err error) {
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
	if err := d.Kind.UnmarshalText([]byte(typ)); err != nil {
		return elementErrorf("<type>", "no kind %.40q", typ)
	}
	if len(k.Units) > 0 { // further units are of other forms of the value
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

func (k *keyword) defineNames(d *keywords.Definition) error {
	for _, e := range k.Elements {
		d.Elements = append(d.Elements, strings.TrimSpace(e.Label))
	}
	for _, e := range k.Values {
		key, name := strings.TrimSpace(e.Key), strings.TrimSpace(e.Value)
		if d.Kind == keywords.KindMask && strings.EqualFold(key, noBits) {
			continue
		}
		n, err := parseNumber(key)
		switch {
		case err != nil:
			return elementErrorf("<values><entry><key>", "%.40q is not an integer of 32 bits", key)
		case name == "":
			return elementErrorf("<values><entry><value>", "missing for the key %d", n)
		case d.Kind == keywords.KindMask && (n < 0 || n > 31):
			return elementErrorf("<values><entry><key>", "%d is not a bit of a mask, want 0 to 31", n)
		case d.Kind == keywords.KindMask:
			for int64(len(d.Bits)) <= n {
				d.Bits = append(d.Bits, "")
			}
			if d.Bits[n] != "" {
				return elementErrorf("<values><entry><key>", "%d is given twice", n)
			}
			d.Bits[n] = name
			continue
		case d.Enumerators == nil:
			d.Enumerators = make(map[int32]string)
		}
		if _, ok := d.Enumerators[int32(n)]; ok {
			return elementErrorf("<values><entry><key>", "%d is given twice", n)
		}
		d.Enumerators[int32(n)] = name
	}
	return nil
}

func (k *keyword) defineCapabilities(d *keywords.Definition) error {
	for _, c := range append(k.Capability, k.Capabilities...) {
		may, err := parseBool("<capability>", c.Value)
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

// defineValues reads limits and the initial value. They are written as the keyword's values
// are, so that its kind and names must be known.
func (k *keyword) defineValues(d *keywords.Definition) error {
	plain := keywords.Definition{Service: "ktl", Name: "VALUE", Kind: d.Kind, Format: d.Format, Enumerators: d.Enumerators, Bits: d.Bits}
	plain, err := plain.Complete()
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
		if d.Persist, err = parseBool("<serverside><initialize><use_cache>", text); err != nil {
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
		if text == "" && (len(field.from) == 0 || d.Kind != keywords.KindString) {
			continue
		}
		if *field.to, err = plain.Parse(text); err != nil {
			return elementErrorf(field.element, "%s", reason(err))
		}
	}
	return nil
}

// single returns the text of an element that may occur once, or "" if it does not occur.
func single(element string, list []string) (string, error) {
	switch len(list) {
	case 0:
		return "", nil
	case 1:
		return strings.TrimSpace(list[0]), nil
	}
	return "", elementErrorf(element, "given %d times", len(list))
}

var (
	booleans = keywords.Define("ktl", "BOOLEAN", keywords.Spec[bool]{}).Definition()
	numbers  = keywords.Define("ktl", "NUMBER", keywords.Spec[int32]{}).Definition()
)

func parseBool(element, text string) (bool, error) {
	v, err := booleans.Parse(text)
	if err != nil {
		return false, elementErrorf(element, "%s", reason(err))
	}
	return v.(bool), nil
}

// parseNumber reads an integer of 32 bits.
func parseNumber(text string) (int64, error) {
	v, err := numbers.Parse(text)
	n, _ := v.(int64)
	return n, err
}

// goFormat converts a format of C to one of Go: it drops lengths and replaces %i and %u
// by %d. The sexagesimal forms of KTL, as %12.3H and %d:%m:%.1s, are those of Spec.Format.
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
