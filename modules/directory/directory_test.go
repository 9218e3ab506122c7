package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// A house is a server with a directory, and what is in it.
type house struct {
	*router.Router
	t      *testing.T
	cards  map[string]string // by user
	all    []accounts.Account
	read   int // times that the accounts were listed
	broken bool
	asked  int
}

func (h *house) Card(_ context.Context, user jid.JID) (*xmpp.Element, error) {
	card := h.cards[user.Local()]
	if card == "" {
		return nil, nil
	}
	return xmpp.ParseElement([]byte("<vCard xmlns='vcard-temp'>" + card + "</vCard>"))
}

func newHouse(t *testing.T) *house {
	h := &house{Router: moduletest.New("romeo", "juliet", "tybalt"), t: t, cards: map[string]string{
		"juliet": "<N><GIVEN>Juliet</GIVEN><FAMILY>Capulet</FAMILY></N><NICKNAME>JuliC</NICKNAME><EMAIL><USERID>juliet@shakespeare.lit</USERID></EMAIL>",
		"tybalt": "<FN>Tybalt  of\nCapulet</FN>",
	}}
	for _, user := range []string{"juliet", "romeo", "tybalt", "ghost"} {
		h.all = append(h.all, accounts.Account{User: jid.MustParse(user + "@example.org"), Disabled: user == "ghost"})
	}
	h.Use(New(Options{Router: h.Router, Cards: h, Log: moduletest.Discard(),
		Accounts: func(_ context.Context, host string) ([]accounts.Account, error) {
			h.read++
			if h.broken || host != "example.org" {
				return nil, errors.New("broken")
			}
			return h.all, nil
		}}), router.Module{Name: "vcard"})
	return h
}

// ask sends a <query/> with this content, and returns the answer: its payload, or type and condition of the error.
func (h *house) ask(who *moduletest.Client, kind, content string) string {
	h.t.Helper()
	h.asked++
	who.Send(fmt.Sprintf("<iq type='%s' id='%d' to='example.org'><query xmlns='jabber:iq:search'>%s</query></iq>", kind, h.asked, content))
	got := who.Deliveries()
	if len(got) != 1 {
		h.t.Fatalf("%d answers", len(got))
	}
	if bad := got[0].Stanza.Err(); bad != nil {
		return string(bad.Type) + " " + string(bad.Condition)
	}
	return string(got[0].Stanza.Payload)
}

func form(fields string) string {
	return "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>jabber:iq:search</value></field>" + fields + "</x>"
}

const (
	juliet = "<item jid='juliet@example.org'><first>Juliet</first><last>Capulet</last><nick>JuliC</nick><email>juliet@shakespeare.lit</email></item>"
	tybalt = "<item jid='tybalt@example.org'><first>Tybalt of</first><last>Capulet</last><nick></nick><email></email></item>"
	romeo  = "<item jid='romeo@example.org'><first></first><last></last><nick></nick><email></email></item>"
)

func TestUsersAreFoundByWhatTheirVCardsSay(t *testing.T) {
	h := newHouse(t)
	asker := moduletest.Login(t, h.Router, "romeo/orchard")
	for content, want := range map[string]string{
		"<last>capulet</last>":                          juliet + tybalt,
		"<last> CAPULET </last><first>jul</first>":      juliet,
		"<nick>julic</nick>":                            juliet,
		"<nick>rom</nick>":                              romeo, // the user name
		"<email>SHAKESPEARE</email>":                    juliet,
		"<first>tybalt  OF</first>":                     tybalt,
		"<nick>ghost</nick>":                            "", // disabled
		"<last>montague</last>":                         "",
		"<last>capulet</last><nick>nobody</nick>":       "",
		"<first/><last>capulet</last><nick></nick><x/>": juliet + tybalt,
		"":                "modify not-acceptable",
		"<last>  </last>": "modify not-acceptable",
		"<last>" + strings.Repeat("x", 300) + "</last>":                                                  "modify not-acceptable",
		"<x xmlns='jabber:x:data' type='form'/>":                                                         "modify bad-request",
		"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>other</value></field></x>": "modify bad-request",
		form(""): "modify not-acceptable",
	} {
		if !strings.HasSuffix(want, "acceptable") && !strings.HasSuffix(want, "request") {
			want = "<query xmlns='jabber:iq:search'>" + want + "</query>"
		}
		if got := h.ask(asker, "set", content); got != strings.ReplaceAll(want, "<query xmlns='jabber:iq:search'></query>", "<query xmlns='jabber:iq:search'/>") {
			moduletest.Same(t, got, want)
		}
	}
}

func TestTheDirectoryIsForUsersOfItsHost(t *testing.T) {
	h := newHouse(t)
	peers := &moduletest.Remote{}
	h.SetRemote(peers)
	for _, from := range []string{"king@example.net/throne", "example.net"} {
		s := moduletest.Parse(t, "<iq type='set' id='1' to='example.org'><query xmlns='jabber:iq:search'><last>capulet</last></query></iq>")
		s.From = jid.MustParse(from)
		h.Route(&router.Envelope{Stanza: s, Batch: &router.Batch{}, Peer: "example.net"})
		if got := peers.Sent(); len(got) != 1 || !strings.Contains(got[0], "<forbidden ") || strings.Contains(got[0], "juliet") {
			t.Errorf("%s gets %q", from, got)
		}
	}
}

func TestAFormIsAnsweredByOne(t *testing.T) {
	h := newHouse(t)
	asker := moduletest.Login(t, h.Router, "romeo/orchard")
	got := h.ask(asker, "get", "")
	for _, want := range []string{"<first/><last/><nick/><email/>", "<field var='email' type='text-single' label='Email address'", "type='form'"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	moduletest.Same(t, h.ask(asker, "set", form("<field var='last'><value>capulet</value></field><field var='nick'><value>juli</value></field>")),
		`<query xmlns='jabber:iq:search'><x xmlns='jabber:x:data' type='result'><field type='hidden' var='FORM_TYPE'><value>jabber:iq:search</value></field>
		<reported><field var='jid' type='jid-single' label='Address'/><field var='first' type='text-single' label='Given name'/>
		<field var='last' type='text-single' label='Family name'/><field var='nick' type='text-single' label='Nickname'/>
		<field var='email' type='text-single' label='Email address'/></reported>
		<item><field var='jid'><value>juliet@example.org</value></field><field var='first'><value>Juliet</value></field>
		<field var='last'><value>Capulet</value></field><field var='nick'><value>JuliC</value></field>
		<field var='email'><value>juliet@shakespeare.lit</value></field></item></x></query>`)
}

func TestTheDirectoryIsReadOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		asker := moduletest.Login(t, h.Router, "romeo/orchard")
		for range 3 {
			h.ask(asker, "set", "<last>capulet</last>")
		}
		if h.read != 1 {
			t.Errorf("it is read %d times", h.read)
		}
		h.cards["romeo"] = "<FN>Romeo Capulet</FN>"
		time.Sleep(freshFor)
		if got := h.ask(asker, "set", "<last>capulet</last>"); !strings.Contains(got, "romeo@") || h.read != 2 {
			t.Errorf("it is read %d times: %s", h.read, got)
		}
		h.broken = true
		time.Sleep(freshFor)
		if got := h.ask(asker, "set", "<last>capulet</last>"); got != "wait resource-constraint" {
			t.Errorf("without storage: %s", got)
		}
		h.broken = false
		if err := h.Remove(jid.MustParse("tybalt@example.org")); err != nil {
			t.Fatal(err)
		}
		h.all = h.all[:2]
		if got := h.ask(asker, "set", "<last>capulet</last>"); strings.Contains(got, "tybalt@") {
			t.Errorf("a removed account is found: %s", got)
		}
	})
}

func TestAnswersAndSearchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		for i := range most {
			h.all = append(h.all, accounts.Account{User: jid.MustParse(fmt.Sprintf("extra%d@example.org", i))})
		}
		asker := moduletest.Login(t, h.Router, "romeo/orchard")
		if got := h.ask(asker, "set", "<nick>extra</nick>"); strings.Count(got, "<item ") != most {
			t.Errorf("%d are found", strings.Count(got, "<item "))
		}
		if got := h.ask(asker, "set", "<nick>e</nick>"); got != "modify not-acceptable" {
			t.Errorf("too many: %.200s", got)
		}
		for range searches - 2 {
			h.ask(asker, "set", "<nick>nobody</nick>")
		}
		if got := h.ask(asker, "set", "<nick>nobody</nick>"); got != "wait resource-constraint" {
			t.Errorf("one more: %s", got)
		}
		time.Sleep(searchEvery)
		if got := h.ask(asker, "set", "<nick>nobody</nick>"); strings.Contains(got, "wait") {
			t.Errorf("later: %s", got)
		}
	})
}
