package fulltext

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/storage"
)

const owner = "juliet@example.org"

// world is an index of records whose data are their texts.
type world struct {
	*testing.T
	store  *moduletest.Store
	source storage.Log
	x      *Index
	most   int64
	off    bool
	full   bool
	now    uint64
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, store: moduletest.NewStore()}
	w.source = w.store.Log("archive")
	w.open()
	return w
}

// open begins anew on what is stored.
func (w *world) open() {
	w.x = New(Options{Source: w.source, Segments: w.store.Log("index"), Lists: w.store.Map("index"),
		Text: func(r *storage.Record) string { return string(r.Data) }, Most: func() int64 { return w.most },
		On: func() bool { return !w.off }, Full: func() bool { return w.full },
		Here: func(string) bool { return true }, Log: moduletest.Discard()})
}

// say adds a message an hour after the one before, and returns its id.
func (w *world) say(peer, text string) uint64 {
	w.Helper()
	w.now += day / 24
	id, _, _, err := w.source.Append(w.Context(), owner, storage.Record{Peer: peer, Data: []byte(text)},
		storage.AppendOptions{At: w.now})
	if err != nil {
		w.Fatal(err)
	}
	w.x.Grown(owner)
	return id
}

// index makes a segment of what there is, or of as much as a step takes.
func (w *world) index() {
	w.Helper()
	release := w.x.hold(owner)
	defer release()
	if _, err := w.x.step(w.Context(), owner, 1); err != nil {
		w.Fatal(err)
	}
}

func (w *world) purge() {
	w.Helper()
	release := w.x.hold(owner)
	defer release()
	if err := w.x.purge(w.Context(), owner); err != nil {
		w.Fatal(err)
	}
}

// find are the texts that a search finds, in pages of the given length.
func (w *world) find(text, peer string, q storage.Query) (all []string) {
	w.Helper()
	s, err := w.x.NewSearch(owner, text, peer)
	if err != nil {
		w.Fatal(err)
	}
	for more := true; more; {
		var page []storage.Record
		if page, more, err = s.Page(w.Context(), q); err != nil {
			w.Fatal(err)
		}
		if len(page) > max(q.Limit, 0) && q.Limit > 0 || more && len(page) == 0 {
			w.Fatalf("%d records are a page", len(page))
		}
		var texts []string
		for _, r := range page {
			texts = append(texts, string(r.Data))
		}
		if q.Backward {
			all = append(texts, all...)
		} else {
			all = append(all, texts...)
		}
		if len(page) > 0 && q.Backward {
			q.Before = page[0].ID
		} else if len(page) > 0 {
			q.After = page[len(page)-1].ID
		}
	}
	return all
}

func (w *world) want(text, peer string, want ...string) {
	w.Helper()
	for _, q := range []storage.Query{{}, {Limit: 1}, {Limit: 2, Backward: true}} {
		if got := w.find(text, peer, q); !slices.Equal(got, want) {
			w.Errorf("%q of %q, %+v: %q, want %q", text, peer, q, got, want)
		}
	}
}

// stored is everything that the index keeps, as text.
func (w *world) stored() string {
	w.Helper()
	var all []byte
	for after := uint64(0); ; {
		page, more, err := w.store.Log("index").Page(w.Context(), owner, storage.Query{After: after})
		if err != nil {
			w.Fatal(err)
		}
		for _, r := range page {
			all, after = append(all, r.Data...), r.ID
		}
		if !more {
			return string(all)
		}
	}
}

func TestMessagesAreFoundByAllTheirWords(t *testing.T) {
	w := newWorld(t)
	w.say("romeo", "But soft! What light through yonder WINDOW breaks?")
	w.say("romeo", "It is the east, and Juliet is the sun.")
	w.say("nurse", "The window is open, the sun is up.")
	for range 2 { // as they are, and by the index
		w.want("window", "", "But soft! What light through yonder WINDOW breaks?", "The window is open, the sun is up.")
		w.want("SUN the", "", "It is the east, and Juliet is the sun.", "The window is open, the sun is up.")
		w.want("sun", "romeo", "It is the east, and Juliet is the sun.")
		w.want("sun moon", "")
		w.want("wind", "")
		w.want("window", "tybalt")
		w.index()
	}
	w.say("nurse", "window again")
	w.want("window", "nurse", "The window is open, the sun is up.", "window again")
	if _, err := w.x.NewSearch(owner, "a ? !", ""); !errors.Is(err, ErrNoWords) {
		t.Errorf("a search without words: %v", err)
	}
}

func TestWordsOfAllScripts(t *testing.T) {
	for _, test := range []struct{ text, sought string }{
		{"STRASSE", "straße"}, {"Ünïcode", "üNÏCODE"}, {"ﬁne", "fine"}, {"ＡＢＣ", "abc"}, {"Привет, мир", "ПРИВЕТ"},
		{"안녕하세요 세계", "세계"}, {"我在北京大学学习", "北京大学"}, {"我在北京", "京"}, {"東京タワーへ行く", "タワー"}, {"สวัสดีครับ", "สวัสดี"},
		{strings.Repeat("x", 40), strings.Repeat("x", 33)}, {"call 5551234", "5551234"}, {"don't", "don't"}, {"e\u0301cole", "École"},
		{"مرحبا بالعالم", "مرحبا"}, {"https://example.org/path?x=1", "example"},
	} {
		has := words(test.text, false)
		for _, word := range words(test.sought, true) {
			if !slices.Contains(has, word) {
				t.Errorf("%q of %q is not among %q", word, test.sought, has)
			}
		}
		if len(words(test.sought, true)) == 0 {
			t.Errorf("%q has no words", test.sought)
		}
	}
	if got := words("a I 1 . \xff\xfe b", false); len(got) != 0 {
		t.Errorf("single letters are words: %q", got)
	}
	var long strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&long, "word%d ", i)
	}
	if got := words(long.String(), false); len(got) != mostWords {
		t.Errorf("%d words", len(got))
	}
}

func TestTheIndexFindsWhatReadingFinds(t *testing.T) {
	w := newWorld(t)
	random := rand.New(rand.NewPCG(3, 4))
	vocabulary := make([]string, 60)
	for i := range vocabulary {
		vocabulary[i] = fmt.Sprintf("word%d", i)
	}
	type message struct {
		id         uint64
		peer, text string
	}
	var all []message
	for round := range 120 {
		for range random.IntN(40) {
			var text []string
			for range 1 + random.IntN(8) {
				text = append(text, vocabulary[int(float64(len(vocabulary))*random.Float64()*random.Float64())])
			}
			m := message{peer: []string{"romeo", "nurse", "paris"}[random.IntN(3)], text: strings.Join(text, " ")}
			m.id = w.say(m.peer, m.text)
			all = append(all, m)
		}
		switch random.IntN(6) {
		case 0, 1, 2:
			w.index()
		case 3:
			w.open() // a restart
		case 4:
			if len(all) > 0 { // one goes
				i := random.IntN(len(all))
				w.source.Remove(t.Context(), owner, all[i].id)
				if err := w.x.Gone(t.Context(), owner, all[i].id); err != nil {
					t.Fatal(err)
				}
				all = slices.Delete(all, i, i+1)
			}
		case 5:
			if n := len(all) / 4; n > 0 && random.IntN(3) == 0 { // the oldest go
				w.source.Trim(t.Context(), owner, all[n].id)
				all = all[n:]
			}
			w.purge()
		}
		word, peer := vocabulary[random.IntN(20)], []string{"", "", "romeo"}[random.IntN(3)]
		if random.IntN(2) == 0 {
			word += " " + vocabulary[random.IntN(20)]
		}
		q := storage.Query{Limit: random.IntN(5), Backward: random.IntN(2) == 0}
		if len(all) > 10 && random.IntN(2) == 0 {
			q.After, q.Before = all[random.IntN(5)].id, all[len(all)-1-random.IntN(5)].id
		}
		var want []string
		for _, m := range all {
			has := strings.Fields(m.text)
			if (peer == "" || peer == m.peer) && m.id > q.After && (q.Before == 0 || m.id < q.Before) &&
				!slices.ContainsFunc(strings.Fields(word), func(x string) bool { return !slices.Contains(has, x) }) {
				want = append(want, m.text)
			}
		}
		if got := w.find(word, peer, q); !slices.Equal(got, want) {
			t.Fatalf("round %d: %q of %q, %+v: %d found, want %d", round, word, peer, q, len(got), len(want))
		}
	}
	w.index()
	st, err := w.x.state(t.Context(), owner)
	if n := len(st.parts); err != nil || n < 2 || n > 12 {
		t.Errorf("%d segments, %v", n, err)
	}
}

func TestSegmentsGrowTogether(t *testing.T) {
	w := newWorld(t)
	for i := range 300 {
		w.say("romeo", fmt.Sprintf("number n%d", i))
		w.index()
	}
	st, err := w.x.state(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	records, size := 0, int64(0)
	for _, p := range st.parts {
		r, err := w.x.root(t.Context(), owner, p)
		if err != nil {
			t.Fatal(err)
		}
		records, size = records+len(r.records(p)), size+p.bytes
	}
	n, bytes, _ := w.store.Log("index").Size(t.Context(), owner)
	if len(st.parts) > 9 || n != records || bytes != size {
		t.Errorf("%d segments of %d records and %d bytes; %d records and %d bytes are stored", len(st.parts), records, size, n,
			bytes)
	}
	if got := len(w.find("number", "", storage.Query{Limit: 7})); got != 300 {
		t.Errorf("%d are found", got)
	}
}

func TestListsLongerThanALeaf(t *testing.T) {
	w := newWorld(t)
	const n = 10_000
	for i := range n {
		w.say("romeo", fmt.Sprintf("aa common%d zz %x", i%3, i))
	}
	for range n/stepMessages + 1 {
		w.index()
	}
	for word, want := range map[string]int{"aa": n, "zz": n, "common1": n / 3, "aa common2 zz": n / 3} {
		if got := len(w.find(word, "", storage.Query{Limit: 1000})); got != want {
			t.Errorf("%s: %d, want %d", word, got, want)
		}
	}
	if got := len(w.find("aa", "romeo", storage.Query{Limit: 1000, Backward: true})); got != n {
		t.Errorf("%d of romeo", got)
	}
}

func TestWordsOfWhatIsGoneLeaveTheIndex(t *testing.T) {
	w := newWorld(t)
	gone := w.say("romeo", "a secretword")
	replaced := w.say("romeo", "another hiddenword")
	w.say("romeo", "what stays")
	w.index()
	if !strings.Contains(w.stored(), "secretword") {
		t.Fatal("the words are not where they are looked for")
	}
	w.source.Remove(t.Context(), owner, gone)
	w.source.Replace(t.Context(), owner, replaced, []byte("-"))
	for _, id := range []uint64{gone, replaced} {
		if err := w.x.Gone(t.Context(), owner, id); err != nil {
			t.Fatal(err)
		}
	}
	w.want("secretword", "")
	w.want("hiddenword", "")
	w.purge()
	if all := w.stored(); strings.Contains(all, "secretword") || strings.Contains(all, "hiddenword") {
		t.Error("words of messages that are gone are stored")
	}
	w.want("stays", "", "what stays")
	if list, _, _ := w.store.Map("index").List(t.Context(), owner); len(list) != 1 {
		t.Errorf("%d keys are left", len(list))
	}
	// What has gone before it was indexed leaves nothing to do.
	late := w.say("romeo", "yet another")
	w.source.Remove(t.Context(), owner, late)
	if err := w.x.Gone(t.Context(), owner, late); err != nil {
		t.Fatal(err)
	}
	if list, _, _ := w.store.Map("index").List(t.Context(), owner); len(list) != 1 {
		t.Errorf("%d keys of what was never indexed", len(list))
	}
}

func TestWordsOfWhatWasTrimmedLeaveTheIndex(t *testing.T) {
	w := newWorld(t)
	var ids []uint64
	for i := range 100 {
		ids = append(ids, w.say("romeo", fmt.Sprintf("word%03d", i)))
	}
	w.index()
	w.source.Trim(t.Context(), owner, ids[10])
	w.purge()
	if !strings.Contains(w.stored(), "word00") {
		t.Error("for ten hours a segment is written anew")
	}
	w.source.Trim(t.Context(), owner, ids[50])
	w.purge()
	if all := w.stored(); strings.Contains(all, "word04") || strings.Contains(all, "word000") {
		t.Error("words of messages that were trimmed are stored")
	}
	w.want("word060", "", "word060")
	w.source.Trim(t.Context(), owner, ids[99]+1)
	w.x.Round(t.Context())
	if n, _, _ := w.store.Log("index").Size(t.Context(), owner); n != 0 {
		t.Errorf("%d records are left of an empty log", n)
	}
}

func TestBeyondItsBoundTheIndexLosesTheOldest(t *testing.T) {
	w := newWorld(t)
	w.most = 20_000
	for i := range 40 {
		for j := range 40 {
			w.say("romeo", fmt.Sprintf("x%dx%d common", i, j))
		}
		w.index()
	}
	if _, size, _ := w.store.Log("index").Size(t.Context(), owner); size > 2*w.most || size < w.most/8 {
		t.Errorf("%d bytes", size)
	}
	if n := len(w.find("common", "", storage.Query{Limit: 100})); n == 0 || n >= 1600 {
		t.Errorf("%d are found", n)
	}
	w.want("x39x39", "", "x39x39 common")
}

// halting is a log that fails after so many appends.
type halting struct {
	storage.Log
	left int
}

var errHalt = errors.New("the power is gone")

func (h *halting) Append(ctx context.Context, owner string, r storage.Record, o storage.AppendOptions) (
	uint64, bool, *storage.Pending, error) {
	if h.left--; h.left < 0 {
		return 0, false, nil, errHalt
	}
	return h.Log.Append(ctx, owner, r, o)
}

func (h *halting) Remove(ctx context.Context, owner string, ids ...uint64) (*storage.Pending, error) {
	if h.left--; h.left < 0 {
		return nil, errHalt
	}
	return h.Log.Remove(ctx, owner, ids...)
}

func TestAStepThatWasCutOffLeavesNothing(t *testing.T) {
	for left := range 12 {
		w := newWorld(t)
		for i := range 100 {
			w.say("romeo", fmt.Sprintf("first n%d", i))
		}
		w.index()
		for i := range 100 {
			w.say("romeo", fmt.Sprintf("second n%d", i))
		}
		w.x.Segments = &halting{w.x.Segments, left}
		func() {
			release := w.x.hold(owner)
			defer release()
			if _, err := w.x.step(t.Context(), owner, 1); err != nil && !errors.Is(err, errHalt) {
				t.Fatal(err)
			}
		}()
		w.open()
		if n := len(w.find("first", "", storage.Query{})) + len(w.find("second", "", storage.Query{})); n != 200 {
			t.Errorf("after %d writes %d are found", left, n)
		}
		w.say("romeo", "third")
		w.index()
		w.want("n7", "", "first n7", "second n7")
		w.purge()
		st, err := w.x.state(t.Context(), owner)
		if err != nil {
			t.Fatal(err)
		}
		size := int64(0)
		for _, p := range st.parts {
			size += p.bytes
		}
		if _, bytes, _ := w.store.Log("index").Size(t.Context(), owner); bytes != size {
			t.Errorf("after %d writes %d bytes are stored, and %d belong to something", left, bytes, size)
		}
	}
}

func TestAnIndexThatCannotBeReadIsMadeAnew(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		w.say("romeo", fmt.Sprintf("text n%d", i))
	}
	w.index()
	page, _, err := w.store.Log("index").Page(t.Context(), owner, storage.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page {
		for _, damage := range []string{"", "\x07", string(r.Data[:1]) + "\xff\xff\xff\xff\x7f", string(r.Data[:len(r.Data)/2])} {
			w.store.Log("index").Replace(t.Context(), owner, r.ID, []byte(damage))
			s, err := w.x.NewSearch(owner, "n7", "")
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Page(t.Context(), storage.Query{}); err != nil && !errors.Is(err, errRecord) {
				t.Errorf("record %.1x: %v", r.Data, err)
			}
			w.store.Log("index").Replace(t.Context(), owner, r.ID, r.Data)
		}
	}
	w.x.Round(t.Context())
	w.want("n7", "", "text n7")
}

func TestWithoutAnIndexThereIsNone(t *testing.T) {
	w := newWorld(t)
	w.say("romeo", "hello there")
	w.index()
	w.off = true
	w.x.removeAll(t.Context())
	n, _, _ := w.store.Log("index").Size(t.Context(), owner)
	list, _, _ := w.store.Map("index").List(t.Context(), owner)
	if n != 0 || len(list) != 0 {
		t.Errorf("%d records and %d keys are left", n, len(list))
	}
	w.off = false
	for i := range smallTail {
		w.say("romeo", fmt.Sprint("again ", i))
	}
	w.x.Round(t.Context())
	if n, _, _ := w.store.Log("index").Size(t.Context(), owner); n == 0 {
		t.Error("it is not made again")
	}
	w.want("hello", "", "hello there")
	w.full = true
	if more, err := w.x.step(t.Context(), owner, 0); more || err != nil {
		t.Errorf("a step on a full disk: %v, %v", more, err)
	}
}

func TestASearchMakesTheIndexThatItNeeds(t *testing.T) {
	w := newWorld(t)
	for i := range largeTail * 3 {
		w.say("romeo", fmt.Sprint("text ", i))
	}
	w.want("2001", "", "text 2001")
	if n, _, _ := w.store.Log("index").Size(t.Context(), owner); n == 0 {
		t.Error("it reads everything")
	}
	for i := range stepMessages * (stepsOfSearch + 1) {
		w.say("romeo", fmt.Sprint("more ", i))
	}
	s, err := w.x.NewSearch(owner, "nothing", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Page(t.Context(), storage.Query{}); !errors.Is(err, ErrBehind) {
		t.Errorf("far behind: %v", err)
	}
	w.want("nothing", "")
}

func FuzzWords(f *testing.F) {
	f.Add("But soft! What light", true)
	f.Add("北京 e\u0301\xff ﬁ タワー", false)
	f.Fuzz(func(t *testing.T, text string, sought bool) {
		all := words(text, sought)
		for _, w := range all {
			if w == "" || w[0] == '@' || len(w) > 4*mostRunes*4 {
				t.Errorf("%q is a word", w)
			}
		}
		has := words(text, false)
		for _, w := range words(text, true) {
			if len(has) < mostWords && !slices.Contains(has, w) {
				t.Errorf("a text is not found by its own word %q", w)
			}
		}
	})
}

func FuzzSegment(f *testing.F) {
	f.Add([]byte{rootVersion, 1, 1, 1, 1, 1, 'a'}, byte(0))
	f.Add([]byte{leafVersion, 0, 1, 'a', 1, 1, 0}, byte(1))
	f.Add([]byte{chunkVersion, 7, 7}, byte(2))
	f.Fuzz(func(t *testing.T, data []byte, _ byte) {
		w := newWorld(t)
		id, _, _, err := w.x.Segments.Append(t.Context(), owner, storage.Record{Data: data}, storage.AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r := &root{chunks: []uint64{id}, leaves: []uint64{id}, firsts: []string{"a"}}
		if _, err := w.x.root(t.Context(), owner, part{root: id}); err != nil && !errors.Is(err, errRecord) {
			t.Error(err)
		}
		for _, f := range []func() error{
			func() error { _, err := w.x.list(t.Context(), owner, r, "a"); return err },
			func() error { _, err := w.x.chunk(t.Context(), owner, id); return err },
			func() error {
				_, err := w.x.load(t.Context(), owner, &root{leaves: []uint64{id}})
				return err
			},
		} {
			if err := f(); err != nil && !errors.Is(err, errRecord) {
				t.Error(err)
			}
		}
		if _, err := readState(data); err != nil && !errors.Is(err, errRecord) {
			t.Error(err)
		}
	})
}
