package main

import (
	"log/slog"
	"net"
	"os"
)

// notify tells systemd a state of the service, such as READY=1, where it has asked for that (sd_notify(3)).
func notify(log *slog.Logger, state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	// A name that begins with @ is an abstract one, to systemd as to net.
	conn, err := net.Dial("unixgram", socket)
	if err == nil {
		defer conn.Close()
		_, err = conn.Write([]byte(state))
	}
	if err != nil {
		log.Error("tell systemd", "state", state, "error", err, "do", "with Type=exec in the unit nobody waits for it")
	}
}
