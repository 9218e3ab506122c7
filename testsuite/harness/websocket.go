package harness

import (
	"context"
	"encoding/xml"
	"io"
	"strings"
	"sync/atomic"

	"github.com/coder/websocket"
)

const nsFraming = "urn:ietf:params:xml:ns:xmpp-framing"

// webSocket is a stream over WebSocket (RFC 7395).
type webSocket struct {
	b      *bridge
	conn   *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc
	parted atomic.Bool // <close/> was said
}

func dialWebSocket(b *bridge) (farSide, error) {
	ctx, cancel := context.WithCancel(context.Background())
	conn, _, err := websocket.Dial(ctx, "ws://"+b.http+"/xmpp-websocket", &websocket.DialOptions{Subprotocols: []string{"xmpp"}})
	if err != nil {
		cancel()
		return nil, err
	}
	conn.SetReadLimit(-1)
	w := &webSocket{b: b, conn: conn, ctx: ctx, cancel: cancel}
	if conn.Subprotocol() != "xmpp" { // §3.1
		b.wrong("the subprotocol is %q", conn.Subprotocol())
	}
	return w, nil
}

func (w *webSocket) write(s string) error {
	return w.conn.Write(w.ctx, websocket.MessageText, []byte(s))
}

func (w *webSocket) header(attrs []xml.Attr) error {
	return w.write("<open xmlns='" + nsFraming + "'" + written(attrs) + "/>")
}

func (w *webSocket) send(element string) error { return w.write(element) }

func (w *webSocket) end() error {
	if w.parted.Swap(true) {
		return nil
	}
	return w.write("<close xmlns='" + nsFraming + "'/>")
}

func (w *webSocket) next() (string, error) {
	kind, b, err := w.conn.Read(w.ctx)
	if err != nil {
		return "", err
	}
	if kind != websocket.MessageText { // §3.2
		return "", w.b.wrong("a message of type %v", kind)
	}
	it, err := only(string(b))
	if err != nil {
		return "", w.b.wrong("%v: %s", err, b)
	}
	if it.start.Name.Space != nsFraming {
		said, err := it.within()
		if err != nil {
			return "", w.b.wrong("%v", err)
		}
		return said, nil
	}
	if it.start.Name.Local == "open" {
		return streamHeader(it.start.Attr), nil
	}
	w.end() // §3.6
	w.conn.Close(websocket.StatusNormalClosure, "")
	return "</stream:stream>", io.EOF
}

// only is the one element that a message is (§3.3): nothing stands before or behind it, no declaration of XML either.
func only(message string) (item, error) {
	r := newReaderOf("", strings.NewReader(message))
	it, err := r.next()
	if err != nil {
		return it, err
	}
	if it.raw != message {
		return it, errNotOne
	}
	return it, nil
}

func (w *webSocket) Close() error {
	w.cancel()
	return w.conn.CloseNow()
}
