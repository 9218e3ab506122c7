package portable

import "jackdaw/router"

// Specs are what the package implements, for docs/xeps.md.
var Specs = []router.Spec{
	{Name: "XEP-0227", Version: "1.1", Note: "no privacy lists but what blocks an address; rooms by elements of our own"},
}
