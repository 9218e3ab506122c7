package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"jackdaw/testsuite/load/stage"
)

func TestCommandsInScriptsCountAndOurQuestionsDoNot(t *testing.T) {
	info := "# Commandstats\r\ncmdstat_info:calls=100,usec=1,usec_per_call=1.00,rejected_calls=0,failed_calls=0\r\n" +
		"cmdstat_evalsha:calls=3,usec=1\r\ncmdstat_zadd:calls=7,usec=1\r\ncmdstat_client|setinfo:calls=2,usec=1\r\n"
	if n := commands(info); n != 12 {
		t.Errorf("%v commands, want 12", n)
	}
}

func TestPairsAreSoughtAtDifferentHomes(t *testing.T) {
	// Of the pairs that begin with odd numbers 20 are apart from 1,001 on; no others are.
	home := func(n int) int {
		if n >= 1001 && n < 1041 {
			return [...]int{0, 1, 1, 0}[(n-1001)%4]
		}
		return 0
	}
	if first, best := row(20, false, home); first != 1001 || best != 20 {
		t.Errorf("%d of 20 pairs are apart from %d on", best, first)
	}
	if _, best := row(22, false, home); best != 20 {
		t.Errorf("%d of 22 pairs are apart, want 20", best)
	}
	if first, best := row(20, true, home); first != 0 || best != 20 {
		t.Errorf("%d of 20 pairs are together from %d on", best, first)
	}
}

func TestAThirdOfTheClientsIsAtHomeWhereTheyAreSpread(t *testing.T) {
	// In turns from the first node on five are at home, from the second on none, from the third on the last.
	u := &users{homes: []int{0, 1, 2, 0, 1, 1}}
	to, here := u.spread(), 0
	for stream, home := range u.homes {
		if to(stream) == home {
			here++
		}
	}
	if here != 1 {
		t.Errorf("%d of 6 are at home, want 1", here)
	}
}

func TestEachStreamIsToldItsNode(t *testing.T) {
	n := &names{}
	all := n.begin(3, func(stream int) net.IP { return ip(stream % 2) })
	ask := func(name string, kind dnsmessage.Type) dnsmessage.Message {
		t.Helper()
		q := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{
			{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
		b, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if b, err = n.answer(b); err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(b); err != nil || m.ID != 7 || !m.Response {
			t.Fatalf("%v, %v", m, err)
		}
		return m
	}
	for stream, want := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.1"} {
		select {
		case <-all:
			t.Fatalf("all are said to have asked before stream %d", stream)
		default:
		}
		if m := ask(host, dnsmessage.TypeAAAA); len(m.Answers) != 0 || m.RCode != dnsmessage.RCodeSuccess {
			t.Errorf("answer for IPv6: %v", m)
		}
		m := ask(host, dnsmessage.TypeA)
		if got := m.Answers[0].Body.(*dnsmessage.AResource).A; net.IP(got[:]).String() != want {
			t.Errorf("stream %d is told %v, want %s", stream, got, want)
		}
	}
	<-all
	if m := ask("example.org.", dnsmessage.TypeA); m.RCode != dnsmessage.RCodeNameError || n.count() != 3 {
		t.Errorf("%v, %d streams", m, n.count())
	}
}

func TestTheTablesJudgeMedians(t *testing.T) {
	b := &bench{Stage: &stage.Stage{}, reps: 3, pairs: 50, rate: 2000, seconds: 3 * time.Second, lease: 10 * time.Second,
		values: map[string][]map[string]float64{}}
	enter := func(line, place, key string, values ...float64) {
		for _, v := range values {
			b.keep(line, place, map[string]float64{key: v})
		}
	}
	enter(window10, embedded, "total_us", 9, 10, 50)
	enter(window10, oneNode, "total_us", 20, 1, 21)
	enter(window10, atHome, "total_us", 24)
	enter(window10, anywhere, "total_us", 34)
	enter(offered, oneNode, "commands", 9)
	enter(offered, embedded, "ack_p50_ms", 1)
	enter(offered, oneNode, "ack_p50_ms", 2.5)
	enter(takeOver, atHome, "last_s", 13, 10, 12.5)
	b.failed = []string{"window 1, one node"}
	var text strings.Builder
	b.print(&text, 7*time.Minute)
	for _, want := range []string{
		"| window 10: messages per CPU s of servers and Redis | 100,000 |  | 50,000 |  | 41,667 |  | 29,412 |",
		"work per CPU s beside embedded | 0.50 | 0.4 | 0.6 | bar |",
		"CPU a message beside one node's | 1.20 | 1.5 | 1.3 | aim |",
		"| the same, three nodes, clients anywhere | 1.70 |  |  |  |",
		"| commands of Redis a message, one node, at the rate | 9.0 | 8 | 5 | **missed** |",
		"| commands of Redis a message, one node, window 10 | not measured | 8 | 5 |  |",
		"p50 acknowledged, above embedded's | +1.50 ms | 2 | 1 | bar |",
		"the last of some | 12.5 s | 12 |  | **missed** |",
		"Spoiled: window 1, one node",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}
