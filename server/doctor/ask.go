package doctor

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// The types of records that the resolver of Go does not ask for.
const (
	typeTLSA = dnsmessage.Type(52)  // RFC 6698 §7.1
	typeCAA  = dnsmessage.Type(257) // RFC 8659 §4.1
)

// An Answer is what the DNS says of a name and a type.
type Answer struct {
	Records [][]byte // the data of each, as it is on the wire; none: there is no such record
	// Signed says that the name server which was asked has checked the signatures of the zone (RFC 4035 §3.2.3). It is
	// believed, since it is the one that this machine believes in all else.
	Signed bool
}

// An Asker asks the DNS for the records of a type. The error says that it has not answered.
type Asker func(ctx context.Context, name string, kind uint16) (Answer, error)

// maxServers is how many name servers are asked in turn.
const maxServers = 3

// askSystem asks the name servers of this machine.
func askSystem(ctx context.Context, name string, kind uint16) (a Answer, err error) {
	query, err := question(name, dnsmessage.Type(kind))
	if err != nil {
		return a, err
	}
	for _, server := range nameServers("/etc/resolv.conf") {
		if a, err = askAt(ctx, server, query); err == nil || ctx.Err() != nil {
			return a, err
		}
	}
	return a, err
}

// nameServers are those that a file in the form of resolv.conf names.
func nameServers(file string) (list []string) {
	f, err := os.Open(file)
	if err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(io.LimitReader(f, maxAnswer)); lines.Scan() && len(list) < maxServers; {
			if w := strings.Fields(lines.Text()); len(w) > 1 && w[0] == "nameserver" {
				list = append(list, net.JoinHostPort(w[1], "53"))
			}
		}
	}
	if len(list) == 0 {
		list = []string{"127.0.0.1:53"} // resolv.conf(5)
	}
	return list
}

// question asks for a record, and for what is known of its signatures (RFC 6840 §5.7).
func question(name string, kind dnsmessage.Type) ([]byte, error) {
	n, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", name, err)
	}
	var edns dnsmessage.ResourceHeader
	if err := edns.SetEDNS0(maxPacket, dnsmessage.RCodeSuccess, false); err != nil {
		return nil, err
	}
	q := dnsmessage.Message{
		Header:      dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true, AuthenticData: true},
		Questions:   []dnsmessage.Question{{Name: n, Type: kind, Class: dnsmessage.ClassINET}},
		Additionals: []dnsmessage.Resource{{Header: edns, Body: &dnsmessage.OPTResource{}}},
	}
	return q.Pack()
}

const (
	// maxPacket is how many bytes an answer over UDP may have; a longer one comes over TCP.
	maxPacket = 1232
	// turn is how long one name server has.
	turn = 3 * time.Second
)

// askAt asks one name server.
func askAt(ctx context.Context, server string, query []byte) (Answer, error) {
	for _, network := range []string{"udp", "tcp"} {
		reply, err := exchange(ctx, network, server, query)
		if err != nil {
			return Answer{}, fmt.Errorf("ask %s: %w", server, err)
		}
		a, cut, err := readAnswer(reply, query)
		if err != nil || !cut {
			return a, err
		}
	}
	return Answer{}, errors.New("the answer is cut")
}

// exchange sends a question and reads what comes.
func exchange(ctx context.Context, network, server string, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, turn)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })() // that it ended shows in the error
	if network == "udp" {
		if _, err := c.Write(query); err != nil {
			return nil, err
		}
		buf := make([]byte, maxPacket)
		n, err := c.Read(buf)
		return buf[:n], err
	}
	// RFC 1035 §4.2.2: the length comes first. It bounds what is read.
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err = io.ReadFull(c, buf)
	return buf, err
}

// readAnswer reads the answer to a question; cut says that it is not whole.
func readAnswer(reply, query []byte) (a Answer, cut bool, err error) {
	var p dnsmessage.Parser
	asked, err := p.Start(query)
	if err != nil {
		return a, false, err
	}
	want, err := p.Question()
	if err != nil {
		return a, false, err
	}
	h, err := p.Start(reply)
	if err != nil {
		return a, false, fmt.Errorf("no answer of the DNS: %w", err)
	}
	got, err := p.AllQuestions()
	switch {
	case err != nil || !h.Response || h.ID != asked.ID || len(got) != 1 || got[0].Type != want.Type ||
		!strings.EqualFold(got[0].Name.String(), want.Name.String()):
		return a, false, cmp.Or(err, errors.New("the answer is to another question"))
	case h.Truncated:
		return a, true, nil
	case h.RCode != dnsmessage.RCodeSuccess && h.RCode != dnsmessage.RCodeNameError:
		return a, false, fmt.Errorf("the DNS does not answer: %s", strings.TrimPrefix(h.RCode.String(), "RCode"))
	}
	a.Signed = h.AuthenticData
	for {
		head, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return a, false, nil
		}
		if err != nil {
			return Answer{}, false, err
		}
		if head.Type != want.Type { // the aliases that have led there
			if err := p.SkipAnswer(); err != nil {
				return Answer{}, false, err
			}
			continue
		}
		r, err := p.UnknownResource()
		if err != nil {
			return Answer{}, false, err
		}
		a.Records = append(a.Records, r.Data)
	}
}
