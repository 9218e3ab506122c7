package roster

import (
	"testing"

	"jackdaw/xmpp"
)

// The states of RFC 6121 appendix A.1.
var states = map[string]State{
	"None":           {},
	"None+Out":       {PendingOut: true},
	"None+In":        {PendingIn: true},
	"None+Out+In":    {PendingOut: true, PendingIn: true},
	"To":             {To: true},
	"To+In":          {To: true, PendingIn: true},
	"From":           {From: true},
	"From+Out":       {From: true, PendingOut: true},
	"Both":           {To: true, From: true},
	"None, approved": {Approved: true},
	"Out, approved":  {PendingOut: true, Approved: true},
	"To, approved":   {To: true, Approved: true},
}

// A cell is: state before, whether the stanza goes on, state after, and whether it is answered for the user.
type cell struct {
	before  string
	pass    bool
	after   string
	granted bool
}

func TestStatesChangeAsAppendixASays(t *testing.T) {
	for _, table := range []struct {
		name    string
		inbound bool
		typ     xmpp.Type
		cells   []cell
	}{
		{"A.2.1", false, xmpp.TypeSubscribe, []cell{
			{"None", true, "None+Out", false},
			{"None+Out", true, "None+Out", false},
			{"None+In", true, "None+Out+In", false},
			{"None+Out+In", true, "None+Out+In", false},
			{"To", true, "To", false},
			{"To+In", true, "To+In", false},
			{"From", true, "From+Out", false},
			{"From+Out", true, "From+Out", false},
			{"Both", true, "Both", false},
			{"None, approved", true, "Out, approved", false},
			{"Out, approved", true, "Out, approved", false},
			{"To, approved", true, "To, approved", false},
		}},
		{"A.2.2", false, xmpp.TypeUnsubscribe, []cell{
			{"None", true, "None", false},
			{"None+Out", true, "None", false},
			{"None+In", true, "None+In", false},
			{"None+Out+In", true, "None+In", false},
			{"To", true, "None", false},
			{"To+In", true, "None+In", false},
			{"From", true, "From", false},
			{"From+Out", true, "From", false},
			{"Both", true, "From", false},
			{"None, approved", true, "None, approved", false},
			{"Out, approved", true, "None, approved", false},
			{"To, approved", true, "None, approved", false},
		}},
		{"A.2.3 and §3.4.2", false, xmpp.TypeSubscribed, []cell{
			{"None", false, "None, approved", false},
			{"None+Out", false, "Out, approved", false},
			{"None+In", true, "From", false},
			{"None+Out+In", true, "From+Out", false},
			{"To", false, "To, approved", false},
			{"To+In", true, "Both", false},
			{"From", false, "From", false},
			{"From+Out", false, "From+Out", false},
			{"Both", false, "Both", false},
			{"None, approved", false, "None, approved", false},
			{"Out, approved", false, "Out, approved", false},
			{"To, approved", false, "To, approved", false},
		}},
		{"A.2.4", false, xmpp.TypeUnsubscribed, []cell{
			{"None", false, "None", false},
			{"None+Out", false, "None+Out", false},
			{"None+In", true, "None", false},
			{"None+Out+In", true, "None+Out", false},
			{"To", false, "To", false},
			{"To+In", true, "To", false},
			{"From", true, "None", false},
			{"From+Out", true, "None+Out", false},
			{"Both", true, "To", false},
			{"None, approved", false, "None", false},
			{"Out, approved", false, "None+Out", false},
			{"To, approved", false, "To", false},
		}},
		{"A.3.1 and §3.4.2", true, xmpp.TypeSubscribe, []cell{
			{"None", true, "None+In", false},
			{"None+Out", true, "None+Out+In", false},
			{"None+In", false, "None+In", false},
			{"None+Out+In", false, "None+Out+In", false},
			{"To", true, "To+In", false},
			{"To+In", false, "To+In", false},
			{"From", false, "From", true},
			{"From+Out", false, "From+Out", true},
			{"Both", false, "Both", true},
			{"None, approved", false, "From", true},
			{"Out, approved", false, "From+Out", true},
			{"To, approved", false, "Both", true},
		}},
		{"A.3.2", true, xmpp.TypeUnsubscribe, []cell{
			{"None", false, "None", false},
			{"None+Out", false, "None+Out", false},
			{"None+In", true, "None", false},
			{"None+Out+In", true, "None+Out", false},
			{"To", false, "To", false},
			{"To+In", true, "To", false},
			{"From", true, "None", false},
			{"From+Out", true, "None+Out", false},
			{"Both", true, "To", false},
			{"None, approved", false, "None, approved", false},
			{"Out, approved", false, "Out, approved", false},
			{"To, approved", false, "To, approved", false},
		}},
		{"A.3.3", true, xmpp.TypeSubscribed, []cell{
			{"None", false, "None", false},
			{"None+Out", true, "To", false},
			{"None+In", false, "None+In", false},
			{"None+Out+In", true, "To+In", false},
			{"To", false, "To", false},
			{"To+In", false, "To+In", false},
			{"From", false, "From", false},
			{"From+Out", true, "Both", false},
			{"Both", false, "Both", false},
			{"None, approved", false, "None, approved", false},
			{"Out, approved", true, "To, approved", false},
			{"To, approved", false, "To, approved", false},
		}},
		{"A.3.4", true, xmpp.TypeUnsubscribed, []cell{
			{"None", false, "None", false},
			{"None+Out", true, "None", false},
			{"None+In", false, "None+In", false},
			{"None+Out+In", true, "None+In", false},
			{"To", true, "None", false},
			{"To+In", true, "None+In", false},
			{"From", false, "From", false},
			{"From+Out", true, "From", false},
			{"Both", true, "From", false},
			{"None, approved", false, "None, approved", false},
			{"Out, approved", true, "None, approved", false},
			{"To, approved", true, "None, approved", false},
		}},
	} {
		for _, c := range table.cells {
			t.Run(table.name+" "+c.before, func(t *testing.T) {
				step := State.outbound
				if table.inbound {
					step = State.inbound
				}
				got := step(states[c.before], table.typ)
				if want := (effect{states[c.after], c.pass, c.granted}); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		}
	}
}

func TestOtherStanzasChangeNothing(t *testing.T) {
	for name, s := range states {
		if got := s.outbound(xmpp.TypeProbe); got != (effect{next: s}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
