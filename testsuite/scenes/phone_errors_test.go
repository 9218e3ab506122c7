package scenes

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

const (
	enable    = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"
	request   = "<r xmlns='urn:xmpp:sm:3'/>"
	badStream = "<stream:error>"
)

func resume(id string, h int) string {
	return fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%d'/>", id, h)
}

// A misuser is a connection that does as it likes with stream management (XEP-0198).
type misuser struct {
	*harness.Client
	t *testing.T
}

func misuse(t *testing.T, c *harness.Client, err error) *misuser {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Conn.Close() })
	return &misuser{c, t}
}

// hears sends something and fails the test unless the next answer, what is asked of the client left aside, has these
// parts.
func (m *misuser) hears(say string, parts ...string) string {
	m.t.Helper()
	if err := m.Send(say); err != nil {
		m.t.Fatal(err)
	}
	el, err := m.Until(func(el string) bool { return !strings.HasPrefix(el, "<r ") && !strings.HasPrefix(el, "<presence") })
	if err != nil {
		m.t.Fatalf("%s: %v", say, err)
	}
	for _, p := range parts {
		if !strings.Contains(el, p) {
			m.t.Fatalf("%s is answered with\n%s\nwithout %q", say, el, p)
		}
	}
	return el
}

// over fails the test unless the stream ends.
func (m *misuser) over() {
	m.t.Helper()
	for {
		if _, err := m.Next(); errors.Is(err, harness.ErrStreamEnd) {
			return
		} else if err != nil {
			m.t.Fatalf("the stream breaks off: %v", err)
		}
	}
}

func TestStreamManagementSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{Place: place, Env: quick, Users: []string{"romeo", "juliet"}, C2S: "resume_window: 2s"})
			loggedIn := func() *misuser {
				c, err := harness.Login(s.C2STLS, "juliet")
				return misuse(t, c, err)
			}
			bound := func() *misuser {
				c, err := harness.Connect(s.C2STLS, "juliet", "phone")
				return misuse(t, c, err)
			}
			managed := func() (*misuser, string) {
				m := bound()
				return m, harness.Attr(m.hears(enable, "<enabled ", "resume='true'", "max='2'"), "id")
			}

			t.Run("before its time", func(t *testing.T) {
				c, err := harness.Open(s.C2STLS, false)
				m := misuse(t, c, err)
				if _, err := m.Next(); err != nil { // features
					t.Fatal(err)
				}
				for _, say := range []string{enable, request, resume("x", 0)} { // §11: not before authentication
					m.hears(say, "<failed ", "<unexpected-request ")
				}
				m.Close()
				m = loggedIn()
				for _, say := range []string{enable, request} { // recoverable: a resource can still be bound
					m.hears(say, "<failed ", "<unexpected-request ")
				}
				if err := m.Bind("phone"); err != nil {
					t.Fatal(err)
				}
				for _, say := range []string{request, "<a xmlns='urn:xmpp:sm:3' h='0'/>", resume("x", 0)} {
					m.hears(say, "<failed ", "<unexpected-request ")
				}
				m.hears("<enable xmlns='urn:xmpp:sm:3' resume='1' max='1'/>", "<enabled ", "max='1'")
				m.hears(resume("x", 0), "<failed ", "<unexpected-request ")
				m.hears(enable, badStream, "<policy-violation ") // §3: at most one attempt
				m.over()
			})

			t.Run("without resumption", func(t *testing.T) {
				m := bound()
				if el := m.hears("<enable xmlns='urn:xmpp:sm:3'/>", "<enabled "); strings.Contains(el, "resume") || harness.Attr(el, "id") != "" {
					t.Errorf("resumption was not asked for: %s", el)
				}
				m.hears(request, "<a ", "h='0'")
				m.Close()
			})

			t.Run("counts that cannot be", func(t *testing.T) {
				for say, want := range map[string][]string{
					"<a xmlns='urn:xmpp:sm:3' h='1'/>":          {"<undefined-condition ", "<handled-count-too-high xmlns='urn:xmpp:sm:3' h='1' send-count='0'/>"},
					"<a xmlns='urn:xmpp:sm:3' h='4294967295'/>": {"<undefined-condition ", "<handled-count-too-high "},
					"<a xmlns='urn:xmpp:sm:3' h='4294967296'/>": {"<bad-format "},
					"<a xmlns='urn:xmpp:sm:3' h='-1'/>":         {"<bad-format "},
					"<a xmlns='urn:xmpp:sm:3'/>":                {"<bad-format "},
					"<x xmlns='urn:xmpp:sm:3'/>":                {"<failed ", "<unexpected-request "},
				} {
					m, _ := managed()
					el := m.hears(say, want...)
					if strings.HasPrefix(el, badStream) {
						m.over()
					}
					m.Conn.Close()
				}
			})

			t.Run("resumption of what is not there", func(t *testing.T) {
				m := loggedIn()
				for _, say := range []string{resume("unknown", 0), resume("", 0)} {
					m.hears(say, "<failed ", "<item-not-found ")
				}
				for _, say := range []string{"<resume xmlns='urn:xmpp:sm:3' previd='x'/>", "<resume xmlns='urn:xmpp:sm:3' previd='x' h='many'/>"} {
					m.hears(say, "<bad-format ")
					m.over()
					m = loggedIn()
				}
				if err := m.Bind("phone"); err != nil { // §5: nobody has to begin anew
					t.Fatal(err)
				}
				m.Close()
			})

			t.Run("resumption", func(t *testing.T) {
				first, id := managed()
				first.hears("<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>", "type='result'", "id='p'")
				other, err := harness.Login(s.C2STLS, "romeo")
				misuse(t, other, err).hears(resume(id, 1), "<failed ", "<item-not-found ") // §11: another's
				m := loggedIn()
				m.hears(resume(id, 2), "<undefined-condition ", "<handled-count-too-high ", "h='2' send-count='1'")
				m.over()
				m = loggedIn()
				m.hears(resume(id, 1), "<resumed ", "previd='"+id+"'", "h='1'")
				first.hears("", badStream, "<conflict ") // §5: the one that it replaces
				first.over()
				// it has gone on
				m.hears("<iq type='get' id='q' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>", "type='result'", "id='q'")
				m.Conn.Close()
				for deadline := time.Now().Add(harness.Timeout); ; { // its window ends
					if strings.Contains(measured(t, s), "\njackdaw_sessions 0\n") {
						break
					}
					if time.Now().After(deadline) {
						t.Fatal("the session does not end")
					}
				}
				m = loggedIn()
				m.hears(resume(id, 2), "<failed ", "h='2'", "<item-not-found ") // §5: how far it had come
				if el := m.hears(resume(strings.ToUpper(id), 2), "<failed "); harness.Attr(el, "h") != "" {
					t.Errorf("of a session that never was: %s", el)
				}
				m.Close()
			})

			t.Run("a server that offers none", func(t *testing.T) {
				t.Parallel()
				s := harness.Start(t, harness.Options{Place: place, Env: quick, Users: []string{"juliet"}, C2S: "resume_window: 0"})
				c, err := harness.Login(s.C2STLS, "juliet")
				m := misuse(t, c, err)
				m.hears(resume("x", 0), "<failed ", "<feature-not-implemented ")
				if err := m.Bind("phone"); err != nil {
					t.Fatal(err)
				}
				if el := m.hears(enable, "<enabled "); strings.Contains(el, "resume") {
					t.Error(el)
				}
				m.Close()
			})
		})
	}
}
