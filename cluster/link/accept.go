package link

import (
	"errors"
	"net"
	"time"
)

// listenFor takes the connections of other nodes. It is where strangers come, too.
func (l *Links) listenFor() {
	for {
		below, err := l.listen.Accept()
		if err != nil {
			if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			l.log.Error("connections of other nodes cannot be accepted", "error", err)
			select { // such as too many open files
			case <-time.After(l.times.first):
				continue
			case <-l.ctx.Done():
				return
			}
		}
		select {
		case l.shaking <- struct{}{}:
		default:
			l.Stats.Refused.Add(1)
			_ = below.Close() // it says nothing of use
			continue
		}
		l.running.Go(func() { l.take(below) })
	}
}

// take serves a connection of another node.
func (l *Links) take(below net.Conn) {
	g, err := l.shake(l.ctx, below, "", 0)
	<-l.shaking
	if err == nil && g.kind != 0 && g.node != l.id {
		l.takeAlone(g)
		return
	}
	var s *session
	if err == nil {
		s, err = l.multiplex(g, false)
	}
	if err != nil {
		_ = below.Close() // it says nothing of use
		l.Stats.Refused.Add(1)
		if l.ctx.Err() == nil && l.refusal.now() {
			l.log.Warn("a connection to the port of the cluster was refused", "from", below.RemoteAddr().String(),
				"error", err, "advice", "if it is a node of this cluster, compare the cluster keys and versions of both; "+
					"keep others from the port")
		}
		return
	}
	if s.node == l.id {
		l.Stats.Refused.Add(1)
		s.close(nil)
		l.log.Error("another node has the id of this one", "node", l.id, "from", below.RemoteAddr().String(),
			"advice", "give each node an id of its own (cluster.node)")
		return
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		s.close(ErrClosed)
		return
	}
	before := l.in[s.node]
	l.in[s.node] = s
	l.mu.Unlock()
	l.Stats.Accepted.Add(1)
	if before != nil { // the node has started anew, or has given it up
		before.close(errReplaced)
	}
	l.log.Debug("another node has come", "node", s.node, "from", below.RemoteAddr().String())
	l.running.Go(func() { l.watch(s, false) })
	l.accept(s)
	l.mu.Lock()
	if l.in[s.node] == s {
		delete(l.in, s.node)
	}
	l.mu.Unlock()
}

var errReplaced = errors.New("the node has made another connection")
