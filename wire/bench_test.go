package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"jackdaw/xmpp/stream"
)

// BenchmarkNext is a chat message among others that were read with it.
func BenchmarkNext(b *testing.B) {
	s, _, far := pair(b)
	const message = "<message type='chat' id='m12345' to='juliet@example.org/bench'><body>Lorem ipsum dolor sit amet</body></message>"
	say(b, far, header+strings.Repeat(message, 100))
	s.want(b, stream.ItemHeader)
	s.want(b, stream.ItemStanza)
	first := s.pos
	for range 99 {
		s.want(b, stream.ItemStanza)
	}
	b.ReportAllocs()
	for b.Loop() {
		if s.pos == s.end {
			s.pos = first
		}
		if item, err := s.Next(); item != stream.ItemStanza || err != nil {
			b.Fatal(item, err)
		}
	}
}

// BenchmarkSend is a piece of what waits for a client, given to a connection with TLS until the kernel has it.
func BenchmarkSend(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 10, 64 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%d KiB", size>>10), func(b *testing.B) {
			s, _, far := pair(b)
			client := tls.Client(far, &tls.Config{InsecureSkipVerify: true})
			shaken := make(chan error, 1)
			go func() { shaken <- client.Handshake() }()
			config := &tls.Config{Certificates: []tls.Certificate{certificate(b)}, DynamicRecordSizingDisabled: true}
			if err := s.Handshake(context.Background(), tls.Server(s.Transport, config)); err != nil {
				b.Fatal(err)
			}
			if err := <-shaken; err != nil {
				b.Fatal(err)
			}
			read := make(chan struct{})
			go func() {
				_, _ = io.Copy(io.Discard, far) // until it is closed; taking TLS off is the client's work
				close(read)
			}()
			s.Transport.Queue()
			piece := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				err := s.Send(piece)
				for _, left := s.Progress(); left && err == nil; _, left = s.Progress() {
					err = s.Transport.Drain(10 * time.Second)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			_ = s.Transport.Close()
			<-read
		})
	}
}
