package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/redis/go-redis/v9"

	"jackdaw/storage"
)

var (
	errFew      = errors.New("too few replicas")
	errNoMaster = errors.New("the cluster has no master")
)

// Passes says of an error of Open, OpenNodes or a call whether it may pass by itself: Redis does not answer, is being
// started, fails over, or is busy. What somebody has to correct first does not: a password, rights, a name, TLS,
// another server on the prefix.
func Passes(err error) bool {
	var reply redis.Error
	switch {
	case errors.Is(err, redis.Nil), errors.Is(err, storage.ErrTaken), errors.Is(err, storage.ErrElsewhere):
		return false
	case errors.As(err, &reply):
		return passing(err)
	}
	for _, one := range []error{context.DeadlineExceeded, os.ErrDeadlineExceeded, redis.ErrPoolTimeout, io.EOF,
		io.ErrUnexpectedEOF, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.EHOSTUNREACH,
		syscall.ENETUNREACH, errReplicas, errFew, errNoMaster} {
		if errors.Is(err, one) {
			return true
		}
	}
	var slow net.Error
	return errors.As(err, &slow) && slow.Timeout()
}
