package bosh

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const message = "<message xmlns='jabber:client'/>"

func endOf(condition string) string { return " type='terminate' condition='" + condition + "'/>" }

// The rules of XEP-0124, by its sections.
func TestRules(t *testing.T) {
	elsewhere := netip.MustParseAddr("198.51.100.7")
	for _, r := range []struct {
		section, name string
		play          func(t *testing.T, c *client)
	}{
		{"§7.1", "a request without 'sid' begins another session", func(t *testing.T, c *client) {
			c.send(strings.Replace(open, "100", "7", 1))
			<-c.conns
			if n := c.Sessions(); n != 2 {
				t.Errorf("%d sessions", n)
			}
		}},
		{"§8", "an unknown 'sid'", func(t *testing.T, c *client) {
			c.sid = "AAAAAAAAAAAAAAAAAAAAAA"
			c.post("", message).is(endOf("item-not-found"))
		}},
		{"§9.1", "a response says up to where requests have come", func(t *testing.T, c *client) {
			e := c.post("", message)
			f := c.post("", message)
			c.says(message + message)
			e.is(" ack='102'/>")
			c.write("<presence/>")
			f.is("><presence xmlns='jabber:client'/></body>") // not where it is the response to that very request
		}},
		{"§10", "a session ends without a request", func(t *testing.T, c *client) {
			pass(inactivity - time.Millisecond)
			c.over(false)
			pass(2 * time.Millisecond)
			c.over(true)
			c.post("", "").is(endOf("item-not-found"))
		}},
		{"§10", "and not while there is one", func(t *testing.T, c *client) {
			pass(inactivity - time.Second)
			e := c.post("", "")
			pass(longestWait)
			synctest.Wait()
			e.is("/>")
			pass(inactivity - time.Second)
			c.over(false)
		}},
		{"§10", "a pause answers all and makes the time longer, once", func(t *testing.T, c *client) {
			e := c.post("", message)
			f := c.post("pause='120'", "")
			e.is(" ack='102'/>")
			f.is("/>")
			pass(119 * time.Second)
			c.over(false)
			c.post("pause='9999'", "").is("/>")
			pass(longestPause - time.Second)
			c.over(false)
			e = c.post("", message)
			c.says(message)
			c.write("<presence/>")
			e.answer()
			pass(inactivity + time.Second)
			c.over(true)
		}},
		{"§10", "a pause may make the time shorter", func(t *testing.T, c *client) {
			c.post("pause='5'", "").is("/>")
			pass(5*time.Second + time.Millisecond)
			c.over(true)
		}},
		{"§11", "a pause may be one request more", func(t *testing.T, c *client) {
			a := c.post("", message)
			b := c.post("", message)
			p := c.post("pause='60'", "")
			for _, e := range []*exchange{a, b, p} {
				if !strings.HasSuffix(e.answer(), "/>") || strings.Contains(e.answer(), "terminate") {
					t.Error(e.answer())
				}
			}
		}},
		{"§11", "too many requests", func(t *testing.T, c *client) {
			c.post("", message)
			c.post("", message)
			e := c.post("", message) // nothing has been read: none is answered
			e.is(endOf("policy-violation"))
			c.over(true)
		}},
		{"§11", "too frequent requests", func(t *testing.T, c *client) {
			e := c.post("", "")
			pass(time.Second)
			c.post("", "").is(endOf("policy-violation"))
			e.is(endOf("other-request"))
			c.over(true)
		}},
		{"§11", "requests that say something may be frequent", func(t *testing.T, c *client) {
			for range 20 {
				c.post("", message)
				c.says(message)
			}
			c.over(false)
		}},
		{"§13", "the client ends the session", func(t *testing.T, c *client) {
			e := c.post("", "")
			f := c.post("type='terminate'", "<presence xmlns='jabber:client' type='unavailable'/>")
			c.says(" <presence xmlns='jabber:client' type='unavailable'/></stream:stream>")
			c.write("<message/>" + endMark + ">")
			e.is(" type='terminate'><message xmlns='jabber:client'/></body>") // on the oldest
			f.is("/>")
			c.over(true)
		}},
		{"§14.2", "requests in another order", func(t *testing.T, c *client) {
			late := c.again(102, "", "<iq xmlns='jabber:client' id='2'/>")
			c.says("")
			early := c.again(101, "", "<iq xmlns='jabber:client' id='1'/>")
			c.says("<iq xmlns='jabber:client' id='1'/><iq xmlns='jabber:client' id='2'/>")
			early.is(" ack='102'/>")
			c.write("<presence/>")
			late.is("><presence xmlns='jabber:client'/></body>")
		}},
		{"§14.2", "the upper end of the window", func(t *testing.T, c *client) {
			if !c.again(102, "", message).held() {
				t.Error("within the window")
			}
			c.again(103, "", message).is(endOf("item-not-found"))
			c.over(true)
		}},
		{"§14.2", "a request that waits for one that does not come", func(t *testing.T, c *client) {
			e := c.again(102, "", message)
			pass(longestWait)
			synctest.Wait()
			e.is(" type='error'/>")
			c.over(false)
			c.again(101, "", message)
			c.again(102, "", message)
			c.says(message + message)
		}},
		{"§14.3", "the same request gets the same answer", func(t *testing.T, c *client) {
			e := c.post("", message)
			c.says(message)
			c.write("<message id='1'/>")
			for range 3 {
				c.again(c.rid, "", message).is(e.answer())
			}
			c.says("")
		}},
		{"§14.3", "some answers are kept", func(t *testing.T, c *client) {
			var got []string
			for i := range mostKept + 1 {
				e := c.post("", message)
				c.says(message)
				c.write(fmt.Sprintf("<message id='%d'/>", i))
				got = append(got, e.answer())
			}
			c.again(102, "", message).is(got[1])
			c.again(109, "", message).is(got[8])
			c.again(101, "", message).is(endOf("item-not-found"))
			c.over(true)
		}},
		{"§14.3", "large answers are kept only as requests may be under way", func(t *testing.T, c *client) {
			var got []string
			for range 3 {
				e := c.post("", message)
				c.says(message)
				c.write("<message>" + strings.Repeat("x", maxPiece-100) + "</message>")
				got = append(got, e.answer())
			}
			c.again(102, "", message).is(got[1])
			c.again(103, "", message).is(got[2])
			c.again(101, "", message).is(endOf("item-not-found"))
		}},
		{"§14.3", "the same request while the first is held", func(t *testing.T, c *client) {
			e := c.post("", message)
			f := c.again(c.rid, "", message)
			e.is(" type='error'/>")
			c.says(message)
			c.write("<presence/>")
			f.is("><presence xmlns='jabber:client'/></body>")
		}},
		{"§14.3", "the same request all the time", func(t *testing.T, c *client) {
			e := c.post("", message)
			for range mostRepeats {
				e = c.again(c.rid, "", message)
			}
			c.over(false)
			c.again(c.rid, "", message).is(endOf("policy-violation"))
			e.is(endOf("other-request"))
			c.over(true)
		}},
		{"§14.3", "a connection that breaks takes nothing with it", func(t *testing.T, c *client) {
			e := c.post("", message)
			c.says(message)
			e.stop()
			<-e.done
			synctest.Wait()
			c.SetWriteDeadline(time.Now().Add(time.Second))
			wrote := make(chan error, 1)
			go func() {
				_, err := c.Write([]byte("<message id='1'/>"))
				wrote <- err
			}()
			pass(30 * time.Second) // longer than a client may leave what waits while it is there
			c.again(c.rid, "", message).is("><message xmlns='jabber:client' id='1'/></body>")
			if err := <-wrote; err != nil {
				t.Error(err)
			}
		}},
		{"§14.3", "a broken request is answered before the next one", func(t *testing.T, c *client) {
			e := c.post("", message)
			c.says(message)
			e.stop()
			<-e.done
			f := c.post("", message)
			c.says(message)
			c.write("<message id='1'/>")
			f.is("><message xmlns='jabber:client' id='1'/></body>")
			c.again(101, "", message).is(" ack='102'/>")
		}},
		{"§17.1", "a client without 'ver' gets what it knows", func(t *testing.T, c *client) {
			x := c.begin(strings.Replace(open, "ver='1.6'", "", 1))
			e := x.again(200, "", message)
			e.is(endOf("item-not-found"))
			if e.w.Code != http.StatusNotFound {
				t.Error(e.w.Code)
			}
		}},
		{"§19.1", "a protected session over a connection that is not", func(t *testing.T, c *client) {
			c.secure = false
			e := c.post("", message)
			e.is(endOf("item-not-found"))
			if e.w.Header().Get("Connection") != "close" {
				t.Error("the connection stays")
			}
			c.secure, c.rid = true, c.rid-1
			c.over(false)
			c.post("", message)
			c.says(message)
		}},
		{"§19.3", "a wrong 'rid' from elsewhere does not end the session", func(t *testing.T, c *client) {
			for _, rid := range []int{1, 99, 104, 105, 1 << 40} {
				c.from = elsewhere
				c.again(rid, "", message).is(endOf("item-not-found"))
				c.again(rid, "type='terminate'", "").is(endOf("item-not-found"))
			}
			c.from = netip.MustParseAddr("192.0.2.1")
			c.post("", message)
			c.says(message)
		}},
		{"§19.3", "who guesses too often is not looked at", func(t *testing.T, c *client) {
			c.from = elsewhere
			for i := range mostWrong {
				c.again(1000+i, "", message).is(endOf("item-not-found"))
			}
			c.again(101, "", message).is(endOf("item-not-found"))
			c.from = netip.MustParseAddr("192.0.2.1")
			c.post("", message)
			c.says(message)
		}},
		{"§19.3", "the right 'rid' from elsewhere is a client that has moved", func(t *testing.T, c *client) {
			c.from = elsewhere
			c.post("", message)
			c.says(message)
			if got := c.RemoteAddr().String(); got != "198.51.100.7:0" {
				t.Error(got)
			}
		}},
		{"0206 §5", "a restart", func(t *testing.T, c *client) {
			e := c.post("xmpp:restart='true' to='example.org' xml:lang='it'", message)
			c.says(strings.Replace(header, " version", " xml:lang='it' version", 1))
			c.write("<stream:features xmlns:stream='http://etherx.jabber.org/streams'><a/></stream:features>")
			e.is("><stream:features xmlns:stream='http://etherx.jabber.org/streams'><a/></stream:features></body>")
		}},
		{"0206 §6", "a stream error", func(t *testing.T, c *client) {
			e := c.post("", message)
			c.says(message)
			c.write("<message/><stream:error xmlns:stream='http://etherx.jabber.org/streams'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></:remote-stream-error>")
			e.is(" type='terminate' condition='remote-stream-error'><message xmlns='jabber:client'/><stream:error xmlns:stream='http://etherx.jabber.org/streams'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></body>")
			c.over(true)
		}},
		{"0206 §6", "an end for which there is no request is told to the next", func(t *testing.T, c *client) {
			c.write(endMark + "system-shutdown>")
			c.post("", message).is(endOf("system-shutdown"))
			c.post("", message).is(endOf("item-not-found"))
		}},
		{"0206 §6", "nobody hears of an end before its turn", func(t *testing.T, c *client) {
			lost := c.post("", message)
			c.says(message)
			c.write("<message/>")
			before := c.again(103, "", message)
			c.write(endMark + "system-shutdown>")
			told := c.settled()
			after := c.again(103, "", message) // §14.3
			before.is(" type='error'/>")
			c.again(101, "", message).is(lost.answer())
			if !after.held() || told() {
				t.Error("102 has yet to come")
			}
			c.post("", message).is(endOf("system-shutdown"))
			after.is("/>") // §13
			if !told() {
				t.Error("nobody is left to be told")
			}
			c.again(103, "", message).is(endOf("item-not-found"))
		}},
		{"0206 §6", "nor with a 'rid' that is not in the window", func(t *testing.T, c *client) {
			c.write(endMark + "system-shutdown>")
			told := c.settled()
			c.from = elsewhere
			c.again(103, "", message).is(endOf("item-not-found"))
			if told() {
				t.Error("the client has yet to hear")
			}
			c.from = netip.MustParseAddr("192.0.2.1")
			waits := c.again(102, "", message)
			c.again(103, "", message).is(endOf("item-not-found"))
			waits.is("/>")
			if !told() {
				t.Error("who left the session is waited for")
			}
			c.post("", message).is(endOf("item-not-found"))
		}},
		{"", "what is unfit ends the session", func(t *testing.T, c *client) {
			e := c.post("", message)
			c.post("", "<message><!-- a --></message>").is(endOf("bad-request"))
			e.is(endOf("bad-request"))
			c.over(true)
		}},
		{"", "but not where the 'rid' is wrong", func(t *testing.T, c *client) {
			c.from = elsewhere
			c.again(200, "", "<message><!-- a --></message>").is(endOf("item-not-found"))
			c.over(false)
		}},
		{"", "before the login little may be sent at once", func(t *testing.T, c *client) {
			c.post("", "<message xmlns='jabber:client'><body>"+strings.Repeat("x", 2000)+"</body></message>").is(endOf("policy-violation"))
			c.over(true)
		}},
		{"", "after it more, each stanza within its limit", func(t *testing.T, c *client) {
			c.find(c.sid).pass.Known()
			one := "<message xmlns='jabber:client'><body>" + strings.Repeat("x", 3900) + "</body></message>"
			e := c.post("", one+one)
			c.says(one + one)
			c.write("<presence/>")
			e.answer()
			c.post("", strings.Replace(one, "x", strings.Repeat("x", 200), 1)).is(endOf("policy-violation"))
		}},
		{"", "nor many", func(t *testing.T, c *client) {
			c.find(c.sid).pass.Known()
			e := c.post("", strings.Repeat("<a/>", mostElements))
			c.says(strings.Repeat("<a/>", mostElements))
			c.write("<presence/>")
			e.answer()
			c.post("", strings.Repeat("<a/>", mostElements+1)).is(endOf("policy-violation"))
		}},
		{"", "a client that leaves its requests' content unread waits", func(t *testing.T, c *client) {
			c.find(c.sid).pass.Known()
			one := "<message xmlns='jabber:client'><body>" + strings.Repeat("x", 3900) + "</body></message>"
			for i := range 10 { // a response is there for each, and still not more is taken than 2 * 4000 and a request's
				e := c.post("", one+one)
				go c.Write([]byte("<presence/>"))
				synctest.Wait()
				if e.held() != (i > 1) {
					t.Fatalf("request %d is held: %v", i, e.held())
				}
				if e.held() {
					break
				}
			}
		}},
		{"", "what nobody takes for too long is not taken", func(t *testing.T, c *client) {
			c.SetDeadline(time.Now().Add(10 * time.Second)) // as before the login
			begun := time.Now()
			if _, err := c.Write([]byte("<presence/>")); err != os.ErrDeadlineExceeded || time.Since(begun) != 10*time.Second {
				t.Error(err, time.Since(begun))
			}
			if _, err := c.Read(make([]byte, 1)); err != os.ErrDeadlineExceeded {
				t.Error(err)
			}
		}},
	} {
		t.Run(r.section+" "+r.name, func(t *testing.T) {
			play(t, func(t *testing.T, x *house) { r.play(t, x.begin(open)) })
		})
	}
}

// settled begins to wait for the session to have said why it has ended, and returns whether it has.
func (c *client) settled() func() bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Settle(c.t.Context())
	}()
	return func() bool {
		synctest.Wait()
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// §9.2
func TestAcknowledgedResponses(t *testing.T) {
	play(t, func(t *testing.T, x *house) {
		c := x.begin(strings.Replace(open, "wait", "ack='1' wait", 1))
		var got []string
		for i := range 5 {
			e := c.post("ack='100'", message)
			c.says(message)
			c.write(fmt.Sprintf("<message id='%d'/>", i))
			got = append(got, e.answer())
		}
		for i := range got { // all are there, not only two
			c.again(101+i, "ack='100'", message).is(got[i])
		}
		pass(1500 * time.Millisecond)
		e := c.post("ack='102'", message) // the client has not got the third
		c.says(message)
		e.is(" report='103' time='1500'/>")
		c.again(103, "ack='102'", message).is(got[2])
		e = c.post("", message) // without 'ack' it has them all
		c.says(message)
		c.again(105, "ack='100'", message).is(endOf("item-not-found"))
		e.is(endOf("other-request"))
	})
}

// §12
func TestPollingSession(t *testing.T) {
	for _, attr := range []string{"wait='0' hold='1'", "wait='50' hold='0'"} {
		play(t, func(t *testing.T, x *house) {
			c := x.begin(strings.Replace(open, "wait='50' hold='1'", attr, 1))
			e := c.post("", message)
			c.says(message)
			c.write("<presence/>") // the answer to it, as quick as a server is
			e.is("><presence xmlns='jabber:client'/></body>")
			for range 3 {
				e = c.post("", "")
				pass(pollGrace)
				synctest.Wait()
				e.is("/>")
				pass(pollEvery)
			}
			pass(100 * time.Second)
			c.over(false)
			e = c.post("", "")
			pass(pollGrace)
			synctest.Wait()
			e.is("/>")
			c.post("", message) // says something
			pass(pollGrace)
			c.post("", "")
			pass(time.Second)
			c.post("", "").is(endOf("policy-violation"))
			c.over(true)
		})
	}
}

func hash(s string) string {
	sum := sha1.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// §15
func TestKeys(t *testing.T) {
	keys := []string{hash("seed")}
	for range 5 {
		keys = append(keys, hash(keys[len(keys)-1]))
	}
	begin := func(x *house) *client {
		return x.begin(strings.Replace(open, "wait", "newkey='"+strings.ToUpper(keys[4])+"' wait", 1))
	}
	play(t, func(t *testing.T, x *house) {
		c := begin(x)
		for i := 3; i >= 1; i-- {
			c.post("key='"+keys[i]+"'", message)
			c.says(message)
		}
		c.again(c.rid, "key='"+keys[1]+"'", message) // again, with its own key
		c.post("key='"+keys[0]+"' newkey='"+hash("b")+"'", message)
		c.says(message)
		c.post("key='b'", message)
		c.says(message)
		c.over(false)
		x.from = netip.MustParseAddr("198.51.100.7")
		c.post("key='guess'", message).is(endOf("item-not-found"))
		c.rid--
		c.over(false)
		x.from = netip.MustParseAddr("192.0.2.1")
		c.post("", message).is(endOf("item-not-found"))
		c.over(true)
	})
}

func TestHTTP(t *testing.T) {
	play(t, func(t *testing.T, x *house) {
		for method, want := range map[string]int{"GET": 405, "PUT": 405, "OPTIONS": 204} {
			w := httptest.NewRecorder()
			x.ServeHTTP(w, httptest.NewRequest(method, "/http-bind", nil))
			if w.Code != want || w.Header().Get("Allow") != "POST, OPTIONS" {
				t.Errorf("%s: %d %v", method, w.Code, w.Header())
			}
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/http-bind", strings.NewReader(open))
		r.Header.Set("Content-Encoding", "gzip")
		if x.ServeHTTP(w, r); !strings.Contains(w.Body.String(), "bad-request") {
			t.Error(w.Body)
		}
		for in, want := range map[string]string{
			"": "bad-request", "<a": "bad-request", "<body/>": "bad-request",
			"<body xmlns='http://jabber.org/protocol/httpbind'/>":                                                "bad-request", // §6: no rid
			"<body rid='0' xmlns='http://jabber.org/protocol/httpbind'/>":                                        "bad-request",
			"<body rid='9007199254740992' xmlns='http://jabber.org/protocol/httpbind'/>":                         "bad-request", // §14.1
			"<body rid='1' hold='-1' xmlns='http://jabber.org/protocol/httpbind'/>":                              "bad-request",
			"<body rid='1' xmlns='http://jabber.org/protocol/httpbind'/><a/>":                                    "bad-request",
			"<body rid='1' xmlns='http://jabber.org/protocol/httpbind'>a</body>":                                 "bad-request",
			"<body rid='1' a='" + strings.Repeat("x", wrapperBytes) + "'/>":                                      "policy-violation",
			"<body rid='1' xmlns='http://jabber.org/protocol/httpbind'>" + strings.Repeat(" ", 7000) + "</body>": "policy-violation",
		} {
			x.send(in).is(endOf(want))
		}
		x.o.Allow = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusForbidden)
			return false
		}
		if e := x.send(open); e.w.Code != http.StatusForbidden || e.answer() != "" {
			t.Error(e.w.Code, e.w.Body)
		}
		if n := x.Sessions(); n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestSessionsOfAnAddressAreCounted(t *testing.T) {
	play(t, func(t *testing.T, x *house) {
		var last *client
		refused := 0
		for range 60 {
			e := x.send(open)
			select {
			case entry := <-x.conns:
				last = &client{house: x, Conn: entry.Transport.NetConn()}
			default:
				e.is(endOf("policy-violation"))
				refused++
			}
		}
		if refused != 10 { // unauthenticated_per_address and connect_burst are 50
			t.Errorf("%d were refused", refused)
		}
		last.Close()
		if n := x.Sessions(); n != 49 {
			t.Errorf("%d sessions", n)
		}
	})
}
