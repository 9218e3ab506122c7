package httpmessage

import _ "embed"

// openAPI describes all of this package's HTTP (OpenAPI 3.1).
//
//go:embed openapi.json
var openAPI []byte
