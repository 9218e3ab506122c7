package devices

import (
	"encoding/json"
	"errors"
	"time"

	"jackdaw/xmpp/sasl"
)

// recordVersion is the first byte of a record; the rest is JSON.
const recordVersion = 1

// A record is what is stored of a device.
type record struct {
	Software  string         `json:"software,omitempty"`
	Name      string         `json:"name,omitempty"`
	First     time.Time      `json:"first"`
	Last      time.Time      `json:"last"`
	Mechanism sasl.Mechanism `json:"mechanism,omitempty"`
	Password  time.Time      `json:"password,omitzero"` // when the last login began that was by password
	// Tokens are at most one that was used and one that was not (XEP-0484 §5.1).
	Tokens []*token `json:"tokens,omitempty"`

	isNew, gone bool
}

// A token is one by which a device may log in.
type token struct {
	Secret    string         `json:"secret"`
	Mechanism sasl.Mechanism `json:"mechanism"`
	Issued    time.Time      `json:"issued"` // when the login began that it was made for
	Expires   time.Time      `json:"expires"`
	Count     uint64         `json:"count,omitempty"` // the highest that was used
	Fresh     bool           `json:"fresh,omitempty"` // not used yet
}

// good says whether it counts, where the password was set at since.
func (t *token) good(since, now time.Time) bool {
	return t.Issued.After(since) && now.Before(t.Expires)
}

// seen notes a login.
func (r *record) seen(software, name string, l Login, now time.Time) {
	if r.isNew && r.First.IsZero() {
		r.First = now
	}
	if !isToken(l.Mechanism) {
		r.Password = l.Began
	}
	r.Software, r.Name, r.Mechanism, r.Last = software, name, l.Mechanism, now
}

func (r *record) encode() []byte {
	b, _ := json.Marshal(r) // there is nothing in it that JSON has no word for
	return append([]byte{recordVersion}, b...)
}

func decode(b []byte) (*record, error) {
	if len(b) == 0 || b[0] != recordVersion {
		return nil, errors.New("a record of a version that is not known")
	}
	r := &record{}
	return r, json.Unmarshal(b[1:], r)
}
