package setup

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"jackdaw/config"
	"jackdaw/contrib"
)

// A Unit is what systemd has to know.
type Unit struct {
	Program, File string // the binary and the configuration, whole paths
	Config        *config.Config
	User          string // that it runs as; "": jackdaw
}

// stateDir is what the unit has systemd make.
const stateDir = "/var/lib/jackdaw"

// Rights are the lines that ports below 1024 need, below [Service]; none where there is no such port.
func Rights(c *config.Config) []string {
	l := &c.Listen
	for _, addr := range slices.Concat(l.C2S, l.C2STLS, l.TLS, l.S2S, l.S2STLS, l.Component, l.HTTP, l.HTTPS, l.ACME,
		l.Metrics) {
		port, err := strconv.Atoi(addr[strings.LastIndex(addr, ":")+1:])
		if err == nil && port > 0 && port < 1024 {
			return []string{"CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "AmbientCapabilities=CAP_NET_BIND_SERVICE",
				"PrivateUsers=no"}
		}
	}
	return nil
}

// String is the unit: contrib/jackdaw.service with the paths and rights of this server.
func (u Unit) String() string {
	replace := map[string]string{}
	for _, r := range Rights(u.Config) {
		key, _, _ := strings.Cut(r, "=")
		replace[key] = r
	}
	if u.User != "" {
		replace["User"], replace["Group"] = "User="+u.User, ""
	}
	if filepath.Clean(u.Config.Data) != stateDir {
		replace["StateDirectory"] = "ReadWritePaths=" + quoteWord(u.Config.Data)
		replace["StateDirectoryMode"] = ""
	}
	// What the unit hides from the server as a rule.
	for _, path := range []string{u.Program, u.File, u.Config.Data} {
		switch top, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/"); {
		case top == "home", top == "root":
			replace["ProtectHome"] = "ProtectHome=no"
		case top == "tmp", strings.HasPrefix(path, "/var/tmp/"):
			replace["PrivateTmp"] = "PrivateTmp=no"
		}
	}
	var b strings.Builder
	for line := range strings.Lines(contrib.Unit) {
		if strings.HasPrefix(line, "#") && b.Len() == 0 || line == "\n" && b.Len() == 0 {
			continue // how to install the file, which has happened
		}
		key, _, _ := strings.Cut(line, "=")
		if other, ok := replace[key]; ok {
			if other != "" {
				b.WriteString(other + "\n")
			}
			continue
		}
		line = strings.ReplaceAll(line, "/usr/local/bin/jackdaw", quoteWord(u.Program))
		b.WriteString(strings.ReplaceAll(line, "/etc/jackdaw/jackdaw.yaml", quoteWord(u.File)))
	}
	return b.String()
}

// quoteWord makes one word of a path in a unit.
func quoteWord(path string) string {
	path = strings.ReplaceAll(path, "%", "%%")
	if strings.ContainsAny(path, " \t\"'\\") {
		return strconv.Quote(path)
	}
	return path
}

// Commands are what has systemd start the server, now and at each boot, for root. A unit that a package has brought
// stays as it is, and gets what it lacks beside it.
func Commands(u Unit) []string {
	const unit, more = "/etc/systemd/system/jackdaw.service", "/etc/systemd/system/jackdaw.service.d"
	var list []string
	there := installed(unit, "/usr/lib/systemd/system/jackdaw.service", "/lib/systemd/system/jackdaw.service")
	rights := Rights(u.Config)
	switch {
	case there == "":
		list = append(list, Word(u.Program)+" --config "+Word(u.File)+" setup --unit"+u.as()+" > "+unit,
			"systemctl daemon-reload")
	case len(rights) > 0 && !strings.Contains(there, "\nAmbientCapabilities=CAP_NET_BIND_SERVICE"):
		list = append(list, "mkdir -p "+more,
			`printf '%s\n' '[Service]' `+strings.Join(rights, " ")+" > "+more+"/ports.conf", "systemctl daemon-reload")
	}
	return append(list, "systemctl enable --now jackdaw")
}

// installed is the text of the first of these files that is there.
func installed(files ...string) string {
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			return string(b)
		}
	}
	return ""
}

func (u Unit) as() string {
	if u.User == "" {
		return ""
	}
	return " --user " + Word(u.User)
}

// Word makes one word for a POSIX shell.
func Word(s string) string {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("%+=:,./-_@", r)
	}
	if s != "" && !strings.ContainsFunc(s, odd) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
