package peers

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"jackdaw/testsuite/harness"
)

// A Proof is that the server of one domain has shown another who it is, on a stream
// that it opened.
type Proof struct {
	From, To string // domains
	By       string // EXTERNAL or dialback
}

// Proofs are those that the peer's log tells of, in order: of streams to it and from it. jackal says
// nothing of EXTERNAL on the streams that it opened.
func (p *Peer) Proofs() []Proof { return p.proofs(p.Log()) }

// AwaitProof waits for one in the log.
func (p *Peer) AwaitProof(want Proof) error {
	err := p.log.AwaitWhere(func(log string) bool { return slices.Contains(p.proofs(log), want) }, harness.Timeout,
		p.done)
	if err != nil {
		return fmt.Errorf("%s does not tell of %v but of %v: %w", p.Domain, want, p.Proofs(), err)
	}
	return nil
}

func (p *Peer) proofs(log string) []Proof {
	switch p.Kind {
	case "prosody":
		return prosodyProofs(log)
	case "ejabberd":
		return ejabberdProofs(log)
	}
	return jackalProofs(log)
}

var (
	prosodyLine  = regexp.MustCompile(`^(s2s(?:in|out)[0-9a-f]+) +\w+\t(.*)`)
	prosodyProof = regexp.MustCompile(`^connection (\S+)->(\S+) is now authenticated for`)

	ejabberdProof = regexp.MustCompile(`Accepted (?:in|out)bound s2s (\S+) authentication (\S+) -> (\S+)`)

	jackalIn       = regexp.MustCompile(`msg="(authenticated S2S incoming stream|authorized S2S dialback key)" sender=(\S+) target=(\S+)`)
	jackalDialback = regexp.MustCompile(`msg="S2S dialback key successfully verified" from=(\S+) to=(\S+)`)
)

// prosodyProofs puts together what Prosody says of each stream: how it tries, and that it was right.
func prosodyProofs(log string) (proofs []Proof) {
	tried := map[string]string{}
	for line := range strings.Lines(log) {
		m := prosodyLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		switch stream, text := m[1], m[2]; {
		case strings.Contains(text, "_unauthed]: <auth "):
			tried[stream] = "EXTERNAL"
		case strings.Contains(text, "_unauthed]: <result "), strings.Contains(text, "sent dialback key"):
			tried[stream] = "dialback"
		default:
			if m := prosodyProof.FindStringSubmatch(text); m != nil {
				proofs = append(proofs, Proof{From: m[1], To: m[2], By: tried[stream]})
			}
		}
	}
	return proofs
}

func ejabberdProofs(log string) (proofs []Proof) {
	for _, m := range ejabberdProof.FindAllStringSubmatch(log, -1) {
		proofs = append(proofs, Proof{From: m[2], To: m[3], By: m[1]})
	}
	return proofs
}

func jackalProofs(log string) (proofs []Proof) {
	for line := range strings.Lines(log) {
		if m := jackalIn.FindStringSubmatch(line); m != nil {
			by := "EXTERNAL"
			if strings.HasPrefix(m[1], "authorized") {
				by = "dialback"
			}
			proofs = append(proofs, Proof{From: m[2], To: m[3], By: by})
		} else if m := jackalDialback.FindStringSubmatch(line); m != nil {
			proofs = append(proofs, Proof{From: m[1], To: m[2], By: "dialback"})
		}
	}
	return proofs
}
