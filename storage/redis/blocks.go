package redis

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"jackdaw/storage"
)

// Records of a log that are appended in one step lie in a block: one entry in each of i, d and p instead of one for
// each record, which is most of what a record costs Redis. A record by itself lies as it did before there were blocks,
// and so do those of logs from which single records are removed.
//
// A block has the name of the lowest id that it was made with, which stays its score in i and its number in p, where it
// stands once for each peer. Its field in d is "B" and the name. Its member of i is "name-last-records-bytes" and the
// peers, each behind a NUL; that of a record by itself is "id:peer". Nothing lies between the name and the last id of a
// block but its own records.

const (
	// mostInBlock, mostPeers and mostBlock, of bytes, bound a block: who wants one of its records reads all of it.
	mostInBlock, mostPeers, mostBlock = 64, 16, 16 << 10

	blockFormat  = 1
	fieldOfBlock = "B"
)

var errBlock = errors.New("read a block of redis: unknown format")

// A member is what i says of a record or a block.
type member struct {
	text    string
	block   bool
	name    uint64 // or the id of the record
	last    uint64
	records int
	bytes   int64
	peers   []string // without empty ones
	tail    bool     // it is a record in o, and has no member
}

func (m *member) field() string {
	if m.block {
		return fieldOfBlock + strconv.FormatUint(m.name, 10)
	}
	return strconv.FormatUint(m.name, 10)
}

// readMember reads a member of i. The bytes of a record by itself are not known.
func readMember(v any) (member, error) {
	s, _ := v.(string)
	m := member{text: s, records: 1}
	end := strings.IndexAny(s, ":-")
	if end < 0 {
		return m, fmt.Errorf("read a record of redis: %q", s)
	}
	var err error
	if m.name, err = strconv.ParseUint(s[:end], 10, 64); err != nil {
		return m, fmt.Errorf("read a record of redis: %w", err)
	}
	if m.last = m.name; s[end] == ':' {
		if s = s[end+1:]; s != "" {
			m.peers = []string{s}
		}
		return m, nil
	}
	m.block = true
	numbers, peers, named := strings.Cut(s[end+1:], "\x00")
	if named {
		m.peers = strings.Split(peers, "\x00")
	}
	if _, err = fmt.Sscanf(numbers, "%d-%d-%d", &m.last, &m.records, &m.bytes); err != nil {
		return m, fmt.Errorf("read a block of redis: %w", err)
	}
	return m, nil
}

// memberOf is the member of i of a block of records.
func memberOf(name, last uint64, records []storage.Record) (text string, peers []string) {
	bytes := 0
	for _, r := range records {
		bytes += len(r.Data)
		if r.Peer != "" && !slices.Contains(peers, r.Peer) {
			peers = append(peers, r.Peer)
		}
	}
	text = fmt.Sprintf("%d-%d-%d-%d", name, last, len(records), bytes)
	for _, peer := range peers {
		text += "\x00" + peer
	}
	return text, peers
}

// encodeBlock writes records: the format, then of each the id above the name, one more than the length of the peer, or
// 0 for that of the record before, the peer, the length of the data, and the data.
func encodeBlock(name uint64, records []storage.Record) []byte {
	n := 1
	for _, r := range records {
		n += len(r.Peer) + len(r.Data) + 16
	}
	b := append(make([]byte, 0, n), blockFormat)
	peer := ""
	for i, r := range records {
		b = binary.AppendUvarint(b, r.ID-name)
		if i > 0 && r.Peer == peer {
			b = append(b, 0)
		} else {
			b = append(binary.AppendUvarint(b, uint64(len(r.Peer))+1), r.Peer...)
		}
		peer = r.Peer
		b = append(binary.AppendUvarint(b, uint64(len(r.Data))), r.Data...)
	}
	return b
}

// decodeBlock reads what encodeBlock wrote.
func decodeBlock(name uint64, v any) (records []storage.Record, err error) {
	s, _ := v.(string)
	if s == "" || s[0] != blockFormat {
		return nil, errBlock
	}
	b := []byte(s[1:])
	number := func() (n uint64) {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			err, b = errBlock, nil
			return 0
		}
		b = b[size:]
		return n
	}
	take := func(n uint64) []byte {
		if n > uint64(len(b)) {
			err, b = errBlock, nil
			return nil
		}
		taken := b[:n:n]
		b = b[n:]
		return taken
	}
	peer := ""
	for len(b) > 0 {
		r := storage.Record{ID: name + number()}
		if n := number(); n > 0 {
			peer = string(take(n - 1))
		}
		r.Peer = peer
		r.Data = take(number())
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, err
}

// recordsOf are the records of a member, with what d has for it; none if that is not there.
func recordsOf(m member, v any) ([]storage.Record, error) {
	if v == nil {
		return nil, nil
	}
	if m.block {
		return decodeBlock(m.name, v)
	}
	s, _ := v.(string)
	r := storage.Record{ID: m.name, Data: []byte(s)}
	if len(m.peers) > 0 {
		r.Peer = m.peers[0]
	}
	return []storage.Record{r}, nil
}

// A rewrite is what becomes of a block from which records are removed, or which gets one changed.
type rewrite struct {
	before member
	text   string   // the new member; "": the block is gone
	data   []byte   // of the new block
	peers  []string // who has no record there any more
}

func (w *rewrite) size() int { return len(w.before.text) + len(w.text) + len(w.data) }

// rewritten makes a rewrite of what is left of a block.
func rewritten(m member, left []storage.Record) rewrite {
	if len(left) == 0 {
		return rewrite{before: m, peers: m.peers}
	}
	text, peers := memberOf(m.name, m.last, left)
	w := rewrite{before: m, text: text, data: encodeBlock(m.name, left)}
	for _, peer := range m.peers {
		if !slices.Contains(peers, peer) {
			w.peers = append(w.peers, peer)
		}
	}
	return w
}

// runs divides records that are appended into those that lie together. f gets one or several, none of which is gone.
func runs(list []fresh, f func([]storage.Record)) {
	var run []storage.Record
	var peers []string
	bytes := 0
	end := func() {
		if len(run) > 0 {
			f(run)
		}
		run, peers, bytes = run[:0], peers[:0], 0
	}
	for _, r := range list {
		if r.gone {
			continue
		}
		foreign := r.Peer != "" && !slices.Contains(peers, r.Peer)
		if r.alone || len(run) == mostInBlock || foreign && len(peers) == mostPeers || bytes+len(r.Data) > mostBlock {
			end()
			foreign = r.Peer != ""
		}
		run = append(run, r.Record)
		if bytes += len(r.Data); foreign {
			peers = append(peers, r.Peer)
		}
		if r.alone {
			end()
		}
	}
	end()
}
