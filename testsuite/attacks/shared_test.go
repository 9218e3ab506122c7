package attacks

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jackdaw/testsuite/fakepeer"
	"jackdaw/testsuite/harness"
)

// shared has one user fill what is there for all, and takes nothing from the others by it.
var shared = []ordeal{
	{name: "5,500 presences with unknown capabilities", memory: 96, run: func(t *testing.T, b *battle) {
		b.befriend("friend", "victim")
		friend := b.enter(innocentIP, "friend", "desk")
		defer friend.Close()
		if el, err := friend.Ask("p", "<iq type='set' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:news'><item id='1'><n xmlns='urn:news'>fresh</n></item></publish></pubsub></iq>"); err != nil || harness.Attr(el, "type") != "result" {
			t.Fatalf("publish: %s, %v", el, err)
		}
		m := b.enter(attackerIP, "mallory", "lair")
		defer m.Close()
		var all []string
		for i := range 5500 {
			all = append(all, fmt.Sprintf("<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:m' ver='%d'/></presence>", i))
		}
		if ended := flood(m, all...); ended != "" {
			t.Fatalf("the stream has ended: %s", ended)
		}
		// A client that nobody has seen before says what it wants to hear of, and hears.
		c, err := harness.ConnectFrom(innocentIP, b.C2STLS, "victim", "new")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// The hash of "client/pc//x<http://jabber.org/protocol/caps<urn:news+notify<".
		c.Send("<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:c' ver='" + newsVer + "'/></presence>")
		began := time.Now()
		for {
			el, err := c.Next()
			if err != nil {
				t.Fatalf("the new client hears of no event: %v", err)
			}
			if strings.HasPrefix(el, "<iq") && strings.Contains(el, "disco#info") {
				c.Send("<iq type='result' id='" + harness.Attr(el, "id") + "' to='" + harness.Attr(el, "from") + "'><query xmlns='http://jabber.org/protocol/disco#info' node='urn:c#" + newsVer + "'>" +
					"<identity category='client' type='pc' name='x'/><feature var='http://jabber.org/protocol/caps'/><feature var='urn:news+notify'/></query></iq>")
			}
			if strings.Contains(el, ">fresh</n>") {
				break
			}
		}
		if took := time.Since(began); took > patience {
			t.Errorf("the new client has waited for %v", took)
		}
	}},
	{name: "posts over HTTP without a pause", memory: 128, run: func(t *testing.T, b *battle) {
		body := "<message to='victim@localhost'><body>" + strings.Repeat("x", 100*kb) + "</body></message>"
		const length = 4 * time.Second
		var taken atomic.Int64
		var posters sync.WaitGroup
		began := time.Now()
		for range 8 {
			posters.Go(func() {
				for time.Since(began) < length {
					req, err := http.NewRequest("POST", "http://"+b.HTTP+"/message", strings.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					req.Header.Set("Authorization", basic("mallory@localhost"))
					req.Header.Set("Content-Type", "application/xml")
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						continue // turned away
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode == http.StatusOK {
						taken.Add(int64(len(body)))
					}
				}
			})
		}
		posters.Wait()
		if most := int64(1<<20 + 64<<10*int(time.Since(began)/time.Second+2)); taken.Load() > most {
			t.Errorf("%d bytes were taken, at most %d is right", taken.Load(), most)
		}
	}},
	{name: "a peer that sends as fast as it can", memory: 160, peer: true, run: func(t *testing.T, b *battle) {
		l := b.link(harness.Domain)
		stanza := "<message type='headline' from='x@far.example' to='victim@localhost/den'><body>" + strings.Repeat("x", 400*kb) + "</body></message>"
		end := time.Now().Add(3 * time.Second)
		go func() {
			<-time.After(time.Until(end))
			l.Cut()
		}()
		sent := 0
		for time.Now().Before(end) && l.Send(stanza) == nil {
			sent += len(stanza)
		}
		if sent > 40<<20 {
			t.Errorf("the server has read %d MiB in 3 s", sent>>20)
		}
	}},
	{name: "450 idle connections over HTTP", memory: 64, options: harness.Options{Ulimit: []string{"-n 400"}, Config: "limits: {http_header_time: 60s}"}, run: func(t *testing.T, b *battle) {
		var all []net.Conn
		for range 450 {
			if c, err := harness.Dial(attackerIP, b.HTTP); err == nil {
				all = append(all, c)
			}
		}
		<-time.After(time.Second)
		began := time.Now()
		c := b.enter(innocentIP, "friend", "desk") // while they are there
		c.Close()
		if took := time.Since(began); took > patience {
			t.Errorf("a login has taken %v", took)
		}
		for _, c := range all {
			c.Close()
		}
	}},
	{name: "150 idle connections of clients, with 128 descriptors", memory: 64, options: harness.Options{Ulimit: []string{"-n 128"}}, run: func(t *testing.T, b *battle) {
		friend := b.enter(innocentIP, "friend", "desk")
		defer friend.Close()
		writes := 0
		write := func() string {
			writes++
			id := fmt.Sprintf("w%d", writes)
			el, err := friend.Ask(id, "<iq type='set' id='"+id+"'><query xmlns='jabber:iq:private'><n xmlns='urn:notes'>"+id+"</n></query></iq>")
			if err != nil {
				t.Fatal(err)
			}
			return el
		}
		var all []net.Conn
		for i := range 150 {
			if c, err := harness.Dial([]string{attackerIP, strangerIP, accompliceIP}[i%3], b.C2STLS); err == nil {
				all = append(all, c)
			}
		}
		<-time.After(time.Second)
		// The store tidies up when it has been idle for a moment after a write; it needs descriptors for that.
		write() // however it is answered
		<-time.After(6 * time.Second)
		for _, c := range all {
			c.Close()
		}
		end := time.Now().Add(20 * time.Second)
		answer := ""
		for harness.Attr(answer, "type") != "result" && time.Now().Before(end) {
			<-time.After(100 * time.Millisecond)
			answer = write()
		}
		if harness.Attr(answer, "type") != "result" {
			t.Errorf("afterwards a write is answered with %s", answer)
		}
	}},
	{name: "100 claims of domains on each of eight streams of a peer", memory: 64, claims: 800, run: func(t *testing.T, b *battle) {
		l := b.claimed
		var streams []net.Conn
		for i := range 8 {
			c, err := harness.Dial(strangerIP, b.S2S)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var all strings.Builder
			all.WriteString("<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' to='localhost' version='1.0'>")
			for j := range 100 {
				fmt.Fprintf(&all, "<db:result from='d%d.example' to='localhost'>0123456789abcdef</db:result>", 100*i+j)
			}
			if _, err := io.WriteString(c, all.String()); err != nil {
				t.Fatal(err)
			}
			streams = append(streams, c)
		}
		<-time.After(5 * time.Second)
		if n := l.Load(); n > 64 {
			t.Errorf("%d connections were made for who has proved nothing", n)
		}
		for _, c := range streams {
			c.Close()
		}
	}},
	{name: "messages to 50 domains that do not answer", memory: 192, claims: 51, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		m := b.enter(attackerIP, "mallory", "lair")
		defer m.Close()
		var all []string
		for i := range 16 * 50 {
			all = append(all, fmt.Sprintf("<message id='q%d' type='chat' to='x@d%d.example'><body>%s</body></message>", i, i%50, strings.Repeat("x", 240*kb)))
		}
		if ended := flood(m, all...); ended != "" {
			t.Fatalf("the stream has ended: %s", ended)
		}
		friend := b.enter(innocentIP, "friend", "desk")
		defer friend.Close()
		if err := friend.Send("<message id='mine' type='chat' to='x@d50.example'><body>" + strings.Repeat("x", 240*kb) + "</body></message>" +
			"<iq type='get' id='over' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
			t.Fatal(err)
		}
		for over := false; !over; {
			el, err := friend.Next()
			if err != nil {
				t.Fatal(err)
			}
			if harness.Attr(el, "id") == "mine" {
				t.Errorf("a friend's message to yet another domain does not wait: %.300s", el[max(0, len(el)-300):])
			}
			over = harness.Attr(el, "id") == "over"
		}
	}},
	{name: "capabilities of a thousand clients, as large as they may be", memory: 96, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		m := b.enter(attackerIP, "mallory", "lair")
		defer m.Close()
		for i := range 1000 {
			// What is kept is what a client wants to hear of.
			var features []string
			for j := range 120 {
				features = append(features, fmt.Sprintf("urn:%d:%03d:%s+notify", i, j, strings.Repeat("f", 990)))
			}
			sum := sha1.Sum([]byte("client/pc//x<" + strings.Join(features, "<") + "<"))
			ver := base64.StdEncoding.EncodeToString(sum[:])
			if err := m.Send("<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:m' ver='" + ver + "'/></presence>"); err != nil {
				t.Fatal(err)
			}
			ask, err := m.Until(func(el string) bool { return strings.HasPrefix(el, "<iq") && strings.Contains(el, ver) })
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Send("<iq type='result' id='" + harness.Attr(ask, "id") + "' to='" + harness.Attr(ask, "from") + "'><query xmlns='http://jabber.org/protocol/disco#info' node='urn:m#" + ver + "'>" +
				"<identity category='client' type='pc' name='x'/><feature var='" + strings.Join(features, "'/><feature var='") + "'/></query></iq>"); err != nil {
				t.Fatal(err)
			}
		}
		b.settled(m)
	}},
	{name: "a room with 400 occupants of one domain", memory: 128, peer: true, options: harness.Options{Config: quick}, run: func(t *testing.T, b *battle) {
		const occupants, room = 400, "hall@rooms.localhost"
		m := b.enter(innocentIP, "friend", "desk")
		defer m.Close()
		b.open(m, room)
		l, err := b.peer.Connect(far, "rooms.localhost", fakepeer.Way{From: strangerIP, Addr: b.S2S})
		if err != nil {
			t.Fatal(err)
		}
		for i := range occupants {
			if err := l.Send(fmt.Sprintf("<presence from='o%d@far.example/x' to='%s/o%d'><x xmlns='http://jabber.org/protocol/muc'/></presence>", i, room, i)); err != nil {
				t.Fatal(err)
			}
		}
		in := map[string]bool{}
		for len(in) < occupants {
			el, err := m.Next()
			if err != nil {
				t.Fatalf("%d are in: %v", len(in), err)
			}
			if strings.HasPrefix(el, "<presence") && harness.Attr(el, "type") == "" && strings.HasPrefix(harness.Attr(el, "from"), room+"/o") {
				in[harness.Attr(el, "from")] = true
			}
		}
		var slow atomic.Bool
		slow.Store(true)
		b.peer.Play(fakepeer.Script{Reading: func() {
			if slow.Load() {
				<-time.After(50 * time.Millisecond)
			}
		}})
		for i := range 3 {
			if err := m.Send(fmt.Sprintf("<message id='h%d' type='groupchat' to='%s'><body>%s</body></message>", i, room, strings.Repeat("x", 2*kb))); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(2 * time.Second)
		slow.Store(false)
		if err := m.Send("<iq type='get' id='who' to='" + room + "'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>"); err != nil {
			t.Fatal(err)
		}
		gone := 0
		for {
			el, err := m.Next()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(el, "<presence") && harness.Attr(el, "type") == "unavailable" {
				gone++
			}
			if strings.HasPrefix(el, "<iq") && harness.Attr(el, "id") == "who" {
				break
			}
		}
		if gone > 0 {
			t.Errorf("%d occupants were thrown out", gone)
		}
	}},
}

// newsVer is the verification string (XEP-0115 §5.1) of the client above.
const newsVer = "Ldjek/DWxFMcXj0J8rYFMkzSERw="
