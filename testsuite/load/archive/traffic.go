package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

const text = "But, soft! what light through yonder window breaks? It is the east, and Juliet is the sun."

func chat(id, to string) string {
	return "<message type='chat' id='" + id + "' to='" + to + "'><body>" + text + "</body></message>"
}

// online logs a user in, who then gets what is sent.
func online(s *stage.Stage, server *harness.Server, user string) *harness.Client {
	c, err := harness.Connect(server.C2STLS, user, "desk")
	if err == nil {
		_, err = c.Ask("up", "<presence/><iq type='get' id='up' to='"+server.Domain+"'><ping xmlns='urn:xmpp:ping'/></iq>")
	}
	if err != nil {
		s.Fatalf("log in %s: %v", user, err)
	}
	return c
}

// fill has each of the talks' senders say n messages, and comes back when all have arrived.
func fill(s *stage.Stage, server *harness.Server, talks [][2]string, n int) {
	var wg sync.WaitGroup
	faults := make(chan error, 2*len(talks))
	for _, talk := range talks {
		from, to := online(s, server, talk[0]), online(s, server, talk[1])
		wg.Go(func() {
			defer from.Conn.Close()
			message := strings.Repeat(chat("f", talk[1]+"@"+server.Domain), 50)
			one := len(message) / 50
			for left := n; left > 0; left -= 50 {
				if err := from.Send(message[:one*min(left, 50)]); err != nil {
					faults <- fmt.Errorf("%s says: %w", talk[0], err)
					return
				}
			}
			// A server that is closed on may throw away what it has not read yet.
			if _, err := from.Ask("end", "<iq type='get' id='end' to='"+server.Domain+"'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
				faults <- fmt.Errorf("%s ends: %w", talk[0], err)
			}
		})
		wg.Go(func() {
			defer to.Conn.Close()
			if err := count(to, n); err != nil {
				faults <- fmt.Errorf("%s hears: %w", talk[1], err)
			}
		})
	}
	wg.Wait()
	close(faults)
	for err := range faults {
		s.Fatal(err)
	}
}

// count reads until n messages have come; a message ends in ends, and nowhere else.
func count(c *harness.Client, n int) error {
	ends := []byte("</message>")
	buf := make([]byte, 64<<10)
	kept := 0
	for n > 0 {
		c.Conn.SetReadDeadline(time.Now().Add(harness.Timeout))
		k, err := c.Conn.Read(buf[kept:])
		if err != nil {
			return fmt.Errorf("%d have not come: %w", n, err)
		}
		b := buf[:kept+k]
		n -= bytes.Count(b, ends)
		// What may be the start of an end stays for the next read.
		tail := b[max(0, len(b)-len(ends)+1):]
		if i := bytes.LastIndexByte(tail, '<'); i >= 0 {
			tail = tail[i:]
		} else {
			tail = nil
		}
		kept = copy(buf, tail)
	}
	return nil
}
