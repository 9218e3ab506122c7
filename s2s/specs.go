package s2s

import "jackdaw/router"

// Specs are what the streams of peers implement, for docs/xeps.md.
var Specs = []router.Spec{
	{Name: "RFC 6120", Note: "server streams; without compression"},
	{Name: "XEP-0178", Version: "1.2", Note: "between servers"},
	{Name: "XEP-0185", Version: "1.0"},
	{Name: "XEP-0198", Version: "1.6.3"},
	{Name: "XEP-0199", Version: "2.0.1", Note: "asks peers without stream management what they have read"},
	{Name: "XEP-0220", Version: "1.1.1"},
	{Name: "XEP-0288", Version: "1.0.1", Note: "no further pairs in the reverse direction"},
	{Name: "XEP-0368", Version: "1.1.0"},
	{Name: "XEP-0478", Version: "0.2.0"},
}
