package main

import (
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/peers"
)

var items = []string{
	"<?xml version='1.0'?><stream:stream to='a' xmlns='jabber:server'>",
	"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls><sm xmlns='urn:xmpp:sm:3'/></stream:features>",
	"<a xmlns='urn:xmpp:sm:3' h='1'/>",
	"<message to='a'><body>one</body></message>",
	"<message to='a'/>",
	"<iq id='1'><query><item/><item>text</item></query></iq>",
	"<db:result from='a' to='b' type='valid'></db:result>",
	"<message to='a'><body>&lt;two&gt;</body><x><y/></x></message>",
	"</stream:stream>",
}

func TestAStreamIsCutWhereItsElementsEnd(t *testing.T) {
	text := strings.Join(items, "\n ")
	for name, r := range map[string]io.Reader{"at once": strings.NewReader(text),
		"by bytes": iotest.OneByteReader(strings.NewReader(text))} {
		f := newFramer(r)
		for _, want := range items {
			got, err := f.next()
			if err != nil {
				t.Fatalf("%s: %v before %s", name, err, want)
			}
			if string(got) != want {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
		}
		if got, err := f.next(); err != io.EOF {
			t.Errorf("%s: at the end %s, %v", name, got, err)
		}
	}
}

func TestALongElementIsCutToo(t *testing.T) {
	want := "<message><body>" + strings.Repeat("x", 200<<10) + "</body></message>"
	f := newFramer(strings.NewReader("<r xmlns='urn:xmpp:sm:3'/>" + want))
	for _, want := range []string{"<r xmlns='urn:xmpp:sm:3'/>", want} {
		got, err := f.next()
		if err != nil || string(got) != want {
			t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
		}
	}
}

// deliver is what arrives of ten messages of a lane.
func deliver(numbers ...int) *traffic {
	t := newTraffic(2, 10, 100)
	var messages []string
	rest := string(t.write(nil, 1, 10))
	for rest != "" {
		m, after, _ := strings.Cut(rest, "</message>")
		messages = append(messages, m+"</message>")
		rest = after
	}
	for _, n := range numbers {
		t.got([]byte(messages[n]))
	}
	return t
}

func TestAllMessagesInOrderAreRight(t *testing.T) {
	f := deliver(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	f.settle()
	if f.failed() {
		t.Error(f.errs)
	}
	if f.arrived() != 10 || f.free(f.lanes[1]) != 10 {
		t.Errorf("%d have arrived, %d may be sent", f.arrived(), f.free(f.lanes[1]))
	}
}

func TestWrongOrdersAreSeen(t *testing.T) {
	for name, numbers := range map[string][]int{
		"swapped": {0, 2, 1, 3, 4, 5, 6, 7, 8, 9},
		"missing": {0, 1, 2, 3, 4, 6, 7, 8, 9, 9},
		"twice":   {0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9},
	} {
		f := deliver(numbers...)
		f.settle()
		if !f.failed() {
			t.Errorf("%s: nothing is wrong", name)
		}
	}
}

func TestAMessageThatComesBackEndsTheRun(t *testing.T) {
	f := newTraffic(1, 1, 100)
	f.got([]byte("<message type='error' from='a' to='b'><body>lane 0.0 x</body></message>"))
	if !f.failed() || f.arrived() != 0 {
		t.Errorf("failed: %v, arrived: %d", f.failed(), f.arrived())
	}
}

func TestWhatIsNotAcknowledgedIsOnItsWay(t *testing.T) {
	f := deliver(0, 1, 2)
	l := f.lanes[1]
	l.acked.Store(1)
	if n := f.free(l); n != 1 {
		t.Errorf("%d may be sent, want 1", n)
	}
	if n := f.unacked(); n != 9 {
		t.Errorf("%d are not acknowledged, want 9", n)
	}
}

func TestTheSourceReachesTheSink(t *testing.T) {
	t.Parallel()
	n := peers.NewNetwork(t)
	f, err := startFar(n, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	sink := &server{domain: farDomain, Site: n.Site(farDomain)}
	for name, direct := range map[string]bool{"STARTTLS": false, "direct TLS": true} {
		for _, sm := range []bool{false, true} {
			tr := newTraffic(20, 10, 100)
			f.begin(tr)
			s, err := f.dial(sink, direct, sm)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			tr.source = s
			for i, l := range tr.lanes {
				l.from, l.to, l.wake = user(i)+"@"+farDomain, user(i)+"@"+farDomain, s.wake
			}
			var reading, writing sync.WaitGroup
			reading.Go(func() { s.read(tr) })
			writing.Go(func() { s.write(tr) })
			if !tr.until(harness.Timeout, func() bool { return tr.arrived() > 10000 }) {
				t.Errorf("%s: %d messages have arrived", name, tr.arrived())
			}
			close(tr.stop)
			writing.Wait()
			tr.settle()
			s.Close()
			reading.Wait()
			if tr.failed() {
				t.Errorf("%s: %v", name, tr.errs)
			}
		}
	}
}

func TestTheTableHasMedians(t *testing.T) {
	var results []result
	for _, n := range []int64{1000, 9000, 2000} {
		results = append(results, result{From: "prosody", OK: true, Messages: n, Seconds: 2, CPU: map[string]float64{"prosody": 1}})
	}
	results = append(results,
		result{From: "prosody", Messages: 5000, Errors: []string{"lost"}},
		result{To: "jackal", SM: true, NotOffered: true},
		result{From: "prosody", To: "jackal", OK: true, Messages: 4000000, Seconds: 4, CPU: map[string]float64{"prosody": 2, "jackal": 4}})
	var b strings.Builder
	report(&b, results)
	for _, want := range []string{
		"| clients to the sink | 2,000; 1,000 |  |\n",
		"| the source to clients, stream management |  | not offered |\n",
		"| prosody to jackal | 2,000,000; 1,000,000 | 1,000,000; 1,000,000 |\n",
		"6 runs, 1 of them went wrong",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
