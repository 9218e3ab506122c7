package httpmessage

import (
	_ "embed"

	"jackdaw/router"
)

// Specs are what posts implement, for docs/xeps.md.
var Specs = []router.Spec{
	{Name: "XEP-0066", Version: "1.5", Note: "attachments of posts"},
	{Name: "XEP-0393", Version: "1.1.1", Note: "made of Markdown"},
	{Name: "XEP-0428", Version: "0.2.1", Note: "quotes and addresses of files in posts"},
	{Name: "XEP-0447", Version: "0.3.1", Note: "attachments of posts; those sent with them have a SHA-256"},
	{Name: "XEP-0461", Version: "0.2.1", Note: "replies of posts"},
}

// openAPI describes all of this package's HTTP (OpenAPI 3.1).
//
//go:embed openapi.json
var openAPI []byte
