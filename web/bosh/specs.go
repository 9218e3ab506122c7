package bosh

import "jackdaw/router"

// Specs are what the package implements, for docs/xeps.md.
var Specs = []router.Spec{
	{Name: "XEP-0124", Version: "1.11.2", Note: "without several streams in a session, compression, `content`"},
	{Name: "XEP-0206", Version: "1.4"},
}
