package delegation

import (
	"context"
	"maps"
	"strings"
	"time"

	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// handedName is of a request on its way to the home of the component that is to answer it.
var handedName = xmpp.Name{Space: xmpp.NSNodes, Local: "delegated"}

// pass has a request done at the home of its component. Whoever asks is answered from there, but for what does not get
// there.
func (d *Delegations) pass(e *router.Envelope, x *errand) {
	w := xmpp.NewWriter(nil).Start(handedName.Space, handedName.Local).Attr("asker", x.asker.String()).
		Attr("to", x.to.String()).Attr("id", x.id).Attr("inner", x.inner).Attr("who", x.who).Raw(x.payload).End()
	s := xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: "delegated", From: x.to.DomainJID(),
		To: jid.MustParse(x.component), Payload: w.Bytes()}
	s.Children = xmpp.Index(s.Payload)
	one := &router.Envelope{Stanza: &s, Own: true, Quiet: true, Batch: e.Batch}
	if d.o.Router.Route(one); one.Outcome == router.Refused {
		e.Refuse(one.Err)
		return
	}
	e.Settle(router.Delivered)
	storage.Join(one.Pendings...).Then(func(error) {
		if o, bad := one.Settlement(); o == router.Refused && bad != nil {
			out := xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeError, ID: x.id, From: x.to, To: x.asker,
				Payload: bad.Append(nil)}
			d.o.Router.Emit(&out, nil)
		}
	})
}

// handed does what another node has passed on to the home of a component.
func (d *Delegations) handed(e *router.Envelope) {
	s := e.Stanza
	if !e.Own || s.Kind != xmpp.IQ || !s.From.IsDomain() || !d.o.Router.Serves(s.From.Domain()) {
		return
	}
	el := s.Child(handedName)
	if el == nil {
		return
	}
	asker, err := jid.Parse(el.Attr("asker"))
	to, bad := jid.Parse(el.Attr("to"))
	inner := el.Child(delegationName)
	if err != nil || bad != nil || inner == nil {
		e.Refuse(unanswered())
		return
	}
	x := &errand{component: strings.Clone(s.To.Domain()), asker: asker, to: to, id: el.Attr("id"),
		inner: el.Attr("inner"), who: el.Attr("who"), payload: inner.Append(nil)}
	if bad := d.hand(e, x); bad != nil {
		e.Refuse(bad)
		return
	}
	e.Settle(router.Delivered)
}

// moved gives up what components are asked that are at home elsewhere from now on: their answers come there.
func (d *Delegations) moved(gone func(owner string) bool) {
	d.mu.Lock()
	waiting := map[string]*request{}
	for id, r := range d.asked {
		if gone(r.component) {
			waiting[id] = r
		}
	}
	maps.DeleteFunc(d.told, func(p place, _ bool) bool { return gone(p.component) })
	d.mu.Unlock()
	for id, r := range waiting {
		if d.done(id, r) {
			r.answer(nil, nil)
		}
	}
}

const (
	// readFor is how long what storage says is taken for true where it is asked for at each login.
	readFor = time.Second
	// readTime is how long an answer waits for storage. What was known before is said then.
	readTime = time.Second
	// writeTime is the same where a component has said what it is.
	writeTime = 10 * time.Second
)

// recordVersion is the first byte of a value; the <query/> of what a component says of itself follows.
const recordVersion = 1

// A board is what is known of what storage has of a host.
type board struct {
	began   time.Time // when it was read last
	version uint64
}

// key is where storage has it, in the name of the host.
func (d *description) key() string {
	as := "host"
	if d.account {
		as = "account"
	}
	return d.component + " " + as + " " + d.namespace
}

// describedBy is the description at a key.
func describedBy(host, key string) (one description, ok bool) {
	parts := strings.SplitN(key, " ", 3)
	if len(parts) < 3 {
		return one, false
	}
	return description{place{parts[0], host}, parts[2], parts[1] == "account"}, true
}

func record(all []*xmpp.Element) []byte {
	q := xmpp.Element{Name: discoInfo}
	for _, el := range all {
		q.Content = append(q.Content, xmpp.Node{Elem: el})
	}
	return append([]byte{recordVersion}, q.Append(nil)...)
}

// write changes what storage has of a host, and waits until that is durable.
func (d *Delegations) write(host string, changes ...storage.Change) {
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	_, p, err := d.o.Store.Update(ctx, host, storage.AnyVersion, changes...)
	if err == nil {
		err = p.Wait(ctx)
	}
	if err != nil {
		d.o.Log.Warn("what components say of themselves is not stored, and other nodes do not know of it", "host", host,
			"error", err)
	}
}

// learn reads what components say of themselves at a host, unless that has been read in the last time, where any node
// may have written it. Many who ask at once wait for one read.
func (d *Delegations) learn(host string, last time.Duration) {
	if d.o.Router.Alone() {
		return
	}
	since := time.Now().Add(-last)
	d.reading.Lock()
	defer d.reading.Unlock()
	b := d.read[host]
	if b == nil {
		b = &board{version: storage.AnyVersion}
		d.read[strings.Clone(host)] = b
	}
	if b.began.After(since) {
		return
	}
	b.began = time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	entries, version, err := d.o.Store.List(ctx, host)
	if err != nil {
		d.o.Log.Warn("what components say of themselves cannot be read", "host", host, "error", err)
		return
	}
	if version == b.version {
		return
	}
	b.version = version
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.nested, func(one description, _ []*xmpp.Element) bool { return one.host == host })
	for _, e := range entries {
		one, ok := describedBy(host, e.Key)
		if !ok || len(e.Value) == 0 || e.Value[0] != recordVersion {
			continue // of a later version
		}
		if q, err := xmpp.ParseElement(e.Value[1:]); err == nil {
			d.nested[one] = q.Children()
		}
	}
	d.version.Add(1)
}
