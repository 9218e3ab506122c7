package sendmail

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"jackdaw/xmpp/jid"
)

// DefaultFile has the settings unless a call names another.
const DefaultFile = "/etc/jackdaw/sendmail.yaml"

// postKey is the one key of the settings that is no address, as long as its value is a mapping.
const postKey = "post"

// Settings say who gets what, and how it is posted.
type Settings struct {
	Post Post
	// Addresses are JIDs by the name of a user here, by an address of mail, or by "*" for all others; in lower case.
	Addresses map[string][]string
}

// Post is how to reach the server. The zero value is the first HTTP listener of the server's configuration.
type Post struct {
	URL       string // https://HOST[:PORT][/PATH], or unix:PATH
	TokenFile string // has a token that may post (`jackdaw token add`)
	Spool     string // a directory for what cannot be posted now
	Nick      string // by which rooms show it
}

// Load reads settings. Its errors are Failures with ExitUnavailable that say what to write.
func Load(file string) (*Settings, error) {
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, failure(ExitUnavailable, "%s is not there; write it, with a line such as root: admin@im.example.org",
			file)
	case err != nil:
		return nil, &Failure{ExitUnavailable, err}
	}
	s, err := parse(b)
	if err != nil {
		return nil, failure(ExitUnavailable, "%s: %w", file, err)
	}
	return s, nil
}

func parse(b []byte) (*Settings, error) {
	var all map[string]any
	if err := yaml.Unmarshal(b, &all); err != nil {
		return nil, errors.New(yaml.FormatError(err, false, false))
	}
	s := &Settings{Addresses: map[string][]string{}}
	for key, value := range all {
		if how, ok := value.(map[string]any); ok && key == postKey {
			if err := s.Post.set(how); err != nil {
				return nil, err
			}
			continue
		}
		to, err := jids(value)
		if err != nil {
			return nil, errors.New(strconv.Quote(key) + ": " + err.Error())
		}
		s.Addresses[strings.ToLower(key)] = to
	}
	if len(s.Addresses) == 0 {
		return nil, errors.New(`nobody is named; add a line such as "*": admin@im.example.org`)
	}
	return s, nil
}

func (p *Post) set(values map[string]any) error {
	for name, value := range values {
		target := map[string]*string{"url": &p.URL, "token_file": &p.TokenFile, "spool": &p.Spool, "nick": &p.Nick}[name]
		text, ok := value.(string)
		switch {
		case target == nil:
			return errors.New("post." + name + " is not known; there are url, token_file, spool and nick")
		case !ok:
			return errors.New("post." + name + ": a text is wanted")
		}
		*target = text
	}
	return nil
}

// jids reads an address or a list of them.
func jids(value any) ([]string, error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var all []string
	for _, one := range list {
		text, ok := one.(string)
		if !ok {
			return nil, errors.New("a JID, or a list of JIDs, is wanted")
		}
		if _, err := jid.Parse(text); err != nil {
			return nil, errors.New(strconv.Quote(text) + " is no JID")
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return nil, errors.New("the list is empty")
	}
	return all, nil
}

// Route is who gets a mail for these addresses, each once, in order; hosts are the names of this machine. An address
// that is not in the settings is a Failure with ExitNoUser, unless they have "*".
func (s *Settings) Route(addresses, hosts []string) ([]string, error) {
	if len(addresses) == 0 {
		return nil, failure(ExitNoUser, "the mail names no recipients")
	}
	var all, unknown []string
	for _, a := range addresses {
		to, ok := s.find(a, hosts)
		if !ok {
			unknown = append(unknown, a)
		}
		for _, one := range to {
			if !slices.Contains(all, one) {
				all = append(all, one)
			}
		}
	}
	if len(unknown) > 0 {
		return nil, failure(ExitNoUser, "nobody is known as %s; the settings may name them, or * for all",
			strings.Join(unknown, ", "))
	}
	return all, nil
}

// find is who gets mail for one address: the whole of it, or its user if that is one of this machine, or "*".
func (s *Settings) find(address string, hosts []string) ([]string, bool) {
	address = strings.ToLower(address)
	if to, ok := s.Addresses[address]; ok && address != "*" {
		return to, true
	}
	if user, domain, ok := strings.Cut(address, "@"); ok && slices.ContainsFunc(hosts, func(h string) bool {
		short, _, _ := strings.Cut(h, ".")
		return strings.EqualFold(domain, h) || strings.EqualFold(domain, short)
	}) {
		if to, ok := s.Addresses[user]; ok && user != "*" {
			return to, true
		}
	}
	to, ok := s.Addresses["*"]
	return to, ok
}
