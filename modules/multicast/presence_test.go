package multicast

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	here = `<presence to='` + service + `'><addresses xmlns='http://jabber.org/protocol/address'><address type='bcc' jid='juliet@example.org'/><address type='bcc' jid='paris@b.example'/></addresses><show>away</show></presence>`
	end  = `<presence from='romeo@example.org/a' type='unavailable' to='`
)

func shownTo(to string) string {
	return `<presence from='romeo@example.org/a' to='` + to + `'><show>away</show><addresses xmlns='http://jabber.org/protocol/address'><address type='bcc' jid='` + to + `'/></addresses></presence>`
}

// show lets romeo show himself to juliet and paris.
func (h *house) show() {
	h.t.Helper()
	h.romeo.Send(here)
	h.juliet.Want(shownTo("juliet@example.org"))
	h.wantSent(shownTo("paris@b.example"))
}

func TestWhoSawAPresenceLearnsOfItsEnd(t *testing.T) {
	for name, leave := range map[string]func(h *house){
		"by presence": func(h *house) { h.romeo.Send(`<presence type='unavailable'/>`) },
		"by presence to the service": func(h *house) {
			h.romeo.Send(`<presence type='unavailable' to='` + service + `'/>`)
		},
		"as module presence says it": func(h *house) {
			h.Emit(&xmpp.Stanza{Kind: xmpp.Presence, Type: xmpp.TypeUnavailable, From: h.romeo.Addr(),
				To: jid.MustParse(service)}, nil)
		},
		"by the end of the session": func(h *house) { h.romeo.Logout() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.show()
			leave(h)
			h.juliet.Want(end + `juliet@example.org'/>`)
			h.wantSent(end + `paris@b.example'/>`)
			leave(h)
			h.juliet.Want()
			h.wantSent()
		})
	}
}

func TestTheEndMayBeToldToSomeFirst(t *testing.T) {
	h := newHouse(t)
	h.show()
	h.romeo.Send(`<presence type='unavailable' to='` + service + `'><addresses><address jid='juliet@example.org'/></addresses></presence>`)
	h.juliet.Want(end + `juliet@example.org'/>`)
	h.wantSent()
	h.romeo.Logout()
	h.juliet.Want()
	h.wantSent(end + `paris@b.example'/>`)
}

func TestAnotherSessionUnderTheSameAddressKeepsThePresence(t *testing.T) {
	h := newHouse(t)
	h.show()
	old := h.romeo
	old.Linger()
	h.romeo = h.login("romeo/a")
	old.Logout()
	h.juliet.Want()
	h.romeo.Logout()
	h.juliet.Want(end + `juliet@example.org'/>`)
	h.wantSent(end + `paris@b.example'/>`)
}

func TestAnotherSessionThatIsNotAvailableKeepsNothing(t *testing.T) {
	h := newHouse(t)
	h.show()
	h.romeo.Linger()
	moduletest.Login(t, h.Router, "romeo/a")
	h.romeo.Logout()
	h.juliet.Want(end + `juliet@example.org'/>`)
	h.wantSent(end + `paris@b.example'/>`)
}

func TestWhoWasBlockedMeanwhileIsToldNothing(t *testing.T) {
	h := newHouse(t)
	h.show()
	h.blocked = jid.MustParse("juliet@example.org")
	h.romeo.Logout()
	h.juliet.Want()
	h.wantSent(end + `paris@b.example'/>`)
}

func TestPresenceIsShownToABoundedNumber(t *testing.T) {
	h := newHouse(t)
	h.most = 10000
	var list strings.Builder
	for i := range maxShown + 1 {
		fmt.Fprintf(&list, "<address jid='u%d@b.example'/>", i)
	}
	h.refused(`<presence to='`+service+`'><addresses>`+list.String()+`</addresses></presence>`, xmpp.CondResourceConstraint, "too many")
	h.show()
}

func TestSubscriptionsAndBarePresenceGoNowhere(t *testing.T) {
	h := newHouse(t)
	for _, xml := range []string{
		`<presence type='subscribe' to='` + service + `'><addresses><address jid='juliet@example.org'/></addresses></presence>`,
		`<presence type='probe' to='` + service + `'/>`, `<presence to='` + service + `'/>`,
	} {
		if e := h.romeo.Send(xml); e.Outcome != router.Dropped {
			t.Errorf("%s fared as %v", xml, e.Outcome)
		}
		h.juliet.Want()
	}
}
