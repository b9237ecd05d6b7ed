// Package ktlxml reads KTL's XML files of keywords.
//
//	f, err := os.Open("dome.xml")
//	…
//	defs, err := ktlxml.Load(f)
//	azimuth, err := keywords.Bind[float64](defs[0])
//
// A file is a bundle: some keywords of one dispatcher of a service. Names of
// services, dispatchers and keywords may be in any case. Load takes
//
//   - name, type, units, help (brief and verbose are both kept), and format, those
//     of C too, and the sexagesimal ones (%12.3H, %d:%m:%s), in which limits and initial
//     values may be written then;
//   - range, with minimum and maximum, both inclusive;
//   - values: the enumerators; the bits of a mask, by number; the names of false and
//     true, also of an array of booleans. A mask without bits is called none, whatever the file says;
//   - elements: the labels of an array's elements;
//   - capability: whether the keyword can be broadcast, read and written;
//   - serverside with initialize: value is Definition.Initial, use_cache is Persist.
//
// The file is UTF-8, ISO-8859-1 or US-ASCII, as its first line says. Elements that
// Load does not know are skipped. A value that Load can't use is an error that names
// the keyword and the element.
//
// To load definitions in JSON, see [keywords.LoadDefinitions]; to serve a loaded
// keyword, see [keywords.Bind].
package ktlxml
