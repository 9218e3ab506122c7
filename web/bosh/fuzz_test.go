package bosh

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"jackdaw/config"
	"jackdaw/wire"
	"jackdaw/xmpp/stream"
)

// FuzzBody reads any request. What of it is given to a stream is what a stream would take.
func FuzzBody(f *testing.F) {
	for _, s := range []string{
		open,
		"<body rid='2' sid='a' key='b' newkey='c' ack='1' pause='3' type='terminate' xmlns='http://jabber.org/protocol/httpbind'/>",
		"<?xml version='1.0'?><b:body xmlns:b='http://jabber.org/protocol/httpbind' xmlns='jabber:client' rid='1'><message><b:x/></message></b:body>",
		"<body rid='1' xmlns='http://jabber.org/protocol/httpbind'><message a='&lt;'><x xmlns='y'/></message> <iq/></body>\n",
		"<body rid='1' xmlns='http://jabber.org/protocol/httpbind' xmlns:p='q'><p:a p:b=''><![CDATA[<&>]]></p:a></body>",
		"<body rid='1' xmlns='http://jabber.org/protocol/httpbind'><body xmlns=''/></body>",
	} {
		f.Add(s)
	}
	limits := config.Default().Limits
	h := New(Options{
		Source: func(*http.Request) (netip.Addr, bool) { return netip.Addr{}, true },
		Limits: func() Limits {
			return Limits{Before: wire.Limits(2000, &limits), After: wire.Limits(4000, &limits), BodyTime: time.Second}
		}})
	f.Fuzz(func(t *testing.T, in string) {
		b, s, refused := h.read(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader(in)), netip.Addr{}, true)
		if refused != nil {
			return
		}
		if s != nil || b.rid == 0 || b.rid > maxRID {
			t.Fatalf("%+v", b)
		}
		var scan stream.Scanner
		scan.SetLimits(h.o.Limits().Before)
		all := append([]byte(header), b.content...)
		item, n, err := scan.Scan(all)
		if item != stream.ItemHeader {
			t.Fatal(item, err)
		}
		for i := range b.count {
			all = all[n:]
			if item, n, err = scan.Scan(all); item != stream.ItemStanza && item != stream.ItemElement {
				t.Fatalf("element %d of %d: %v, %v in %q", i, b.count, item, err, b.content)
			}
		}
		if n != len(all) && b.count > 0 {
			t.Fatalf("%q is left", all[n:])
		}
	})
}
