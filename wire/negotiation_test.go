package wire

import (
	"testing"
	"time"

	"jackdaw/xmpp"
	"jackdaw/xmpp/stream"
)

func TestStreamsOfXMPP1AndLaterAreCurrent(t *testing.T) {
	for version, want := range map[string]bool{"1.0": true, "1.7": true, "2.0": true, "01.0": true, "": false, "0.9": false,
		"1": false, "1.": false, ".0": false, "1.x": false, "-1.0": false, "1.0.0": false} {
		if Current(version) != want {
			t.Errorf("version %q: %v", version, !want)
		}
	}
}

func TestWhatIsUnfitInAStanzaIsSaid(t *testing.T) {
	one, two := make([]xmpp.Child, 1), make([]xmpp.Child, 2)
	for _, x := range []struct {
		what            string
		stanza          xmpp.Stanza
		badTo, nameless bool
		want            xmpp.Condition // "": nothing
	}{
		{"a message", xmpp.Stanza{Kind: xmpp.Message}, false, false, ""},
		{"to what is no address", xmpp.Stanza{Kind: xmpp.Message}, true, false, xmpp.CondJIDMalformed},
		{"of no type that there is", xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeInvalid}, false, false, xmpp.CondBadRequest},
		{"a request", xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, ID: "1", Children: one}, false, false, ""},
		{"without an id", xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, Children: one}, false, false, xmpp.CondBadRequest},
		{"which needs none", xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeGet, Children: one}, false, true, ""},
		{"for nothing", xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: "1"}, false, false, xmpp.CondBadRequest},
		{"for two things", xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: "1", Children: two}, false, false,
			xmpp.CondBadRequest},
		{"an answer without an id", xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeResult}, false, true, xmpp.CondBadRequest},
		{"an empty answer", xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeResult, ID: "1"}, false, false, ""},
		{"an answer of two things", xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeResult, ID: "1", Children: two}, false, false,
			xmpp.CondBadRequest},
		{"an error", xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeError, ID: "1", Children: two}, false, false, ""},
	} {
		got := xmpp.Condition("")
		if bad := Unfit(&x.stanza, x.badTo, x.nameless); bad != nil {
			got = bad.Condition
		}
		if got != x.want {
			t.Errorf("%s: got %q, want %q", x.what, got, x.want)
		}
	}
}

func TestHeightsAreNumbersOfStanzas(t *testing.T) {
	for raw, want := range map[string]uint32{
		"<a xmlns='urn:xmpp:sm:3' h='0'/>": 0, "<a h='4294967295'/>": 1<<32 - 1, "<a h=\"6\" xmlns='urn:xmpp:sm:3'></a>": 6,
		"<a x=' h=\"7\"' h='5'/>": 5, "<a\nx=' h=\"7\" ' h='5'/>": 5, "<a h = '5'/>": 5, "<a  h='5'/>": 5, "<a\th='5'/>": 5,
		"<a h='&#53;'/>": 5, "<a xmlns:s='y' s:h='7' h='5'/>": 5, "<s:a xmlns:s='urn:xmpp:sm:3' h='5' />": 5,
	} {
		if h, err := Height([]byte(raw)); h != want || err != nil {
			t.Errorf("%s: %d and %v", raw, h, err)
		}
	}
	if h, err := Height(AppendAck(nil, 7)); h != 7 || err != nil {
		t.Errorf("ours: %d and %v", h, err)
	}
	for _, raw := range []string{"<a/>", "<a h=''/>", "<a h='-1'/>", "<a h='4294967296'/>", "<a h='1", "<a><b h='1'/></a>",
		"<a xmlns:s='y' s:h='7'/>", "<a x=' h=\"7\"'/>"} {
		_, err := Height([]byte(raw))
		if f, ok := err.(*Farewell); !ok || f.Condition != stream.BadFormat {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestAnnouncementsAreXML(t *testing.T) {
	for want, got := range map[string][]byte{
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>":                                                       AppendStartTLS(nil, false),
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>":                                  AppendStartTLS(nil, true),
		"<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>5</max-bytes></limits>":                                AppendLimits(nil, 5, 0),
		"<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>5</max-bytes><idle-seconds>60</idle-seconds></limits>": AppendLimits(nil, 5, time.Minute),
		"<handled-count-too-high xmlns='urn:xmpp:sm:3' h='9' send-count='5'/>":                                      []byte(TooHigh(9, 5).Extra),
		"<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>":      []byte(Failed(xmpp.CondItemNotFound)),
	} {
		a, err := xmpp.ParseElement([]byte(want))
		b, err2 := xmpp.ParseElement(got)
		if err != nil || err2 != nil || string(a.Append(nil)) != string(b.Append(nil)) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestNoTwoStreamsHaveOneID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewID()
		if len(id) != 22 || seen[id] {
			t.Fatalf("the id %q", id)
		}
		seen[id] = true
	}
}
