package sasl

import (
	"strings"
	"testing"
)

func TestWhoseLoginItIsIsKnownByTheFirstMessage(t *testing.T) {
	for _, c := range []struct {
		m       Mechanism
		message string
		want    string
	}{
		{Plain, "\x00Romeo\x00pass", "Romeo"},
		{Plain, "romeo@example.org\x00romeo\x00pass", "romeo"},
		{Plain, "romeo", ""},
		{Plain, "", ""},
		{ScramSHA1, "n,,n=ro=2Cmeo,r=abc", "ro,meo"},
		{ScramSHA256Plus, "p=tls-exporter,,n=romeo,r=abc", "romeo"},
		{ScramSHA512, "n,,m=x,n=romeo,r=abc", ""},
		{ScramSHA1, "c=biws,r=abc,p=AAAA", ""},
		{HTSHA256None, "romeo\x00" + strings.Repeat("x", 32), "romeo"},
		{HTSHA256Exporter, "romeo", ""},
		{HTSHA256EndPoint, "\x00x", ""},
		{External, "romeo", ""},
		{"X-UNKNOWN", "\x00romeo\x00pass", ""},
		{Plain, "\x00romeo\x00" + strings.Repeat("x", MaxMessage), ""},
	} {
		if got, ok := Claimed(c.m, []byte(c.message)); got != c.want && ok || ok != (c.want != "") {
			t.Errorf("%s %q: %q, %t", c.m, c.message, got, ok)
		}
	}
}
