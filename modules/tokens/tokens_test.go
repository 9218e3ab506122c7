package tokens

import (
	"context"
	"errors"
	"strings"
	"testing"

	"jackdaw/router"
	known "jackdaw/router/tokens"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// shelf is what is known.
type shelf struct {
	list []known.Kept
	err  error
}

func (s *shelf) Kept(context.Context, jid.JID) ([]known.Kept, error) { return s.list, s.err }

func (s *shelf) Restore(_ context.Context, k known.Kept, dry bool) (bool, []*storage.Pending, error) {
	if s.err != nil {
		return false, nil, s.err
	}
	for _, old := range s.list {
		if old.SHA256 == k.SHA256 {
			return false, nil, nil
		}
	}
	if !dry {
		s.list = append(s.list, k)
	}
	return true, nil, nil
}

const one = `<token sha256='AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=' kind='jdt' created='2024-01-02T03:04:05.000Z' every='1s' burst='60'>` +
	`<scope>send</scope><network>192.0.2.0/24</network></token>`

// give imports an element, and returns what became of it.
func give(t *testing.T, s *shelf, xml string, dry bool) (*router.Incoming, error) {
	t.Helper()
	doc := []byte("<tokens xmlns='" + router.NSPortable + "'>" + xml + "</tokens>")
	el, err := xmpp.ParseElement(doc)
	if err != nil || len(el.Children()) != 1 {
		t.Fatalf("%s: %v", xml, err)
	}
	section := New(Options{s}).Portable[0].Import[0]
	if section.Name != el.Name || section.Depth != 1 {
		t.Fatalf("%v", section.Name)
	}
	last := uint64(0)
	in := router.NewIncoming(jid.MustParse("romeo@localhost"), el.Children()[0], []*xmpp.Element{el}, dry, &last)
	return in, section.Import(t.Context(), in)
}

func TestTokensComeOnceAndOnlyWhole(t *testing.T) {
	s := &shelf{}
	if in, err := give(t, s, one, true); err != nil || in.Came != 1 || len(s.list) > 0 {
		t.Fatalf("dry: %+v, %v", in, err)
	}
	if in, err := give(t, s, one, false); err != nil || in.Came != 1 || len(s.list) != 1 || s.list[0].Owner != in.User {
		t.Fatalf("%+v, %v, %+v", in, err, s.list)
	}
	if in, err := give(t, s, one, false); err != nil || in.Came != 0 || in.Had != 1 {
		t.Errorf("again: %+v, %v", in, err)
	}
	for name, change := range map[string][2]string{
		"no digest":       {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AAAA"},
		"digest":          {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "?"},
		"created":         {"2024-01-02T03:04:05.000Z", "yesterday"},
		"expires":         {"every=", "expires='soon' every="},
		"every":           {"'1s'", "'often'"},
		"burst":           {"'60'", "'many'"},
		"max-bytes":       {"burst", "max-bytes='few' burst"},
		"scope":           {"<scope>send<", "<scope>admin<"},
		"network":         {"192.0.2.0/24", "192.0.2"},
		"another element": {"token", "tokin"},
	} {
		in, err := give(t, s, strings.ReplaceAll(one, change[0], change[1]), false)
		if err != nil || in.Came != 0 || len(in.Lost) != 1 || len(s.list) != 1 {
			t.Errorf("%s: %+v, %v", name, in, err)
		}
	}
	s.err = known.Refused{Reason: errors.New("odd")}
	if in, err := give(t, s, one, false); err != nil || len(in.Lost) != 1 {
		t.Errorf("refused: %+v, %v", in, err)
	}
	s.err = errors.New("away")
	if _, err := give(t, s, one, false); err != s.err {
		t.Errorf("storage: %v", err)
	}
}
