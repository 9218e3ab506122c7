package tokens

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

func TestScopesAreReadAndWritten(t *testing.T) {
	s := scopes(t, "send:to=Bob@IM.example.org", "muc", "multicast", "send", "forge_sender=*@TRAC", "gateway", "hook:ops", "muc", "forge_sender")
	want := "forge_sender forge_sender=*@trac gateway hook:ops muc multicast send send:to=bob@im.example.org"
	if s.String() != want {
		t.Errorf("%s", s)
	}
	b, err := json.Marshal(s)
	var back Scopes
	if err != nil || json.Unmarshal(b, &back) != nil || !slices.Equal(back.List(), s.List()) || !back.Hook("ops") {
		t.Errorf("%s: %v, %v", b, back, err)
	}
	for _, bad := range []string{"", "sned", "send:", "send:to", "send:to=", "send:to=a@b/c", "hook:", "hook:a b", "hook:" + strings.Repeat("a", 101),
		"forge_sender=", "multicast=x", "admin", "muc:to=x", "gateway "} {
		if _, err := ParseScopes(bad); !errors.Is(err, ErrScope) && !errors.Is(err, accounts.ErrPattern) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := ParseScopes(slices.Repeat([]string{"send"}, 51)...); !errors.Is(err, ErrScope) {
		t.Errorf("51: %v", err)
	}
}

// TestATokenMayNoMoreThanItsScopesAndItsOwner is the table of both.
func TestATokenMayNoMoreThanItsScopesAndItsOwner(t *testing.T) {
	s := open(t)
	j := jid.MustParse
	all := []accounts.Permission{"http_message", "multicast", "forge_sender", "xmppgateway", "admin"}
	for _, row := range []struct {
		granted string // to the owner, beside http_message
		scopes  string // "-": a password
		has     string // of all
		forge   string // of trac-1@trac, juliet@example.org
		send    string // of juliet@example.org, ops@conference.example.org (a room), x@other.example
	}{
		{"", "-", "http_message", "", "juliet ops x"},
		{"admin", "-", "http_message multicast forge_sender admin", "trac-1 juliet", "juliet ops x"},
		{"forge_sender=*@trac", "-", "http_message", "trac-1", "juliet ops x"},
		{"", "send multicast forge_sender gateway muc", "http_message", "", "juliet ops x"},
		{"admin xmppgateway", "send", "http_message", "", "juliet x"},
		{"admin", "muc", "http_message", "", "ops"},
		{"admin", "send:to=*@example.org", "http_message", "", "juliet"},
		{"admin", "send:to=*.example.org", "http_message", "", "ops"},
		{"admin", "send:to=*", "http_message", "", "juliet ops x"},
		{"admin xmppgateway", "send multicast gateway forge_sender", "http_message multicast forge_sender xmppgateway", "trac-1 juliet", "juliet x"},
		{"admin", "send forge_sender=*@trac", "http_message", "trac-1", "juliet x"},
		{"forge_sender=*@example.org", "send forge_sender=*@trac", "http_message", "", "juliet x"},
		{"forge_sender=trac-*@trac", "send forge_sender=*@trac", "http_message", "trac-1", "juliet x"},
		{"forge_sender", "hook:ops", "", "", ""},
	} {
		if err := s.accounts.Revoke(t.Context(), romeo, all...); err != nil {
			t.Fatal(err)
		}
		for _, p := range strings.Fields(row.granted) {
			if err := s.accounts.Grant(t.Context(), romeo, accounts.Permission(p)); err != nil {
				t.Fatal(err)
			}
		}
		owner, err := s.accounts.Rights(t.Context(), romeo)
		if err != nil {
			t.Fatal(err)
		}
		r := Whole(owner)
		if row.scopes != "-" {
			s := scopes(t, strings.Fields(row.scopes)...)
			r = s.Within(owner)
		}
		var has, forge, send []string
		for _, p := range all {
			if r.Has(p) {
				has = append(has, string(p))
			}
		}
		for _, a := range []string{"trac-1@trac", "juliet@example.org"} {
			if r.MayForge(j(a)) {
				forge = append(forge, j(a).Local())
			}
		}
		for _, a := range []string{"juliet@example.org", "ops@conference.example.org", "x@other.example"} {
			if r.MaySend(j(a), strings.Contains(a, "conference.")) {
				send = append(send, j(a).Local())
			}
		}
		got := strings.Join([]string{strings.Join(has, " "), strings.Join(forge, " "), strings.Join(send, " ")}, "|")
		if want := row.has + "|" + row.forge + "|" + row.send; got != want {
			t.Errorf("%s with %s: %s, want %s", row.granted, row.scopes, got, want)
		}
		if !r.MayForge(j("romeo@example.org/phone")) {
			t.Errorf("%s with %s: not in his own name", row.granted, row.scopes)
		}
	}
	if err := s.accounts.SetDisabled(t.Context(), romeo, true); err != nil {
		t.Fatal(err)
	}
	owner, err := s.accounts.Rights(t.Context(), romeo)
	may := scopes(t, "send", "forge_sender")
	if r := may.Within(owner); err != nil || r.Has("http_message") || r.MayForge(romeo) || (Rights{}).Has("http_message") {
		t.Errorf("disabled: %v", err)
	}
}
