package setup

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"time"
)

// Taken says whether another program listens on a port of this machine.
func Taken(port uint16) bool {
	n := strconv.Itoa(int(port))
	l, err := net.Listen("tcp", ":"+n)
	switch {
	case err == nil:
		l.Close() // it was never used
		return false
	case errors.Is(err, syscall.EADDRINUSE):
		return true
	}
	// A port that this user may not have tells by its answer.
	c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", n), time.Second)
	if err == nil {
		c.Close() // likewise
	}
	return err == nil
}
