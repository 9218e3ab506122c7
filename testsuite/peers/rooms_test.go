package peers

import (
	"fmt"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// A visitor is somebody in a room.
type visitor struct {
	*harness.Client
	t    *testing.T
	room string
	nick string
}

// visit enters a room.
func visit(t *testing.T, c *harness.Client, room, nick string) *visitor {
	t.Helper()
	v := &visitor{c, t, room, nick}
	v.say("<presence to='" + room + "/" + nick + "'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	v.until("its own presence", "<presence", "code='110'")
	v.until("the subject", "<message", "<subject")
	return v
}

func (v *visitor) say(xml string) {
	v.t.Helper()
	if err := v.Send(xml); err != nil {
		v.t.Fatalf("%s cannot send: %v", v.nick, err)
	}
}

// until returns the next stanza with all of these texts. Quotes do not matter.
func (v *visitor) until(what string, texts ...string) string {
	v.t.Helper()
	var seen []string
	el, err := v.Until(func(el string) bool {
		el = strings.ReplaceAll(el, `"`, `'`)
		seen = append(seen, el)
		for _, text := range texts {
			if !strings.Contains(el, text) {
				return false
			}
		}
		return true
	})
	if err != nil {
		v.t.Fatalf("%s waits for %s (%q): %v; so far\n%s", v.nick, what, texts, err, strings.Join(seen, "\n"))
	}
	return strings.ReplaceAll(el, `"`, `'`)
}

// admin changes a role or an affiliation.
func (v *visitor) admin(id, item string) {
	v.t.Helper()
	v.say("<iq type='set' id='" + id + "' to='" + v.room + "'><query xmlns='http://jabber.org/protocol/muc#admin'>" + item + "</query></iq>")
	v.until("the result of "+item, "<iq", "id='"+id+"'", "type='result'")
}

// open makes an instant room.
func (v *visitor) open() {
	v.t.Helper()
	v.say("<iq type='set' id='open' to='" + v.room + "'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>")
	v.until("the room to be open", "<iq", "id='open'", "type='result'")
}

// bareOf is the address of a client without its resource.
func bareOf(c *harness.Client) string { bare, _, _ := strings.Cut(c.JID, "/"); return bare }

// inRoom has a guest from one server do in a room of the other what is done in rooms.
func inRoom(t *testing.T, owner, guest *harness.Client, room string) {
	t.Helper()
	o := visit(t, owner, room, "owner")
	o.open()
	g := visit(t, guest, room, "guest")
	o.until("the guest", "<presence", "from='"+room+"/guest'", "jid='"+guest.JID+"'")
	for i, from := range []*visitor{o, g} {
		body := fmt.Sprintf("said %d", i)
		from.say("<message type='groupchat' id='" + body + "' to='" + room + "'><body>" + body + "</body></message>")
		for _, to := range []*visitor{o, g} {
			to.until(body, "<message", "from='"+room+"/"+from.nick+"'", "id='"+body+"'", "<body>"+body+"</body>")
		}
	}
	for _, pair := range [][2]*visitor{{o, g}, {g, o}} {
		pair[0].say("<message type='chat' id='pm' to='" + room + "/" + pair[1].nick + "'><body>psst</body></message>")
		el := pair[1].until("a private message", "<message", "from='"+room+"/"+pair[0].nick+"'", "<body>psst</body>")
		if strings.Contains(el, bareOf(pair[0].Client)) {
			t.Errorf("the address of who is in the room is told: %s", el)
		}
	}
	g.say("<presence to='" + room + "/visitor'/>")
	o.until("the new nick", "<presence", "from='"+room+"/guest'", "code='303'")
	g.until("its new nick", "<presence", "from='"+room+"/visitor'", "code='110'")
	o.admin("kick", "<item nick='visitor' role='none'><reason>Avaunt</reason></item>")
	g.until("the kick", "<presence", "type='unavailable'", "code='307'", "Avaunt")
	g = visit(t, guest, room, "guest")
	o.admin("ban", "<item affiliation='outcast' jid='"+bareOf(guest)+"'/>")
	g.until("the ban", "<presence", "type='unavailable'", "code='301'")
	g.say("<presence id='again' to='" + room + "/guest'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	g.until("to be kept out", "<presence", "type='error'", "<forbidden")
	o.admin("pardon", "<item affiliation='none' jid='"+bareOf(guest)+"'/>")
	g = visit(t, guest, room, "guest")
	g.say("<presence type='unavailable' to='" + room + "/guest'/>")
	o.until("the guest's leave", "<presence", "type='unavailable'", "from='"+room+"/guest'")
}

func TestRoomsAcrossServers(t *testing.T) {
	t.Parallel()
	n := NewNetwork(t)
	const ours, theirs = "rooms.jackdaw.example", "rooms.prosody.example"
	n.mu.Lock()
	site := Site{S2S: harness.FreeAddr(), S2STLS: harness.FreeAddr()}
	n.sites["prosody.example"], n.sites[theirs] = site, site
	n.mu.Unlock()
	var jackdaw *harness.Server
	var prosody *Peer
	start(t, func() { prosody = n.StartProsody(Options{Users: crowd(0, 1), Rooms: true}) }, func() {
		jackdaw = n.StartJackdaw(JackdawOptions{Options: Options{Users: crowd(0, 1)}, To: []string{"prosody.example", theirs},
			Config: "limits: {peer_age: 3s, peer_backoff_max: 1s}\n"})
	})
	n.Names.Set(ours, Site{S2S: jackdaw.S2S})
	people := func(t *testing.T, i int) (r, j *harness.Client) {
		t.Helper()
		user := crowd(0, 1)[i]
		r, err := harness.ConnectTo(jackdaw.C2STLS, jackdaw.Domain, user, "desk")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Conn.Close() })
		return r, enter(t, prosody, user)
	}
	t.Run("theirs in ours", func(t *testing.T) {
		r, j := people(t, 0)
		inRoom(t, r, j, "coven@"+ours)
	})
	t.Run("ours in theirs", func(t *testing.T) {
		r, j := people(t, 1)
		inRoom(t, j, r, "heath@"+theirs)
	})
	t.Run("a lost connection is a leave", func(t *testing.T) {
		r, j := people(t, 2)
		o := visit(t, r, "lost@"+ours, "owner")
		o.open()
		visit(t, j, "lost@"+ours, "guest")
		o.until("the guest", "<presence", "from='lost@"+ours+"/guest'")
		j.Conn.Close()
		o.until("the guest's leave", "<presence", "type='unavailable'", "from='lost@"+ours+"/guest'")
	})
	t.Run("a peer that vanishes", func(t *testing.T) {
		r, j := people(t, 3)
		o := visit(t, r, "ghosts@"+ours, "owner")
		o.open()
		visit(t, j, "ghosts@"+ours, "guest")
		o.until("the guest", "<presence", "from='ghosts@"+ours+"/guest'")
		prosody.Kill()
		o.say("<message type='groupchat' id='anybody' to='ghosts@" + ours + "'><body>anybody there?</body></message>")
		o.until("the guest's removal", "<presence", "type='unavailable'", "from='ghosts@"+ours+"/guest'", "code='333'", "<reason>")
	})
}
