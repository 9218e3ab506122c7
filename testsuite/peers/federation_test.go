package peers

import (
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// A role is one peer beside jackdaw.
type role struct {
	kind string
	Options
}

// How many accounts each pair of servers has: enough for scripts in both directions, or one for a talk. Some peers take
// long to derive the keys of each.
const (
	scripted = perPair
	talking  = 1
)

// A world is jackdaw and its peers. Each pair has accounts of its own: see crowd.
type world struct {
	jackdaw *harness.Server
	peers   []*Peer
}

// stage starts jackdaw and peers at the same time. Jackdaw is told where they are, by
// s2s.resolve, and they ask the name server.
func stage(t *testing.T, accounts int, o JackdawOptions, roles ...role) *world {
	t.Helper()
	n := NewNetwork(t)
	w := &world{peers: make([]*Peer, len(roles))}
	starters := map[string]func(Options) *Peer{"prosody": n.StartProsody, "ejabberd": n.StartEjabberd, "jackal": n.StartJackal}
	var all []func()
	for i, r := range roles {
		if r.Domain == "" {
			r.Domain = r.kind + ".example"
		}
		r.Users = crowd(i, 1)[:accounts]
		o.Users = append(o.Users, r.Users...)
		to := r.Domain
		if r.DirectTLS {
			to = "tls:" + to
		}
		o.To = append(o.To, to)
		all = append(all, func() { w.peers[i] = starters[r.kind](r.Options) })
	}
	start(t, append(all, func() { w.jackdaw = n.StartJackdaw(o) })...)
	t.Cleanup(func() {
		if t.Failed() && w.jackdaw != nil {
			out, err := w.jackdaw.TryCommand("", "s2s")
			t.Log(out, err)
			for _, p := range w.peers {
				t.Log(p.Domain, p.Proofs())
			}
		}
	})
	return w
}

// each runs a test for every peer at the same time, with the number of the first of its accounts.
func (w *world) each(t *testing.T, f func(t *testing.T, p *Peer, pair int)) {
	for i, p := range w.peers {
		t.Run(p.Domain, func(t *testing.T) {
			t.Parallel()
			f(t, p, i)
		})
	}
}

// pair logs one user in at jackdaw and one at a peer.
func (w *world) pair(t *testing.T, p *Peer, pair int) (ours, theirs *harness.Client) {
	t.Helper()
	user := crowd(pair, 1)[0]
	ours, err := harness.ConnectTo(w.jackdaw.C2STLS, w.jackdaw.Domain, user, "desk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Conn.Close() })
	available(t, ours)
	return ours, enter(t, p, user)
}

// theyTalk sends a message each way, and says how each server was proved to the other; "" for either.
func (w *world) theyTalk(t *testing.T, p *Peer, pair int, ours, theirs string) {
	t.Helper()
	r, j := w.pair(t, p, pair)
	say(t, r, j, "Wherefore?")
	say(t, j, r, "Therefore.")
	proved(t, p, Proof{From: w.jackdaw.Domain, To: p.Domain, By: ours})
	if theirs != "" {
		proved(t, p, Proof{From: p.Domain, To: w.jackdaw.Domain, By: theirs})
	}
}

// listed asks jackdaw for its links: those with the peer are encrypted and were proved so.
func listed(t *testing.T, jackdaw *harness.Server, p *Peer, by string) {
	t.Helper()
	links := 0
	for line := range strings.Lines(jackdaw.Command("", "s2s")) {
		f := strings.Fields(line)
		if len(f) < 6 || f[2] != p.Domain || f[0] != "in" && f[0] != "out" && f[0] != "both" ||
			f[3] == "-" { // one that only asks about a key
			continue
		}
		links++
		if f[1] != jackdaw.Domain || f[3] != by || f[4] != "TLS" || f[5] != "1.3" {
			t.Errorf("a link with %s that was not proved by %s or not encrypted: %s", p.Domain, by, line)
		}
	}
	if links == 0 {
		t.Errorf("no link with %s is listed", p.Domain)
	}
}

// bounce sends a message and returns the error that comes back.
func bounce(t *testing.T, from *harness.Client, to, id string) string {
	t.Helper()
	if err := from.Send("<message type='chat' id='" + id + "' to='" + to + "'><body>is anybody there?</body></message>"); err != nil {
		t.Fatal(err)
	}
	el, err := from.Until(func(el string) bool { return strings.HasPrefix(el, "<message") && harness.Attr(el, "id") == id })
	if err != nil {
		t.Fatalf("the message to %s does not come back: %v", to, err)
	}
	if harness.Attr(el, "type") != "error" {
		t.Fatalf("instead of a bounce: %s", el)
	}
	return el
}

func TestPeopleMeetOverCertificates(t *testing.T) {
	t.Parallel()
	w := stage(t, scripted, JackdawOptions{}, role{kind: "prosody"}, role{kind: "ejabberd"}, role{kind: "jackal"})
	w.each(t, func(t *testing.T, p *Peer, pair int) {
		playBoth(t, side{"jackdaw", w.jackdaw.Domain, w.jackdaw.C2STLS}, p.side(), pair)
		t.Cleanup(func() {
			for _, proof := range p.Proofs() {
				if proof.By != "EXTERNAL" {
					t.Errorf("%s was proved to %s by %s", proof.From, proof.To, proof.By)
				}
			}
			if len(p.Proofs()) == 0 {
				t.Error("nothing was proved")
			}
			listed(t, w.jackdaw, p, "external")
		})
	})
}

func TestPeopleMeetByDialback(t *testing.T) {
	t.Parallel()
	w := stage(t, scripted, JackdawOptions{Options: Options{Flaw: SelfSigned}},
		role{"prosody", Options{Flaw: SelfSigned, NoBidi: true}}, role{"ejabberd", Options{Flaw: SelfSigned}})
	w.each(t, func(t *testing.T, p *Peer, pair int) {
		playBoth(t, side{"jackdaw", w.jackdaw.Domain, w.jackdaw.C2STLS}, p.side(), pair)
		t.Cleanup(func() {
			proved(t, p, Proof{From: w.jackdaw.Domain, To: p.Domain, By: "dialback"})
			proved(t, p, Proof{From: p.Domain, To: w.jackdaw.Domain, By: "dialback"})
			listed(t, w.jackdaw, p, "dialback")
		})
	})
}

// Whoever has a certificate is proved by it, and the other by dialback.
func TestOneSideHasNoSoundCertificate(t *testing.T) {
	t.Parallel()
	w := stage(t, talking, JackdawOptions{},
		role{"prosody", Options{Flaw: SelfSigned}}, role{"ejabberd", Options{Flaw: SelfSigned}}, role{"jackal", Options{Flaw: SelfSigned}},
		role{"prosody", Options{Domain: "expired.example", Flaw: Expired}}, role{"ejabberd", Options{Domain: "other-name.example", Flaw: OtherName}},
		role{"prosody", Options{Domain: "no-external.example", NoExternal: true}})
	w.each(t, func(t *testing.T, p *Peer, pair int) {
		if p.Domain == "no-external.example" {
			w.theyTalk(t, p, pair, "dialback", "")
		} else {
			w.theyTalk(t, p, pair, "EXTERNAL", "dialback")
		}
	})
}

// Public authorities issue certificates for servers only, though the one who calls is a client.
func TestOurCertificateIsForServersOnly(t *testing.T) {
	t.Parallel()
	w := stage(t, talking, JackdawOptions{Options: Options{ServerOnly: true}},
		role{"prosody", Options{ServerOnly: true}}, role{"ejabberd", Options{ServerOnly: true}},
		role{"jackal", Options{ServerOnly: true}})
	w.each(t, func(t *testing.T, p *Peer, pair int) {
		switch p.Kind {
		case "prosody":
			w.theyTalk(t, p, pair, "EXTERNAL", "")
		case "ejabberd": // insists on the purpose
			w.theyTalk(t, p, pair, "dialback", "EXTERNAL")
		default: // breaks TLS off without it, and is called again without a certificate
			w.theyTalk(t, p, pair, "dialback", "")
		}
	})
}

func TestPeersWithFlawedCertificatesAreRefusedWhereWeInsist(t *testing.T) {
	t.Parallel()
	flawed := func(kind string, f Flaw) role {
		return role{kind, Options{Domain: string(f) + "." + kind + ".example", Flaw: f}}
	}
	w := stage(t, talking, JackdawOptions{S2S: "dialback: false\n"},
		flawed("prosody", Expired), flawed("prosody", OtherName), flawed("prosody", SelfSigned),
		flawed("ejabberd", Expired), flawed("ejabberd", OtherName), flawed("jackal", Expired), flawed("jackal", OtherName))
	w.each(t, func(t *testing.T, p *Peer, pair int) {
		ours, theirs := w.pair(t, p, pair)
		why := map[string]string{"expired": "expired", "of-another-name": "another name", "self-signed": "self-signed"}
		flaw, _, _ := strings.Cut(p.Domain, ".")
		el := bounce(t, ours, theirs.JID, "b1")
		if !strings.Contains(el, "<remote-server-not-found") || !strings.Contains(el, why[flaw]) {
			t.Errorf("the bounce does not say %q: %s", why[flaw], el)
		}
		told(t, w.jackdaw, "level=INFO", "peer="+p.Domain, why[flaw])

		const letMeIn = "let me in"
		if err := theirs.Send("<message type='chat' id='b2' to='" + ours.JID + "'><body>" + letMeIn + "</body></message>"); err != nil {
			t.Fatal(err)
		}
		if p.Kind == "jackal" { // it keeps what it cannot send
			if err := p.Await("unregistered S2S out stream", 0); err != nil {
				t.Error(err)
			}
		} else if _, err := theirs.Until(func(el string) bool {
			return strings.HasPrefix(el, "<message") && harness.Attr(el, "type") == "error"
		}); err != nil {
			t.Errorf("their message does not come back: %v", err)
		}
		if err := ours.Send("<iq type='get' id='after' to='" + w.jackdaw.Domain + "'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
			t.Fatal(err)
		}
		el, err := ours.Until(func(el string) bool { return strings.Contains(el, letMeIn) || harness.Attr(el, "id") == "after" })
		if err != nil || strings.Contains(el, letMeIn) {
			t.Errorf("after their message: %s, %v", el, err)
		}
		if proofs := p.Proofs(); len(proofs) > 0 {
			t.Errorf("something was proved: %v", proofs)
		}
	})
}

// told waits until a line of the log has all the texts.
func told(t *testing.T, s *harness.Server, texts ...string) {
	t.Helper()
	err := s.Output().AwaitWhere(func(log string) bool {
		for line := range strings.Lines(log) {
			all := true
			for _, text := range texts {
				all = all && strings.Contains(line, text)
			}
			if all {
				return true
			}
		}
		return false
	}, harness.Timeout, nil)
	if err != nil {
		t.Errorf("no line of the log has %q: %v", texts, err)
	}
}

func TestPeersThatInsistRefuseOurFlawedCertificate(t *testing.T) {
	t.Parallel()
	w := stage(t, talking, JackdawOptions{Options: Options{Flaw: Expired}},
		role{"prosody", Options{NoDialback: true}}, role{"ejabberd", Options{NoDialback: true}})
	w.each(t, func(t *testing.T, p *Peer, pair int) {
		ours, theirs := w.pair(t, p, pair)
		if el := bounce(t, theirs, ours.JID, "b2"); !strings.Contains(el, "remote-server") {
			t.Errorf("their bounce: %s", el)
		}
		if err := ours.Send("<message type='chat' id='b1' to='" + theirs.JID + "'><body>let me in</body></message>"); err != nil {
			t.Fatal(err)
		}
		told(t, w.jackdaw, "level=INFO", "peer="+p.Domain, "peer not reached")
		if proofs := p.Proofs(); len(proofs) > 0 {
			t.Errorf("something was proved: %v", proofs)
		}
	})
}

func TestDirectTLS(t *testing.T) {
	t.Parallel()
	w := stage(t, talking, JackdawOptions{Options: Options{DirectTLS: true}},
		role{"prosody", Options{DirectTLS: true}}, role{"ejabberd", Options{DirectTLS: true}}, role{"jackal", Options{DirectTLS: true}})
	w.each(t, func(t *testing.T, p *Peer, pair int) {
		w.theyTalk(t, p, pair, "EXTERNAL", "")
	})
}
