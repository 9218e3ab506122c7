package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"jackdaw/xmpp/sasl"
)

// handover has something in every field.
func handover() *Handover {
	return &Handover{Framing: "bytes", Opening: []byte("<stream:stream>"), Early: []byte("<a/>"), Element: []byte("<auth/>"),
		Response: "AHJvbWVv", Request: []byte("<iq/>"), Before: []byte("<iq id='1'/>"),
		From: netip.MustParseAddrPort("[2001:db8::1]:5222"), Secure: true, TLSVersion: 0x304,
		Bindings: []sasl.Binding{{Type: sasl.TLSExporter, Data: []byte{0, 1}},
			{Type: sasl.TLSServerEndPoint, Data: []byte{2}}},
		Hops: 2, Offered: []sasl.Mechanism{sasl.ScramSHA1, sasl.Plain}, Offered2: []sasl.Mechanism{sasl.ScramSHA512},
		Tokens: []sasl.Mechanism{sasl.HTSHA256None}, Version: "v", Failures: 3, Declines: 4}
}

// fields is a record without its head.
func fields(t testing.TB, h *Handover) []byte {
	t.Helper()
	b, err := h.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b[headSize:]
}

func TestAHandoverIsReadAsItWasWritten(t *testing.T) {
	for name, h := range map[string]*Handover{"full": handover(), "least": {Opening: []byte("<x>")}} {
		got, err := parseHandover(fields(t, h))
		if err != nil {
			t.Fatal(name, err)
		}
		if d := cmp.Diff(h, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	// What a newer version knows beyond that is passed over.
	if got, err := parseHandover(append(fields(t, handover()), 0xEE, 3, 1, 2, 3)); err != nil || got.Declines != 4 {
		t.Errorf("%+v, %v", got, err)
	}
	large := &Handover{Opening: []byte("<x>"), Early: make([]byte, maxHandover)}
	if _, err := large.append(nil); !errors.Is(err, ErrHandover) {
		t.Errorf("too much: %v", err)
	}
}

func TestAHandoverThatIsNoneIsRefused(t *testing.T) {
	opening := "020378797a" // field, length, value
	for name, in := range map[string]string{
		"nothing":              "",
		"no opening":           "010378797a",
		"cut":                  "0203",
		"a length too long":    opening + "03ff",
		"a length without end": opening + "03ffffffffffffffffffff",
		"an empty field":       opening + "1000",
		"twice":                opening + opening,
		"an address":           opening + "080161",
		"a number too large":   opening + "0d03ffff7f",
		"a number and more":    opening + "0d020101",
		"data of no binding":   opening + "0c0161",
		"a binding without":    opening + "0b0161",
		"data twice":           opening + "0b01610c01610c0161",
		"too many mechanisms":  opening + strings.Repeat("0e0161", maxListed+1),
	} {
		b, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(name, err)
		}
		if h, err := parseHandover(b); !errors.Is(err, ErrHandover) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	for name, in := range map[string][]byte{"version": {2, 0, 0, 0},
		"size": {handoverVersion, 0xFF, 0xFF, 0xFF}, "none": {handoverVersion, 0, 0, 0}} {
		if h, err := ReadHandover(pipeOf(t, in), time.Minute); !errors.Is(err, ErrHandover) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}

// pipeOf is a connection that brings these bytes and then nothing.
func pipeOf(t testing.TB, b []byte) net.Conn {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	go func() { _, _ = theirs.Write(b) }()
	return ours
}

// FuzzHandover reads anything as a record. What it takes is written and read as the same.
func FuzzHandover(f *testing.F) {
	f.Add(fields(f, handover()))
	f.Add(fields(f, &Handover{Opening: []byte("<x>")}))
	f.Add([]byte{2, 1, 'x', 0xEE, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHandover(b)
		if err != nil {
			return
		}
		again, err := parseHandover(fields(t, h))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(h, again, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
			t.Error(d)
		}
	})
}

// FuzzCarried lets another node say anything. The home reads no more than it has room for, and comes to an end.
func FuzzCarried(f *testing.F) {
	f.Add([]byte{kindData, 0, 0, 2, 'a', 'b', kindTaken, 0, 0, 3, kindEnd, 0, 0, 0})
	f.Add([]byte{kindLeave, 0, 0, 0, kindData, 0xFF, 0xFF, 0xFF})
	f.Add([]byte{kindTaken, 0, 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		c := newCarried(ours, netip.AddrPort{})
		go c.pump()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		go func() {
			_, _ = c.Write([]byte("abc")) // whatever becomes of it
		}()
		_, _ = theirs.Write(b) // it may be hung up on
		_ = theirs.Close()
		n, err := io.Copy(io.Discard, c)
		if int(n) > min(len(b), window) || err != nil && !errors.Is(err, ErrLeaves) && !errors.Is(err, errTrunk) &&
			!errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%d bytes, %v", n, err)
		}
		_ = c.Close() // it may be closed already
	})
}

// wayside is a home and what stands for the other node.
func wayside() (c *Carried, other net.Conn) {
	ours, other := net.Pipe()
	c = newCarried(ours, netip.MustParseAddrPort("192.0.2.1:1"))
	go c.pump()
	return c, other
}

func TestWhatIsWrittenWaitsForTheWordOfTheOtherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, other := wayside()
		done := make(chan error, 1)
		go func() {
			_, err := c.Write([]byte("hello"))
			done <- err
		}()
		got := make([]byte, headSize+5)
		if _, err := io.ReadFull(other, got); err != nil || !bytes.Equal(got, append([]byte{kindPrompt, 0, 0, 5}, "hello"...)) {
			t.Fatalf("%q, %v", got, err)
		}
		synctest.Wait()
		if c.Prompt() || len(done) > 0 {
			t.Error("it counts as written before it is taken")
		}
		for range 5 { // byte by byte
			if _, err := other.Write([]byte{kindTaken, 0, 0, 1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-done; err != nil || !c.Prompt() {
			t.Errorf("%v", err)
		}
		// With stream management the link is enough.
		c.Managed()
		go func() {
			_, err := c.Write([]byte("hello"))
			done <- err
		}()
		if _, err := io.ReadFull(other, got); err != nil || got[0] != kindData {
			t.Fatalf("%q, %v", got, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A write that takes too long ends with what the other node says last, so that it is known what has arrived.
func TestAWriteThatTakesTooLongIsCountedAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, other := wayside()
		if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		go func() {
			got := make([]byte, 2*headSize+5)
			if _, err := io.ReadFull(other, got); err != nil || got[headSize+5] != kindCut {
				t.Errorf("%q, %v", got, err)
			}
			_, _ = other.Write([]byte{kindTaken, 0, 0, 3})
			_ = other.Close()
		}()
		if n, err := c.Write([]byte("hello")); n != 3 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d, %v", n, err)
		}
		_ = c.Close() // it is closed
		<-time.After(2 * FarewellTime)
	})
}

func TestNoMoreThanAWindowIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, other := wayside()
		c.Managed()
		go func() { _, _ = c.Write(make([]byte, 3*window)) }()
		came := 0
		go func() {
			head := make([]byte, headSize)
			for {
				if _, err := io.ReadFull(other, head); err != nil {
					return
				}
				n, _ := io.CopyN(io.Discard, other, int64(head[2])<<8|int64(head[3]))
				came += int(n)
			}
		}()
		synctest.Wait()
		if came != window {
			t.Errorf("%d bytes came, want %d", came, window)
		}
		if _, err := other.Write([]byte{kindTaken, 0, 0, 7}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if came != window+7 {
			t.Errorf("%d bytes came, want 7 more", came)
		}
		// The other way, more than that is a fault of the other node.
		for range window/4 + 1 {
			if _, err := other.Write([]byte{kindData, 0, 0, 4, 'a', 'b', 'c', 'd'}); err != nil {
				break
			}
		}
		synctest.Wait()
		if n, err := io.Copy(io.Discard, c); n != window || !errors.Is(err, errTrunk) {
			t.Errorf("read %d bytes, %v", n, err)
		}
		_ = c.Close() // it is closed
	})
}

// What the other node's kernel has not brought to the client is known one question later.
func TestTheOtherNodeIsAskedWhatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, other := wayside()
		c.Managed()
		go func() { _, _ = c.Write([]byte("hello")) }()
		got := make([]byte, headSize+5)
		if _, err := io.ReadFull(other, got); err != nil {
			t.Fatal(err)
		}
		for i, want := range []int{5, 3, 0} {
			if unsent, unread := c.Kernel(); unsent != want || unread != 0 {
				t.Errorf("question %d: %d, %d", i, unsent, unread)
			}
			if _, err := io.ReadFull(other, got[:headSize]); err != nil || got[0] != kindAsk {
				t.Fatalf("%q, %v", got, err)
			}
			if _, err := other.Write([]byte{kindSent, 0, 0, byte(3 - 3*i)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestDeadlinesOfACarriedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, other := wayside()
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if err := c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Write([]byte{kindData, 0, 0, 1, 'a', kindLeave, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2)
		if n, err := c.Read(b); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if _, err := c.Read(b); err != ErrLeaves {
			t.Errorf("%v", err)
		}
		if got := c.RemoteAddr().String(); got != "192.0.2.1:1" {
			t.Error(got)
		}
		if err := c.Close(); err != nil || !errors.Is(c.SetDeadline(time.Time{}), net.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}
