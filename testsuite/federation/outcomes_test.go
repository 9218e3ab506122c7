package federation

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"jackdaw/testsuite/harness"
)

// becomes waits until this is what is kept of the copy for skel of a post of plain's.
func (m *market) becomes(id, outcome, reason string) {
	m.t.Helper()
	var text []byte
	for deadline := time.Now().Add(harness.Timeout); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		r, err := http.NewRequest("GET", "http://"+m.HTTP+"/api/1.0/posts/"+id, nil)
		if err != nil {
			m.t.Fatal(err)
		}
		r.SetBasicAuth("plain@"+home, harness.Password)
		resp, err := poster.Do(r)
		if err != nil {
			m.t.Fatal(err)
		}
		text, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		var record struct {
			Recipients []struct{ Outcome, Reason string }
		}
		if err != nil || resp.StatusCode != 200 || json.Unmarshal(text, &record) != nil || len(record.Recipients) != 1 {
			m.t.Fatalf("%d %s, %v", resp.StatusCode, text, err)
		}
		if one := record.Recipients[0]; one.Outcome == outcome && one.Reason == reason {
			return
		}
	}
	m.t.Fatalf("%s is not %s %s but %s", id, outcome, reason, text)
}

func TestWhatBecomesOfPostsToOtherServersIsTold(t *testing.T) {
	t.Parallel()
	m := openMarket(t, "")
	post := func(body string) string {
		t.Helper()
		a := m.post(request{user: "plain@" + home, body: body})
		var report struct{ ID string }
		if err := json.Unmarshal([]byte(a.Text), &report); err != nil || a.Status != 200 || a.outcome(skel) != "queued" {
			t.Fatalf("answer %d %s", a.Status, a.Text)
		}
		return report.ID
	}
	given := post("<message type='chat' id='given' to='" + skel + "'><body>yo</body></message>")
	ours := post("<message type='chat' to='" + skel + "'><body>yo</body></message>")
	for _, id := range []string{"given", ours} {
		if _, err := m.peer.Until(hasID(id)); err != nil {
			t.Fatal(err)
		}
	}
	m.becomes(given, "delivered", "")
	m.becomes(ours, "delivered", "")
	l, err := m.peer.Connect("remote.example", home, wayBack)
	if err != nil {
		t.Fatal(err)
	}
	for _, xml := range []string{
		"<message from='" + skel + "/x' to='plain@" + home + "'><received xmlns='urn:xmpp:receipts' id='given'/></message>",
		"<message type='error' from='" + skel + "' to='plain@" + home + "' id='" + ours + "'><error type='cancel'>" +
			"<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
	} {
		if err := l.Send(xml); err != nil {
			t.Fatal(err)
		}
	}
	m.becomes(given, "received", "")
	m.becomes(ours, "bounced", "gone")
	// It is there after a restart.
	if code := m.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	m.Launch()
	m.becomes(given, "received", "")
	m.becomes(ours, "bounced", "gone")
}
