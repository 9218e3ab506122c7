package c2s

import "jackdaw/router"

// Specs are what the streams of clients implement, for docs/xeps.md.
var Specs = []router.Spec{
	{Name: "RFC 6120", Note: "client streams; without compression"},
	{Name: "RFC 5802", Note: "SCRAM-SHA-1 and -PLUS"},
	{Name: "RFC 7395", Note: "streams over WebSocket"},
	{Name: "RFC 7628", Note: "OAUTHBEARER, with tokens that an authorization server is asked about (RFC 7662)"},
	{Name: "RFC 7677", Note: "SCRAM-SHA-256 and -PLUS; SCRAM-SHA-512 and -PLUS likewise, by SASL2"},
	{Name: "XEP-0198", Version: "1.6.3"},
	{Name: "XEP-0199", Version: "2.0.1", Note: "silent clients are pinged"},
	{Name: "XEP-0352", Version: "1.0.0"},
	{Name: "XEP-0368", Version: "1.1.0"},
	{Name: "XEP-0386", Version: "1.1.0"},
	{Name: "XEP-0388", Version: "1.0.4"},
	{Name: "XEP-0440", Version: "1.0.0"},
	{Name: "XEP-0474", Version: "0.5.0"},
	{Name: "XEP-0478", Version: "0.2.0"},
	{Name: "XEP-0480", Version: "0.2.0"},
	{Name: "XEP-0484", Version: "0.2.0", Note: "without early data of TLS"},
	{Name: "XEP-0509", Version: "0.2.0"},
	{Name: "XEP-0515", Version: "0.1.0"},
}
