package httpmessage

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/router/accounts"
	"jackdaw/web"
	"jackdaw/xmpp/jid"
)

// onSocket serves the house on a unix socket and returns what makes a request there.
func (h *house) onSocket() func(call) (int, string) {
	s := web.NewServer(h.Handler(), web.DefaultLimits, moduletest.Discard())
	path := h.serving(s, s.Serve, "unix", filepath.Join(h.t.TempDir(), "s"))
	return func(c call) (int, string) {
		h.t.Helper()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
		r := c.request()
		r.RequestURI = ""
		w, err := client.Do(r)
		must(h.t, err)
		defer w.Body.Close()
		return w.StatusCode, body(h.t, w.Body)
	}
}

func TestAUserOfThisMachineNeedsNoPasswordOnASocket(t *testing.T) {
	h := newHouse(t)
	post := h.onSocket()
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	skel, juliet := jid.MustParse("skel@"+host), jid.MustParse("juliet@"+host)
	gate := jid.MustParse("gate@" + host)
	forged := strings.Replace(toBob, "to=", `from="andy@`+host+`" to=`, 1)
	none := call{user: "-", body: toBob}
	with := func(c call, headers ...string) call { c.headers = append(c.headers, headers...); return c }
	for _, row := range []struct {
		name          string
		users, groups map[uint32]jid.JID
		c             call
		code          int
		from          string
	}{
		{"the user", map[uint32]jid.JID{uid: skel}, nil, none, 200, "skel"},
		{"the group", map[uint32]jid.JID{uid + 1: skel}, map[uint32]jid.JID{gid: juliet}, none, 200, "juliet"},
		{"both", map[uint32]jid.JID{uid: skel}, map[uint32]jid.JID{gid: juliet}, none, 200, "skel"},
		{"another user", map[uint32]jid.JID{uid + 1: skel}, map[uint32]jid.JID{gid + 1: skel}, none, 401, ""},
		{"nobody", nil, nil, none, 401, ""},
		{"with a password", map[uint32]jid.JID{uid: skel}, nil, call{body: toBob}, 200, "andy"},
		{"with a wrong password", map[uint32]jid.JID{uid: skel}, nil, call{body: toBob, password: "wrong"}, 401, ""},
		{"with a wrong token", map[uint32]jid.JID{uid: skel}, nil, with(none, "Authorization: Bearer x"), 401, ""},
		{"with an empty field", map[uint32]jid.JID{uid: skel}, nil, with(none, "Authorization: "), 401, ""},
		{"through a proxy", map[uint32]jid.JID{uid: skel}, nil, with(none, "X-Forwarded-For: 192.0.2.7"), 401, ""},
		{"through a proxy that says no more", map[uint32]jid.JID{uid: skel}, nil, with(none, "X-Forwarded-Proto: https"), 401, ""},
		{"as another", map[uint32]jid.JID{uid: skel}, nil, call{user: "-", body: forged}, 403, ""},
		{"as another, with the permission", map[uint32]jid.JID{uid: jid.MustParse("andy@" + host)}, nil, call{user: "-", body: forged}, 200, "andy"},
		{"no account", map[uint32]jid.JID{uid: jid.MustParse("gone@" + host)}, nil, none, 403, ""},
		{"the gateway", map[uint32]jid.JID{uid: gate}, nil,
			call{user: "-", path: gatewayPath, body: toBob, headers: []string{xmlType}}, 200, "gate"},
		{"the gateway without its permission", map[uint32]jid.JID{uid: skel}, nil,
			call{user: "-", path: gatewayPath, body: toBob, headers: []string{xmlType}}, 403, ""},
		{"the gateway for programs", map[uint32]jid.JID{uid: gate}, nil,
			call{user: "-", path: gatewayPath + "/t", body: toBob, headers: []string{xmlType}}, 401, ""},
	} {
		before := len(h.stored("bob@" + host))
		h.Configure(Settings{SocketUsers: row.users, SocketGroups: row.groups})
		code, text := post(row.c)
		got := h.stored("bob@" + host)[before:]
		if code != row.code || (len(got) == 1) != (row.code == 200) {
			t.Errorf("%s: %d %s, bob got %q", row.name, code, text, got)
		} else if len(got) == 1 && !strings.Contains(got[0], "from='"+row.from+"@"+host+"'") {
			t.Errorf("%s: bob got %s", row.name, got[0])
		}
	}
	if log := h.log.String(); !strings.Contains(log, "account=skel@"+host) || !strings.Contains(log, "client=unix path=/message uid=") {
		t.Errorf("log: %s", log)
	}

	h.Configure(Settings{SocketUsers: map[uint32]jid.JID{uid: skel}})
	must(t, h.who.SetDisabled(t.Context(), skel, true))
	if code, text := post(none); code != 403 {
		t.Errorf("a disabled account: %d %s", code, text)
	}
	if w := h.do(none); w.Code != 401 {
		t.Errorf("over TCP: %d %s", w.Code, w.Body)
	}
}

func TestAnOldProxyThatSaysNothingIsNoUserOfThisMachine(t *testing.T) {
	h := newHouse(t)
	h.Configure(Settings{SocketUsers: map[uint32]jid.JID{uint32(os.Geteuid()): jid.MustParse("skel@" + host)}})
	s := web.NewServer(h.Handler(), web.DefaultLimits, moduletest.Discard())
	path := h.serving(s, s.Serve, "unix", filepath.Join(t.TempDir(), "s"))
	for version, want := range map[string]string{"1.0": "401", "1.1": "200"} { // nginx without further words has 1.0
		c, err := net.Dial("unix", path)
		must(t, err)
		got := talk(t, c, strings.Replace(strings.Replace(curl("", toBob), "HTTP/1.1", "HTTP/"+version, 1), "Authorization: ", "X-Nothing: ", 1))
		if !strings.HasPrefix(got, "HTTP/"+version+" "+want) && !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("HTTP/%s: %q", version, got)
		}
	}
}

// A user of a socket is in no way an account with more than its own rights.
func TestAUserOfASocketHasTheRightsOfTheAccountNow(t *testing.T) {
	h := newHouse(t)
	post := h.onSocket()
	skel := jid.MustParse("skel@" + host)
	h.Configure(Settings{SocketUsers: map[uint32]jid.JID{uint32(os.Geteuid()): skel}})
	c := call{user: "-", body: list("bob@" + host)}
	if code, _ := post(c); code != 403 {
		t.Errorf("before: %d", code)
	}
	must(t, h.who.Grant(t.Context(), skel, accounts.PermMulticast))
	if code, text := post(c); code != 200 {
		t.Errorf("granted: %d %s", code, text)
	}
}
