package mam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// log is an archive whose ids the test chooses. It pages in the plainest way.
type log struct {
	storage.Log
	records []storage.Record // sorted
	fail    error
	read    int // records returned by Page
}

func (l *log) Page(_ context.Context, _ string, q storage.Query) ([]storage.Record, bool, error) {
	var out []storage.Record
	for _, r := range l.records {
		if r.ID > q.After && (q.Before == 0 || r.ID < q.Before) && (q.Peer == "" || q.Peer == r.Peer) {
			out = append(out, r)
		}
	}
	more := len(out) > q.Limit
	switch {
	case !more:
	case q.Backward:
		out = out[len(out)-q.Limit:]
	default:
		out = out[:q.Limit]
	}
	l.read += len(out)
	return slices.Clone(out), more, l.fail
}

func (l *log) Get(_ context.Context, _ string, id uint64) (storage.Record, error) {
	for _, r := range l.records {
		if r.ID == id {
			return r, l.fail
		}
	}
	return storage.Record{}, storage.ErrNotFound
}

func (l *log) Size(context.Context, string) (int, int64, error) { return len(l.records), 0, l.fail }

// parse reads a query of these fields and this <set/>.
func parse(t testing.TB, fields, set string) (*Query, *xmpp.Error) {
	t.Helper()
	if fields != "" {
		fields = `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>` + fields + `</x>`
	}
	el, err := xmpp.ParseElement([]byte(`<query xmlns='urn:xmpp:mam:2'>` + fields + set + `</query>`))
	if err != nil {
		t.Fatal(err)
	}
	return Parse(el)
}

func field(name string, values ...string) string {
	f := "<field var='" + name + "'>"
	for _, v := range values {
		f += "<value>" + v + "</value>"
	}
	return f + "</field>"
}

func set(children string) string {
	return "<set xmlns='http://jabber.org/protocol/rsm'>" + children + "</set>"
}

// with is a match as users' archives make it, for records whose data is the full address.
func with(j jid.JID) Match {
	switch {
	case j.IsZero():
		return Match{}
	case j.IsFull():
		return Match{Peer: j.Bare().String(), Also: func(r *storage.Record) bool { return string(r.Data) == j.String() }}
	}
	return Match{Peer: j.String()}
}

var epoch = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// at is a moment some microseconds after the epoch.
func at(us int) time.Time { return epoch.Add(time.Duration(us) * time.Microsecond) }

// A draw is a random archive and a random query, which the model answers in the plainest way.
type draw struct {
	log        *log
	fields     string
	with       jid.JID
	backward   bool
	max        int
	covered    []storage.Record // the result set
	everything bool
}

func drawQuery(t *rapid.T) *draw {
	d := &draw{log: &log{}}
	now := 0
	for range rapid.IntRange(0, 250).Draw(t, "records") {
		now += rapid.SampledFrom([]int{1, 1, 400, 1000, 5000}).Draw(t, "gap")
		peer := rapid.SampledFrom([]string{"a@x", "b@x"}).Draw(t, "peer")
		data := peer + "/" + rapid.SampledFrom([]string{"1", "2"}).Draw(t, "resource")
		d.log.records = append(d.log.records, storage.Record{ID: storage.IDAt(at(now)), Peer: peer, Data: []byte(data)})
	}
	all := d.log.records
	id := func(name string) (uint64, bool) {
		if len(all) == 0 || !rapid.Bool().Draw(t, name+"?") {
			return 0, false
		}
		return all[rapid.IntRange(0, len(all)-1).Draw(t, name)].ID, true
	}
	keep := func(f func(r storage.Record) bool) {
		d.covered = slices.DeleteFunc(d.covered, func(r storage.Record) bool { return !f(r) })
	}
	d.covered, d.everything = slices.Clone(all), true
	add := func(name string, values ...string) { d.fields, d.everything = d.fields+field(name, values...), false }
	if w := rapid.SampledFrom([]string{"", "", "a@x", "b@x/2", "c@x"}).Draw(t, "with"); w != "" {
		d.with = jid.MustParse(w)
		add("with", w)
		keep(func(r storage.Record) bool { return r.Peer == w || string(r.Data) == w })
	}
	if rapid.Bool().Draw(t, "start?") {
		start := at(rapid.IntRange(-10, now+10).Draw(t, "start"))
		add("start", start.Format(time.RFC3339Nano))
		keep(func(r storage.Record) bool { return !r.Time().Truncate(time.Millisecond).Before(start) })
	}
	if rapid.Bool().Draw(t, "end?") {
		end := at(rapid.IntRange(-10, now+10).Draw(t, "end"))
		add("end", end.Format(time.RFC3339Nano))
		keep(func(r storage.Record) bool { return !r.Time().Truncate(time.Millisecond).After(end) })
	}
	if after, ok := id("after-id"); ok {
		add("after-id", FormatID(after))
		keep(func(r storage.Record) bool { return r.ID > after })
	}
	if before, ok := id("before-id"); ok {
		add("before-id", FormatID(before))
		keep(func(r storage.Record) bool { return r.ID < before })
	}
	if one, ok := id("ids"); ok && rapid.Bool().Draw(t, "several") {
		ids := []string{FormatID(one), FormatID(all[0].ID), FormatID(one), FormatID(all[len(all)-1].ID)}
		add("ids", ids...)
		keep(func(r storage.Record) bool { return slices.Contains(ids, FormatID(r.ID)) })
	}
	d.backward = rapid.Bool().Draw(t, "backward")
	d.max = rapid.SampledFrom([]int{0, 1, 2, 7, 100, 1000}).Draw(t, "max")
	return d
}

// ids are those of records, to compare them.
func ids(records []storage.Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintln(&b, r.ID)
	}
	return b.String()
}

func TestPagesTogetherAreWhatThePlainestModelFinds(t *testing.T) {
	const limit = 120
	rapid.Check(t, func(rt *rapid.T) {
		d := drawQuery(rt)
		left, cursor := d.covered, ""
		for step := 0; ; step++ {
			name := "after"
			if d.backward {
				name = "before"
			}
			inner := "<max>" + strconv.Itoa(d.max) + "</max>"
			if cursor != "" || d.backward {
				inner += "<" + name + ">" + cursor + "</" + name + ">"
			}
			q, bad := parse(t, d.fields, set(inner))
			if bad != nil {
				rt.Fatal(bad)
			}
			p, err := q.Page(context.Background(), Archive{d.log, "o"}, with(d.with), limit)
			if err != nil {
				rt.Fatal(err)
			}
			n := min(d.max, limit, len(left))
			want := left[:n]
			if d.backward {
				want = left[len(left)-n:]
			}
			if got := ids(p.Records); got != ids(want) {
				rt.Fatalf("step %d, %s: got\n%swant\n%s", step, d.fields+inner, got, ids(want))
			}
			// Whether more records of a conversation are with that resource is not looked for.
			if complete := n == len(left); p.Complete != complete && !(complete && d.with.IsFull()) {
				rt.Fatalf("step %d, %s: complete is %v", step, d.fields+inner, p.Complete)
			}
			check(rt, d, p, step)
			if p.Complete || d.max == 0 {
				return
			}
			if d.backward {
				cursor, left = FormatID(want[0].ID), left[:len(left)-n]
			} else {
				cursor, left = FormatID(want[n-1].ID), left[n:]
			}
		}
	})
}

// check compares the <set/> with the page.
func check(t *rapid.T, d *draw, p *Page, step int) {
	el, err := xmpp.ParseElement(p.Fin())
	if err != nil {
		t.Fatal(err)
	}
	s := el.Child(xmpp.Name{Space: xmpp.NSRSM, Local: "set"})
	if s == nil || (el.Attr("complete") == "true") != p.Complete {
		t.Fatalf("fin: %s", el.Append(nil))
	}
	first, last, count := s.ChildLocal("first"), s.ChildLocal("last"), s.ChildLocal("count")
	if n := len(p.Records); n > 0 {
		if first == nil || last == nil || first.Text() != FormatID(p.Records[0].ID) ||
			last.Text() != FormatID(p.Records[n-1].ID) {
			t.Fatalf("fin of %d: %s", n, el.Append(nil))
		}
	} else if first != nil || last != nil {
		t.Fatalf("fin of none: %s", el.Append(nil))
	}
	if (count != nil) != d.everything || count != nil && count.Text() != strconv.Itoa(len(d.covered)) {
		t.Fatalf("count: %s", el.Append(nil))
	}
	if first != nil && first.HasAttr("index") {
		place := slices.IndexFunc(d.covered, func(r storage.Record) bool { return FormatID(r.ID) == first.Text() })
		if first.Attr("index") != strconv.Itoa(place) {
			t.Fatalf("index of %d: %s", place, el.Append(nil))
		}
	} else if step == 0 && first != nil && d.everything && !d.backward {
		t.Fatalf("no index: %s", el.Append(nil))
	}
}

func filled(n int, size int) *log {
	l := &log{}
	for i := range n {
		l.records = append(l.records, storage.Record{ID: storage.IDAt(at(1000 * i)), Peer: "a@x", Data: make([]byte, size)})
	}
	return l
}

func TestUnknownIDsAreNotFound(t *testing.T) {
	l := filled(3, 1)
	gone := FormatID(l.records[1].ID + 1)
	known := FormatID(l.records[1].ID)
	for _, test := range []struct{ fields, set string }{
		{field("after-id", gone), ""}, {field("before-id", gone), ""}, {field("ids", known, gone), ""},
		{"", set("<after>" + gone + "</after>")}, {"", set("<before>" + gone + "</before>")},
		{field("ids", "x"), ""}, {field("after-id", "+"+known), ""}, {field("after-id", "0"+known), ""},
		{"", set("<after>0</after>")}, {"", set("<after>-1</after>")}, {"", set("<before>99999999999999999999</before>")},
	} {
		q, bad := parse(t, test.fields, test.set)
		if bad != nil {
			t.Errorf("%v: %v", test, bad)
			continue
		}
		_, err := q.Page(t.Context(), Archive{l, "o"}, Match{}, 10)
		if !errors.As(err, &bad) || bad.Condition != xmpp.CondItemNotFound {
			t.Errorf("%v: %v", test, err)
		}
	}
}

func TestQueriesThatMakeNoSenseAreRefused(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     xmpp.Condition
	}{
		{"unknown field", `<x xmlns='jabber:x:data' type='submit'>` + formType + field("{urn:x}text", "x") + `</x>`, xmpp.CondFeatureNotImplemented},
		{"no FORM_TYPE", `<x xmlns='jabber:x:data' type='submit'>` + field("with", "a@b") + `</x>`, xmpp.CondBadRequest},
		{"another FORM_TYPE", `<x xmlns='jabber:x:data' type='submit'>` + field("FORM_TYPE", "urn:xmpp:mam:1") + `</x>`, xmpp.CondBadRequest},
		{"not submitted", `<x xmlns='jabber:x:data' type='form'>` + formType + `</x>`, xmpp.CondBadRequest},
		{"with nobody", filter(field("with", "@")), xmpp.CondJIDMalformed},
		{"start", filter(field("start", "yesterday")), xmpp.CondBadRequest},
		{"end", filter(field("end")), xmpp.CondBadRequest},
		{"groupchat", filter(field("include-groupchat", "maybe")), xmpp.CondBadRequest},
		{"twice", filter(field("with", "a@b") + field("with", "c@b")), xmpp.CondBadRequest},
		{"max", set("<max>many</max>"), xmpp.CondBadRequest},
		{"index", set("<max>1</max><index>0</index>"), xmpp.CondFeatureNotImplemented},
		{"too many ids", filter(field("ids", make([]string, maxIDs+1)...)), xmpp.CondPolicyViolation},
	} {
		el, err := xmpp.ParseElement([]byte(`<query xmlns='urn:xmpp:mam:2'>` + test.in + `</query>`))
		if err != nil {
			t.Fatal(err)
		}
		if _, bad := Parse(el); bad == nil || bad.Condition != test.want {
			t.Errorf("%s: %v, want %s", test.name, bad, test.want)
		}
	}
	el, _ := xmpp.ParseElement([]byte(`<query xmlns='urn:xmpp:mam:2' node='n'/>`))
	if _, bad := Parse(el); bad == nil || bad.Condition != xmpp.CondItemNotFound {
		t.Errorf("a node: %v", bad)
	}
}

const formType = `<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>`

func filter(fields string) string {
	return `<x xmlns='jabber:x:data' type='submit'>` + formType + fields + `</x>`
}

func TestWhatAClientNeedNotSayIsUnderstood(t *testing.T) {
	for _, in := range []string{
		``, `<x xmlns='jabber:x:data' type='submit'>` + formType + `</x>`,
		filter(field("include-groupchat", "0")), filter(field("include-groupchat", "true")), `<flip-page/>` + set(""), `<other xmlns='x'/>`,
	} {
		el, err := xmpp.ParseElement([]byte(`<query xmlns='urn:xmpp:mam:2' queryid='q'>` + in + `</query>`))
		if err != nil {
			t.Fatal(err)
		}
		q, bad := Parse(el)
		if bad != nil || q.ID != "q" || q.Flip != strings.Contains(in, "flip") {
			t.Errorf("%s: %+v, %v", in, q, bad)
		}
	}
}

func TestAPageOfLargeMessagesEndsEarly(t *testing.T) {
	for _, inner := range []string{"<max>100</max>", "<max>100</max><before/>"} {
		l := filled(200, 200<<10)
		q, _ := parse(t, "", set(inner))
		p, err := q.Page(t.Context(), Archive{l, "o"}, Match{}, 100)
		if err != nil || p.Complete || len(p.Records) == 0 || len(p.Records) > 20 || l.read > 20 {
			t.Errorf("%s: %d records of %d read, complete %v, %v", inner, len(p.Records), l.read, p.Complete, err)
		}
		var all []string
		for _, r := range l.records[:100] {
			all = append(all, FormatID(r.ID))
		}
		q, _ = parse(t, field("ids", all...), set(inner))
		if p, err = q.Page(t.Context(), Archive{l, "o"}, Match{}, 100); err != nil || p.Complete || len(p.Records) == 0 ||
			len(p.Records) > 20 {
			t.Errorf("ids, %s: %d records, complete %v, %v", inner, len(p.Records), p.Complete, err)
		}
	}
}

func TestWithoutStorageTheErrorIsItsOwn(t *testing.T) {
	l := filled(3, 1)
	l.fail = storage.ErrUnavailable
	id := FormatID(l.records[0].ID)
	for _, fields := range []string{"", field("after-id", id), field("ids", id), field("with", "a@x")} {
		q, bad := parse(t, fields, "")
		if bad != nil {
			t.Fatal(bad)
		}
		if _, err := q.Page(t.Context(), Archive{l, "o"}, Match{}, 10); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v", fields, err)
		}
	}
	if _, err := Metadata(t.Context(), Archive{l, "o"}); !errors.Is(err, storage.ErrUnavailable) {
		t.Error(err)
	}
}

func TestMetadataTellsTheEnds(t *testing.T) {
	l := filled(3, 1)
	got, err := Metadata(t.Context(), Archive{l, "o"})
	want := `<metadata xmlns='urn:xmpp:mam:2'><start id='` + FormatID(l.records[0].ID) + `' timestamp='2026-11-22T10:00:00.000Z'/>` +
		`<end id='` + FormatID(l.records[2].ID) + `' timestamp='2026-11-22T10:00:00.002Z'/></metadata>`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := Metadata(t.Context(), Archive{&log{}, "o"}); err != nil || string(got) != `<metadata xmlns='urn:xmpp:mam:2'/>` {
		t.Errorf("empty: %s, %v", got, err)
	}
}
