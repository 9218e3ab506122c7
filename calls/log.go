package calls

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// quiet has what the library for TURN says in the log for those who look for faults: most of it is about what strangers
// send, and none about what an administrator could do. It implements logging.LoggerFactory.
type quiet struct{ log *slog.Logger }

// NewLogger implements logging.LoggerFactory.
func (q quiet) NewLogger(string) logging.LeveledLogger { return q }

func (q quiet) on() bool { return q.log.Enabled(context.Background(), slog.LevelDebug) }

// Trace implements logging.LeveledLogger, as do the others: those below warnings are about single packets.
func (quiet) Trace(string)          {}
func (quiet) Tracef(string, ...any) {}
func (quiet) Debug(string)          {}
func (quiet) Debugf(string, ...any) {}
func (quiet) Info(string)           {}
func (quiet) Infof(string, ...any)  {}

// Warn implements logging.LeveledLogger.
func (q quiet) Warn(msg string) { q.log.Debug("relay for calls", "says", msg) }

// Warnf implements logging.LeveledLogger.
func (q quiet) Warnf(format string, args ...any) {
	if q.on() {
		q.Warn(fmt.Sprintf(format, args...))
	}
}

// Error implements logging.LeveledLogger.
func (q quiet) Error(msg string) { q.Warn(msg) }

// Errorf implements logging.LeveledLogger.
func (q quiet) Errorf(format string, args ...any) { q.Warnf(format, args...) }
