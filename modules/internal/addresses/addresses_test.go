package addresses

import (
	"errors"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
)

func TestTheListIsTakenOutOfThePayload(t *testing.T) {
	for _, row := range []struct {
		payload, rest string
		list          bool
		err           error
	}{
		{`<body>a</body><addresses><address jid='a@b'/></addresses><x xmlns='y'/>`, `<body>a</body><x xmlns='y'/>`, true, nil},
		{`<addresses xmlns='http://jabber.org/protocol/address'/>`, ``, true, nil},
		{`<addresses xmlns='urn:x'/>`, `<addresses xmlns='urn:x'/>`, false, nil},
		{`<addresses/><addresses xmlns='http://jabber.org/protocol/address'/>`, ``, false, ErrTwice},
	} {
		list, rest, err := Take(moduletest.Parse(t, `<message>`+row.payload+`</message>`))
		if (list != nil) != row.list || string(rest) != row.rest || !errors.Is(err, row.err) {
			t.Errorf("%s: %v, %q, %v", row.payload, list, rest, err)
		}
	}
}

func TestAllAddressesAreNormalisedOnceAndOffendersNamed(t *testing.T) {
	list, _, err := Take(moduletest.Parse(t, `<message><addresses><address jid='Romeo@Example.org' type='cc'/><address jid='romeo@example.org'/>`+
		`<address jid='@'/><address jid='juliet@example.org/a' type='bcc'/><address/><x/><address jid='c@d' type='replyto'/></addresses></message>`))
	if err != nil {
		t.Fatal(err)
	}
	bad := Offenders{Most: 2}
	all := All(list, &bad)
	if want := "address 5 has no jid; element 6 of <addresses/> is not an <address/>; and 1 more"; bad.String() != want {
		t.Errorf("offenders %s, want %s", &bad, want)
	}
	bad = Offenders{}
	got, tooMany := Normalise(all, 2, &bad)
	if tooMany || len(got) != 2 || got[0].String() != "romeo@example.org" || got[1].String() != "juliet@example.org/a" {
		t.Errorf("%v, %v", got, tooMany)
	}
	if !strings.HasPrefix(bad.String(), `address 3, "@", is not valid: `) {
		t.Errorf("offenders %s", &bad)
	}
	bad = Offenders{}
	if _, tooMany = Normalise(all, 1, &bad); !tooMany || !strings.Contains(bad.String(), "more than the 1 recipients") {
		t.Errorf("%v, %s", tooMany, &bad)
	}
}
