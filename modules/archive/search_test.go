package archive

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"jackdaw/modules/internal/mam"
	"jackdaw/modules/internal/moduletest"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/storage/embedded"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

var messages = flag.Int("messages", 20_000, "how many messages are searched")

const fulltextField = "{urn:xmpp:fulltext:0}fulltext"

// searching is a house whose archives are searched.
func searching(t *testing.T) *house {
	h := newHouse(t)
	h.limits.Search = true
	h.a = New(Options{Router: h.r, Messages: h.log, Prefs: h.store.Map("archive-prefs"), Contacts: h.contacts,
		Segments: h.store.Log("archive-index"), Lists: h.store.Map("archive-index"), Full: h.full.Load,
		Limits: func() Limits { return h.limits }, Log: moduletest.Discard()})
	h.r.Use(h.a.Module())
	return h
}

// index has all archives indexed, as far as there are enough messages.
func (h *house) index() {
	h.Helper()
	h.a.search.Round(h.Context())
}

// indexed is everything that the index of a user has, as text.
func (h *house) indexed(user string) string {
	h.Helper()
	page, _, err := h.store.Log("archive-index").Page(h.Context(), user+"@example.org", storage.Query{Limit: 1000})
	if err != nil {
		h.Fatal(err)
	}
	var all []byte
	for _, r := range page {
		all = append(all, r.Data...)
	}
	return string(all)
}

func (h *house) found(c *moduletest.Client, query string, want ...string) {
	h.Helper()
	a := ask(c, query)
	if a.err != nil {
		h.Errorf("%s: %v", query, a.err)
	} else if got := a.bodies(); !slices.Equal(got, want) {
		h.Errorf("%s finds %q, want %q", query, got, want)
	}
}

func TestSearchesFindWhatWasSaid(t *testing.T) {
	h := searching(t)
	nurse := moduletest.Login(t, h.r, "nurse/c")
	nurse.Available(0)
	say := func(from *moduletest.Client, body string) {
		from.Send(`<message to='` + map[*moduletest.Client]string{h.romeo: "juliet", h.juliet: "romeo"}[from] +
			`@example.org' type='chat'><body>` + body + `</body></message>`)
	}
	say(h.romeo, "What light through yonder window breaks?")
	h.romeo.Send(`<message to='nurse@example.org' type='chat'><body>Is the window open?</body></message>`)
	say(h.juliet, "Window: open")
	h.romeo.Send(`<message to='juliet@example.org' type='chat'><body>This message is encrypted, and no window</body>` +
		`<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl'/></message>`)
	h.romeo.Send(`<message to='juliet@example.org' type='chat'><subject>the WINDOW</subject><body>x</body></message>`)
	h.romeo.Received()
	h.juliet.Received()
	text := field(fulltextField, "window")
	for range 2 {
		h.found(h.romeo, filtered(text), "What light through yonder window breaks?", "Is the window open?", "Window: open", "x")
		h.found(h.romeo, filtered(text+field("with", "juliet@example.org")), "What light through yonder window breaks?",
			"Window: open", "x")
		h.found(h.romeo, filtered(text+field("with", "juliet@example.org/b")), "Window: open")
		h.found(h.romeo, filtered(text+field("with", "romeo@example.org/a")), "What light through yonder window breaks?",
			"Is the window open?", "x")
		h.found(h.romeo, filtered(field(fulltextField, "window, open")), "Is the window open?", "Window: open")
		h.found(h.juliet, filtered(field(fulltextField, "nurse")))
		ids := h.ids("romeo")
		h.found(h.romeo, filtered(text+field("ids", ids[0], ids[3])), "What light through yonder window breaks?")
		h.found(h.romeo, filtered(text+field("after-id", ids[1])+field("end", "2100-01-01T00:00:00Z")), "Window: open", "x")
		two := strings.Replace(filtered(text), "</query>", "<set xmlns='http://jabber.org/protocol/rsm'><max>2</max><before>%s"+
			"</before></set></query>", 1)
		a := ask(h.romeo, fmt.Sprintf(two, ""))
		if got := a.bodies(); !slices.Equal(got, []string{"Window: open", "x"}) || a.fin.HasAttr("complete") {
			t.Errorf("the last page: %q, %s", got, a.fin.Append(nil))
		}
		a = ask(h.romeo, fmt.Sprintf(two, ids[2]))
		if got := a.bodies(); !slices.Equal(got, []string{"What light through yonder window breaks?", "Is the window open?"}) ||
			a.fin.Attr("complete") != "true" {
			t.Errorf("the page before: %q, %s", got, a.fin.Append(nil))
		}
		for i := range 256 { // from the second time on they are in the index
			say(h.romeo, fmt.Sprint("filling ", i))
		}
		h.juliet.Received()
		h.index()
	}
	if !strings.Contains(h.indexed("romeo"), "yonder") {
		t.Error("nothing was indexed")
	}
}

func TestWhatWasRetractedIsNotFound(t *testing.T) {
	h := searching(t)
	h.romeo.Send(`<message to='juliet@example.org' type='chat' id='m1'><body>an unspeakable thing</body></message>`)
	for i := range 300 {
		h.romeo.Send(fmt.Sprintf(`<message to='juliet@example.org' type='chat'><body>number %d</body></message>`, i))
	}
	h.juliet.Received()
	h.index()
	query := filtered(field(fulltextField, "unspeakable"))
	h.found(h.juliet, query, "an unspeakable thing")
	h.romeo.Send(retraction)
	for _, user := range []*moduletest.Client{h.romeo, h.juliet} {
		h.found(user, query)
		if !strings.Contains(h.indexed(user.Bare().Local()), "unspeakable") {
			t.Error("the test looks for the words where they are not")
		}
	}
	h.index()
	for _, user := range []string{"romeo", "juliet"} {
		if strings.Contains(h.indexed(user), "unspeakable") {
			t.Errorf("the words are left in the index of %s", user)
		}
	}
	h.found(h.juliet, filtered(field(fulltextField, "number 299")), "number 299")
}

func TestNothingIsLeftOfTheIndexOfADeletedAccount(t *testing.T) {
	h := searching(t)
	for i := range 300 {
		h.romeo.Send(fmt.Sprintf(`<message to='juliet@example.org' type='chat'><body>number %d</body></message>`, i))
	}
	h.juliet.Received()
	h.index()
	if err := h.r.Remove(jid.MustParse("juliet@example.org")); err != nil {
		t.Fatal(err)
	}
	n, _, _ := h.store.Log("archive-index").Size(t.Context(), "juliet@example.org")
	keys, _, _ := h.store.Map("archive-index").Size(t.Context(), "juliet@example.org")
	if n != 0 || keys != 0 || h.indexed("romeo") == "" {
		t.Errorf("%d records and %d keys are left", n, keys)
	}
}

func TestSearchIsAnnouncedOnlyWhereItIsOn(t *testing.T) {
	h := searching(t)
	query := filtered(field(fulltextField, "window"))
	form := func() string { return string(mustSend(t, h.romeo, `<query xmlns='urn:xmpp:mam:2'/>`)) }
	if got := h.a.Module().AccountFeaturesNow(); !slices.Equal(got, []string{"urn:xmpp:fulltext:0"}) ||
		!strings.Contains(form(), fulltextField) {
		t.Errorf("on: %q, %s", got, form())
	}
	for _, nothing := range []string{"?!", "a b c"} {
		a := ask(h.romeo, filtered(field(fulltextField, nothing)))
		if a.err == nil || a.err.Condition != xmpp.CondBadRequest {
			t.Errorf("a search for %s: %v", nothing, a.err)
		}
	}
	h.limits.Search = false
	if got := h.a.Module().AccountFeaturesNow(); len(got) != 0 || strings.Contains(form(), "fulltext") {
		t.Errorf("off: %q, %s", got, form())
	}
	if a := ask(h.romeo, query); a.err == nil || a.err.Condition != xmpp.CondFeatureNotImplemented {
		t.Errorf("off: %v", a.err)
	}
}

// mustSend asks for something of type get and returns the payload of the answer.
func mustSend(t *testing.T, c *moduletest.Client, payload string) []byte {
	t.Helper()
	c.Received()
	if e := c.Send(`<iq type='get' id='g'>` + payload + `</iq>`); e.Outcome == router.Refused {
		t.Fatal(e.Err)
	}
	c.Wait(1)
	return c.Deliveries()[0].Stanza.Payload
}

// TestAMillionMessages measures; with -messages=1000000 it takes minutes. See docs/performance.md.
func TestAMillionMessages(t *testing.T) {
	e, err := embedded.Open(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close() // the test is over
	const owner = "juliet@example.org"
	log, random := e.Log("archive"), rand.New(rand.NewPCG(1, 2))
	vocabulary := make([]string, 50_000)
	for i := range vocabulary {
		vocabulary[i] = syllables(random)
	}
	zipf := rand.NewZipf(random, 1.1, 4, uint64(len(vocabulary)-1))
	start := storage.IDAt(time.Now()) - uint64(*messages)*60_000_000
	bytes := 0
	var last *storage.Pending
	for i := range *messages {
		text := []string{fmt.Sprintf("unique%d", i/5000*5000)}
		for range 4 + random.IntN(16) {
			text = append(text, vocabulary[zipf.Uint64()])
		}
		peer := fmt.Sprintf("user%d@example.org", random.IntN(20))
		s := moduletest.Parse(t, `<message from='`+peer+`/desk' to='`+owner+`' type='chat' id='0f3c7d1e-5f2b'><body>`+
			strings.Join(text, " ")+`</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>`)
		data := mam.AppendMessage(nil, s)
		bytes += len(data)
		_, _, p, err := log.Append(t.Context(), owner, storage.Record{Peer: peer, Data: data},
			storage.AppendOptions{At: start + uint64(i)*60_000_000})
		if err != nil {
			t.Fatal(err)
		}
		if last = p; i%5000 == 0 {
			if err := p.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := New(Options{Router: moduletest.New("juliet"), Messages: log, Prefs: e.Map("prefs"), Segments: e.Log("index"),
		Lists: e.Map("index"), Limits: func() Limits { return Limits{Page: 100, Search: true} }, Log: moduletest.Discard()})
	began, used := time.Now(), cpu()
	if err := a.search.Catch(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	_, size, err := e.Log("index").Size(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d messages, %d bytes; index %d bytes (%.0f %%), made in %v, %v of CPU", *messages, bytes, size,
		100*float64(size)/float64(bytes), time.Since(began).Round(time.Millisecond), (cpu() - used).Round(time.Millisecond))
	if size > int64(bytes)/2 {
		t.Error("the index is too large")
	}
	common, rare := vocabulary[0], vocabulary[20_000]
	for _, test := range []struct{ name, text, with string }{
		{"one common word", common, ""},
		{"eight common words", strings.Join(vocabulary[:8], " "), ""},
		{"eight common words that never meet", strings.Join(vocabulary[200:208], " "), ""},
		{"a rare word", rare, ""},
		{"a word of one place", "unique0", ""},
		{"a common word and one peer", common, "user7@example.org"},
		{"what nobody has said", "nobodysaidthis", ""},
		{"a common word and one that nobody has said", common + " nobodysaidthis", ""},
	} {
		for _, before := range []string{"", "<before/>"} {
			var took, used []time.Duration
			n := 0
			for range 5 {
				el, err := xmpp.ParseElement([]byte(strings.Replace(filtered(field(fulltextField, test.text)), "</query>",
					`<set xmlns='http://jabber.org/protocol/rsm'><max>50</max>`+before+`</set></query>`, 1)))
				if err != nil {
					t.Fatal(err)
				}
				q, bad := mam.ParseSearch(el)
				if bad != nil {
					t.Fatal(bad)
				}
				began, before := time.Now(), cpu()
				m := mam.Match{Peer: test.with}
				if bad := a.search.find(&m, jid.MustParse(owner), q); bad != nil {
					t.Fatal(bad)
				}
				page, err := q.Page(t.Context(), mam.Archive{Log: log, Owner: owner}, m, 50)
				if err != nil {
					t.Fatal(err)
				}
				took, used, n = append(took, time.Since(began)), append(used, cpu()-before), len(page.Records)
			}
			slices.Sort(took)
			slices.Sort(used)
			t.Logf("%-44s %-9s %2d found, %v (%v to %v), %v of CPU", test.name, before, n, took[2].Round(10*time.Microsecond),
				took[0].Round(10*time.Microsecond), took[4].Round(10*time.Microsecond), used[2].Round(10*time.Microsecond))
			if used[0] > 50*time.Millisecond {
				t.Errorf("%s takes %v of CPU at best", test.name, used[0])
			}
		}
	}
}

// syllables makes a word of four to twelve letters.
func syllables(random *rand.Rand) string {
	var b strings.Builder
	for range 2 + random.IntN(5) {
		b.WriteByte("bcdfghjklmnprstvwz"[random.IntN(18)])
		b.WriteByte("aeiou"[random.IntN(5)])
	}
	return b.String()
}
