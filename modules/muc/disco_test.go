package muc

import (
	"slices"
	"testing"
)

// XEP-0045 §16.3: what a room is, is told by its features, and only what it can do.
func TestARoomsFeaturesAreThoseOfItsSettings(t *testing.T) {
	w := newWorld(t)
	w.instant()
	for _, c := range []struct{ field, on, off string }{
		{"persistentroom", "muc_persistent", "muc_temporary"},
		{"publicroom", "muc_public", "muc_hidden"},
		{"membersonly", "muc_membersonly", "muc_open"},
		{"moderatedroom", "muc_moderated", "muc_unmoderated"},
		{"passwordprotectedroom", "muc_passwordprotected", "muc_unsecured"},
		{"enablelogging", "urn:xmpp:mam:2", ""},
		{registers, nsRegForm, ""},
		{registers, "jabber:iq:register", ""},
	} {
		for value, want := range map[string]string{"1": c.on, "0": c.off} {
			w.wantRefused(w.configure("crone", c.field+"="+value, "roomsecret=x"), "delivered")
			other := c.on
			if value == "1" {
				other = c.off
			}
			if got := w.room().Features(); want != "" && !slices.Contains(got, want) || slices.Contains(got, other) && other != "" {
				t.Errorf("with %s=%s the features are %s", c.field, value, got)
			}
		}
	}
}
