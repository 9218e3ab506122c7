package delegation

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/config"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// nodes are two: near, where ann is at home, and far, where ben and the component are.
func nodes(t *testing.T, f func(near, far *house, ann *moduletest.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := moduletest.NewStore()
		near, far := newHouseOn(t, store), newHouseOn(t, store)
		moduletest.Link(moduletest.HomeOf(pepDomain, "ben@example.org"), near.Router, far.Router)
		f(near, far, moduletest.Login(t, near.Router, "ann/a"))
	})
}

func TestARequestIsHandedToAComponentAtAnotherNode(t *testing.T) {
	nodes(t, func(near, far *house, ann *moduletest.Client) {
		for _, row := range []struct{ to, answers string }{
			{"", "ann@example.org"},
			{"example.org", "example.org"},
			{"ann@example.org", "ann@example.org"},
			{"ben@example.org", "ben@example.org"},
		} {
			to := ""
			if row.to != "" {
				to = " to='" + row.to + "'"
			}
			ann.Send(strings.Replace(asks, " id='1'", " id='1'"+to, 1))
			s := far.one()
			moduletest.Same(t, string(s.Append(nil)), `<iq type='set' id='`+s.ID+`' from='example.org' to='pep.example.org'>`+
				`<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='get' `+
				`id='1' from='ann@example.org/a'`+to+`><q xmlns='given'/></iq></forwarded></delegation></iq>`)
			far.answers(s, good)
			moduletest.Same(t, received(t, ann),
				`<iq type='result' id='1' from='`+row.answers+`' to='ann@example.org/a'><a xmlns='given'/></iq>`)
		}
		ann.Send(`<iq type='get'><q xmlns='given'/></iq>`) // which the server serves, too
		s := far.one()
		iq := s.Child(delegationName).Children()[0].Children()[0]
		far.answers(s, strings.Replace(good, "id='1'", "id='"+iq.Attr("id")+"'", 1))
		moduletest.Same(t, received(t, ann),
			`<iq type='result' from='ann@example.org' to='ann@example.org/a'><a xmlns='given'/></iq>`)
		if near.own != nil || far.own != nil || near.take() != nil || len(near.d.asked) != 0 || len(far.d.asked) != 0 {
			t.Errorf("the server was asked %q and %q; %d and %d wait", near.own, far.own, len(near.d.asked), len(far.d.asked))
		}
	})
}

func TestAComponentAtAnotherNodeThatIsAwayOrMovesIsServiceUnavailable(t *testing.T) {
	nodes(t, func(near, far *house, ann *moduletest.Client) {
		far.away = true
		ann.Send(asks)
		if got := received(t, ann); strings.Count(got, "<iq") != 1 || !strings.Contains(got, "<service-unavailable") ||
			!strings.Contains(got, "id='1'") {
			t.Errorf("away: ann got %q", got)
		}
		far.away = false
		ann.Send(asks)
		if err := far.Release(t.Context(), func(owner string) bool { return owner == pepDomain }, "", ""); err != nil {
			t.Fatal(err)
		}
		if got := received(t, ann); strings.Count(got, "<iq") != 1 || !strings.Contains(got, "<service-unavailable") {
			t.Errorf("moved: ann got %q", got)
		}
		if len(far.d.asked) != 0 {
			t.Errorf("%d wait", len(far.d.asked))
		}
		// Nobody but the server has something handed to a component.
		ann.Send(`<iq type='set' id='2' to='pep.example.org'><delegated xmlns='urn:jackdaw:nodes' asker='ben@example.org' ` +
			`to='ann@example.org' id='x' inner='x' who='x'><delegation xmlns='urn:xmpp:delegation:2'/></delegated></iq>`)
		if len(far.d.asked) != 0 {
			t.Error("a client has handed something to the component")
		}
	})
}

func TestRequestsOfOneAccountAreBoundedAtTheHomeOfTheComponent(t *testing.T) {
	nodes(t, func(near, far *house, ann *moduletest.Client) {
		for range mostOfOne {
			ann.Send(asks)
		}
		if got := received(t, ann); got != "" {
			t.Fatalf("refused: %q", got)
		}
		ann.Send(asks)
		if got := received(t, ann); !strings.Contains(got, "<resource-constraint") {
			t.Errorf("one account: %q", got)
		}
		<-time.After(patience)
		synctest.Wait()
		if got := received(t, ann); strings.Count(got, "<service-unavailable") != mostOfOne {
			t.Errorf("after a minute: %d", strings.Count(got, "<iq"))
		}
	})
}

func TestAllNodesKnowWhatAComponentSaysOfItself(t *testing.T) {
	nodes(t, func(near, far *house, _ *moduletest.Client) {
		info := func(h *house, account bool) string {
			var all strings.Builder
			for _, el := range h.d.Info("example.org", account) {
				all.Write(el.Append(nil))
			}
			return all.String()
		}
		const before = "<feature xmlns='http://jabber.org/protocol/disco#info' var='before'/>"
		if _, _, err := near.d.o.Store.Update(t.Context(), "example.org", storage.AnyVersion, storage.Change{
			Key: "pep.example.org host some", Value: []byte("\x01<query xmlns='http://jabber.org/protocol/disco#info'>" + before +
				"</query>")}); err != nil {
			t.Fatal(err)
		}
		if got := info(near, false); !strings.Contains(got, "var='before'") {
			t.Errorf("of before the start: %s", got)
		}
		version := near.d.Version()
		near.d.Reloaded() // as a component that is connected elsewhere, it is told there
		if got := append(near.take(), far.take()...); got != nil {
			t.Errorf("told where it is not connected: %v", got)
		}
		far.d.Connected(pepDomain)
		for _, s := range far.take() {
			switch q := s.Child(discoInfo); {
			case q == nil:
			case q.Attr("node") == ns+":bare:given":
				far.brings(`<iq type='result' id='` + s.ID + `' to='example.org'><query xmlns='` + xmpp.NSDiscoInfo + `' node='` +
					q.Attr("node") + `'><identity category='pubsub' type='pep'/><feature var='given'/></query></iq>`)
			case q.Attr("node") == ns+"::some": // it has nothing to say
				far.brings(`<iq type='error' id='` + s.ID + `' to='example.org'/>`)
			}
		}
		for who, h := range map[string]*house{"near": near, "far": far} {
			if got := info(h, true); !strings.Contains(got, "type='pep'") || !strings.Contains(got, "var='given'") {
				t.Errorf("%s says of accounts %s", who, got)
			}
			if got := info(h, false); got != "" {
				t.Errorf("%s says of the host %s", who, got)
			}
		}
		if near.d.Version() == version {
			t.Error("the version is the same")
		}
		for _, h := range []*house{near, far} {
			h.v = map[string]config.Delegation{}
			h.d.Reloaded()
		}
		if entries, _, err := near.d.o.Store.List(t.Context(), "example.org"); err != nil || len(entries) != 0 {
			t.Errorf("left are %v, %v", entries, err)
		}
		<-time.After(patience)
	})
}

// A request that comes from a peer counts as the peer's wherever it is done.
func TestARequestOfAPeerCountsAsThePeers(t *testing.T) {
	nodes(t, func(near, far *house, _ *moduletest.Client) {
		s := moduletest.Parse(t, `<iq type='get' id='1' to='ann@example.org' from='x@peer.example/y'><q xmlns='given'/></iq>`)
		near.Route(&router.Envelope{Stanza: s, Quiet: true, Peer: "peer.example"})
		far.d.mu.Lock()
		if far.d.of["of peer.example by "+pepDomain] != 1 {
			t.Errorf("there wait %v", far.d.of)
		}
		far.d.mu.Unlock()
		<-time.After(patience)
	})
}
