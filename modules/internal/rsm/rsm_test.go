package rsm

import (
	"testing"

	"jackdaw/xmpp"
)

func TestRequestsAreRead(t *testing.T) {
	for _, test := range []struct {
		in   string
		want Request
	}{
		{`<set xmlns='http://jabber.org/protocol/rsm'/>`, Request{Max: -1, Index: -1}},
		{`<set xmlns='http://jabber.org/protocol/rsm'><max>10</max></set>`, Request{Max: 10, Index: -1}},
		{`<set xmlns='http://jabber.org/protocol/rsm'><max> 0 </max></set>`, Request{Max: 0, Index: -1}},
		{`<set xmlns='http://jabber.org/protocol/rsm'><max>99999999999999999999</max></set>`, Request{Max: 1<<31 - 1, Index: -1}},
		{`<set xmlns='http://jabber.org/protocol/rsm'><after>a&amp;b</after></set>`, Request{Max: -1, After: "a&b", Index: -1}},
		{`<set xmlns='http://jabber.org/protocol/rsm'><before/></set>`, Request{Max: -1, Backward: true, Index: -1}},
		{`<set xmlns='http://jabber.org/protocol/rsm'><before>7</before><max>1</max></set>`, Request{Max: 1, Before: "7", Backward: true, Index: -1}},
		{`<set xmlns='http://jabber.org/protocol/rsm'><index>3</index></set>`, Request{Max: -1, Index: 3}},
		{`<set xmlns='http://jabber.org/protocol/rsm'><max xmlns='x'>no</max></set>`, Request{Max: -1, Index: -1}},
	} {
		el, err := xmpp.ParseElement([]byte(test.in))
		if err != nil {
			t.Fatal(err)
		}
		got, bad := Parse(el)
		if bad != nil || got != test.want {
			t.Errorf("%s: %+v, %v; want %+v", test.in, got, bad, test.want)
		}
	}
	if got, bad := Parse(nil); bad != nil || got != All() {
		t.Errorf("nothing was read as %+v, %v", got, bad)
	}
}

func TestWhatIsNoNumberIsRefused(t *testing.T) {
	for _, in := range []string{"<max/>", "<max>-1</max>", "<max>x</max>", "<max>1.5</max>", "<index>+1</index>"} {
		el, err := xmpp.ParseElement([]byte(`<set xmlns='http://jabber.org/protocol/rsm'>` + in + `</set>`))
		if err != nil {
			t.Fatal(err)
		}
		if _, bad := Parse(el); bad == nil || bad.Condition != xmpp.CondBadRequest {
			t.Errorf("%s: %v", in, bad)
		}
	}
}

func TestAnswersAreWritten(t *testing.T) {
	for _, test := range []struct {
		in   Answer
		want string
	}{
		{Answer{First: "a<", Last: "b", Index: 0, Count: 2}, `<set xmlns='http://jabber.org/protocol/rsm'><first index='0'>a&lt;</first><last>b</last><count>2</count></set>`},
		{Answer{First: "a", Last: "a", Index: -1, Count: -1}, `<set xmlns='http://jabber.org/protocol/rsm'><first>a</first><last>a</last></set>`},
		{Answer{Index: 3, Count: 0}, `<set xmlns='http://jabber.org/protocol/rsm'><count>0</count></set>`},
		{Answer{Index: -1, Count: -1}, `<set xmlns='http://jabber.org/protocol/rsm'/>`},
	} {
		w := xmpp.NewWriter(nil)
		test.in.Write(w)
		if got := string(w.Bytes()); got != test.want {
			t.Errorf("%+v: %s", test.in, got)
		}
	}
}
