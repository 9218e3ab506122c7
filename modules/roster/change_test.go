package roster

import (
	"slices"
	"testing"

	"jackdaw/router"
	"jackdaw/xmpp/jid"
)

func TestChangesOfWhatContactsMaySeeAreTold(t *testing.T) {
	c := newScene(t, Options{})
	var told []string
	c.m.OnChange(func(_ *router.Batch, user, contact jid.JID, gained bool) {
		what := user.Local() + " " + contact.Local()
		if gained {
			what += " gained"
		}
		if _, err := c.m.Sees(user, contact); err != nil { // no roster is locked
			t.Error(err)
		}
		told = append(told, what)
	})
	want := func(all ...string) {
		t.Helper()
		slices.Sort(told)
		if !slices.Equal(told, all) {
			t.Errorf("told %v, want %v", told, all)
		}
		told = nil
	}
	romeo, juliet := c.login("romeo/a"), c.login("juliet/b")
	romeo.Send(`<presence to='juliet@example.org' type='subscribe'/>`)
	want("juliet romeo", "romeo juliet")
	juliet.Send(`<presence to='romeo@example.org' type='subscribed'/>`)
	want("juliet romeo gained", "romeo juliet gained")
	romeo.Send(set(`<item jid='juliet@example.org'><group>Friends</group></item>`))
	want("romeo juliet")
	groups, err := c.m.Groups(jid.MustParse("romeo@example.org"), jid.MustParse("juliet@example.org"))
	if err != nil || !slices.Equal(groups, []string{"Friends"}) {
		t.Errorf("groups %v, %v", groups, err)
	}
	if groups, err = c.m.Groups(jid.MustParse("romeo@example.org"), jid.MustParse("nurse@example.org")); err != nil || groups != nil {
		t.Errorf("groups of a stranger %v, %v", groups, err)
	}
	juliet.Send(`<presence to='romeo@example.org' type='unsubscribed'/>`)
	want("juliet romeo", "romeo juliet")
}
