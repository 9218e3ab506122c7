package doctor

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// reply is an answer to a question, with records of CAA.
func reply(t testing.TB, query []byte, change func(*dnsmessage.Message), records ...string) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		t.Fatal(err)
	}
	m.Response, m.Additionals = true, nil
	name := m.Questions[0].Name
	m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: name, Type: dnsmessage.TypeCNAME,
		Class: dnsmessage.ClassINET}, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("to.example.")}}}
	for _, r := range records {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Type: typeCAA,
			Class: dnsmessage.ClassINET}, Body: &dnsmessage.UnknownResource{Type: typeCAA, Data: []byte(r)}})
	}
	if change != nil {
		change(&m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOnlyAnAnswerToTheQuestionIsRead(t *testing.T) {
	query, err := question("Example.org", typeCAA)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		change  func(*dnsmessage.Message)
		records []string
		want    string // the records, joined; or the error
	}{
		{"two records", nil, []string{"one", "two"}, "one two"},
		{"none", nil, nil, ""},
		{"a name in other letters", func(m *dnsmessage.Message) {
			m.Questions[0].Name = dnsmessage.MustNewName("exAMPLE.org.")
		}, []string{"one"}, "one"},
		{"no such name", func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeNameError }, nil, ""},
		{"a failure", func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure }, nil, "ServerFailure"},
		{"another id", func(m *dnsmessage.Message) { m.ID++ }, []string{"one"}, "another question"},
		{"another name", func(m *dnsmessage.Message) {
			m.Questions[0].Name = dnsmessage.MustNewName("example.net.")
		}, nil, "another question"},
		{"another type", func(m *dnsmessage.Message) { m.Questions[0].Type = typeTLSA }, nil, "another question"},
		{"a question", func(m *dnsmessage.Message) { m.Response = false }, nil, "another question"},
	} {
		a, cut, err := readAnswer(reply(t, query, c.change, c.records...), query)
		got := string(bytes.Join(a.Records, []byte(" ")))
		if err != nil {
			got = err.Error()
		}
		if cut || !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: %q, cut %v", c.name, got, cut)
		}
	}
	if _, _, err := readAnswer([]byte("no answer"), query); err == nil {
		t.Error("nonsense is read")
	}
}

// TestALongAnswerComesOverTCP asks a name server on both.
func TestALongAnswerComesOverTCP(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	long := strings.Repeat("x", 4000)
	go func() {
		buf := make([]byte, 4096)
		n, from, err := udp.ReadFrom(buf)
		if err == nil {
			_, _ = udp.WriteTo(reply(t, buf[:n], func(m *dnsmessage.Message) { m.Truncated = true }), from)
		}
	}()
	go func() {
		c, err := tcp.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		var size [2]byte
		_, _ = io.ReadFull(c, size[:])
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		_, _ = io.ReadFull(c, query)
		b := reply(t, query, func(m *dnsmessage.Message) { m.AuthenticData = true }, long)
		_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	}()
	query, err := question("example.org", typeCAA)
	if err != nil {
		t.Fatal(err)
	}
	a, err := askAt(t.Context(), tcp.Addr().String(), query)
	if err != nil || !a.Signed || len(a.Records) != 1 || string(a.Records[0]) != long {
		t.Errorf("%v, signed %v, %d records", err, a.Signed, len(a.Records))
	}
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := askAt(ctx, silent.LocalAddr().String(), query); err == nil {
		t.Error("an answer of nobody")
	}
}

func TestNameServersAreThoseOfTheSystem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	text := "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\nnameserver\nnameserver 2001:db8::1\n" +
		"nameserver 192.0.2.3\nnameserver 192.0.2.4\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := nameServers(file); !slices.Equal(got, []string{"192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"}) {
		t.Errorf("%q", got)
	}
	if got := nameServers(file + ".none"); !slices.Equal(got, []string{"127.0.0.1:53"}) {
		t.Errorf("without a file: %q", got)
	}
}

func FuzzAnswersOfTheDNS(f *testing.F) {
	query, err := question("example.org", typeCAA)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reply(f, query, nil, "\x00\x05issueca.example"))
	f.Add(reply(f, query, nil, "\x80\x03xyz"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, _, err := readAnswer(b, query)
		if err != nil && len(a.Records) > 0 {
			t.Error("records with an error")
		}
		for _, r := range append(a.Records, b) {
			if c, err := readCAA(r); err == nil && len(c.tag)+len(c.value) > len(r) {
				t.Errorf("%+v of %q", c, r)
			}
			if one, err := readTLSA(r); err == nil && one.holds([]*x509.Certificate{{}}) && len(one.data) > 0 {
				t.Errorf("%q is of a certificate without anything", r)
			}
		}
	})
}
