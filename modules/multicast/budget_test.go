package multicast

import (
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/router/budget"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

func TestCopiesAreTakenFromTheSendersBudget(t *testing.T) {
	h := newHouse(t)
	purse := budget.New(func() budget.Rate { return budget.Rate{PerSecond: 100, Burst: 2000} }).Open("romeo@example.org")
	send := func() *router.Envelope {
		xml := strings.Replace(full(`<address type='bcc' jid='juliet@example.org'/><address type='bcc' jid='nurse@example.org'/>`+
			`<address type='bcc' jid='a@b.example'/><address type='bcc' jid='c@b.example'/>`), "hi", strings.Repeat("x", 2000), 1)
		x := moduletest.Parse(t, xml)
		x.From = jid.MustParse("romeo@example.org/a")
		e := &router.Envelope{Stanza: x, Session: h.romeo.Session, Account: x.From.Bare(), Budget: purse}
		h.Route(e)
		return e
	}
	if e := send(); e.Outcome != router.Delivered {
		t.Fatalf("%v %v", e.Outcome, e.Err)
	}
	if d := purse.Wait().Seconds(); d < 40 || d > 60 { // three copies beyond the one that was read
		t.Errorf("the debt lasts %v s", d)
	}
	if e := send(); e.Outcome != router.Refused || e.Err.Condition != xmpp.CondResourceConstraint ||
		e.Err.Type != xmpp.ErrorWait {
		t.Errorf("with a debt: %v %v", e.Outcome, e.Err)
	}
}
