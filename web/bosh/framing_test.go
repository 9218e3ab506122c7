package bosh

import (
	"strings"
	"testing"

	"jackdaw/wire"
	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

var cuts = []struct{ in, out, whole, condition string }{
	{"", "", "", ""},
	{"<iq/>", "<iq xmlns='jabber:client'/>", "<iq xmlns='jabber:client'/>", ""},
	{"<iq id='a'><b/></iq><mess", "<iq xmlns='jabber:client' id='a'><b/></iq><mess", "<iq xmlns='jabber:client' id='a'><b/></iq>", ""},
	{"<message><iq/><message>&lt;</message> </message>", "<message xmlns='jabber:client'><iq/><message>&lt;</message> </message>",
		"<message xmlns='jabber:client'><iq/><message>&lt;</message> </message>", ""},
	{`<r xmlns="urn:xmpp:sm:3" a='>/"'/>`, `<r xmlns="urn:xmpp:sm:3" a='>/"'/>`, `<r xmlns="urn:xmpp:sm:3" a='>/"'/>`, ""},
	{"<iqq/> \n<a></a>", "<iqq/><a></a>", "<iqq/><a></a>", ""},
	{"<a/></:>", "<a/>", "<a/>", ""},
	{"<a/></:system-shutdown>", "<a/>", "<a/>", "system-shutdown"},
}

func TestOutputIsCutIntoWholeElements(t *testing.T) {
	for _, c := range cuts {
		for size := 1; size <= len(c.in)+1; size++ {
			var cut cutter
			var out []byte
			for at := 0; at < len(c.in); at += size {
				out = cut.feed(out, []byte(c.in[at:min(len(c.in), at+size)]))
			}
			if string(out) != c.out || string(out[:cut.whole]) != c.whole || cut.condition != c.condition ||
				cut.ended != strings.Contains(c.in, endMark) || cut.ended != ends([]byte(c.in)) {
				t.Fatalf("%s in pieces of %d: %s, of which whole %s; ended %v by %q", c.in, size, out, out[:cut.whole], cut.ended, cut.condition)
			}
		}
	}
}

func TestEndOfAStream(t *testing.T) {
	for want, f := range map[string]*wire.Farewell{
		"</:>":                {},
		"</:system-shutdown>": wire.Fault(stream.SystemShutdown, ""),
		"</:host-unknown>":    wire.Fault(stream.HostUnknown, "x"),
		"<stream:error xmlns:stream='http://etherx.jabber.org/streams'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" +
			"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>&lt;/:</text><a xmlns='b'/></stream:error></:remote-stream-error>": {
			Condition: stream.Conflict, Text: "</:", Extra: "<a xmlns='b'/>"},
	} {
		if got := string(framing{}.AppendEnd(nil, f)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestVersions(t *testing.T) {
	for client, want := range map[string]string{"1.6": "1.6", "1.11": "1.11", "1.12": "1.11", "2.0": "1.11", "0.9": "0.9", "x": "1.11", "": "1.11"} {
		if got := version(client); got != want {
			t.Errorf("%q: %s", client, got)
		}
	}
}

// FuzzOutput cuts whatever XML comes at any place: what it takes for whole is well-formed, and nothing is lost.
func FuzzOutput(f *testing.F) {
	for _, c := range cuts {
		f.Add(c.in, 3)
	}
	f.Fuzz(func(t *testing.T, in string, size int) {
		limits := stream.Limits{Bytes: 1 << 20}
		const head = "<b:body xmlns:b='" + xmpp.NSHTTPBind + "' xmlns='jabber:client'>"
		read := func(b string) (string, error) {
			u := stream.NewUnwrapper(xmpp.Name{Space: xmpp.NSHTTPBind, Local: "body"}, limits)
			if _, n, err := u.Open([]byte(head)); err != nil || n != len(head) {
				t.Fatal(n, err)
			}
			out, _, err := u.Content(nil, []byte(b+"</b:body>"), limits, 1<<20)
			return string(out), err
		}
		made, err := read(in)
		if err != nil || size < 1 {
			return
		}
		var cut cutter
		var out []byte
		for at := 0; at < len(made); at += size {
			out = cut.feed(out, []byte(made[at:min(len(made), at+size)]))
		}
		if cut.whole != len(out) || cut.ended {
			t.Fatalf("%q: whole up to %d of %d, ended %v", made, cut.whole, len(out), cut.ended)
		}
		again, err := read(strings.ReplaceAll(string(out), " xmlns='jabber:client'", ""))
		if want := strings.ReplaceAll(made, " xmlns='jabber:client'", ""); err == nil && again != want {
			t.Fatalf("got  %q\nwant %q", again, want)
		}
	})
}
