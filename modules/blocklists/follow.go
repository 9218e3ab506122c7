package blocklists

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"jackdaw/modules/internal/rsm"
	"jackdaw/router"
	"jackdaw/storage"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

const (
	// mostEntries bounds one list; what comes beyond is not taken.
	mostEntries = 100_000
	// pageItems is how many items are asked for at once (XEP-0060 §6.5.4), and mostPages how often for one list.
	pageItems = 200
	mostPages = mostEntries
	// patience is how long an answer may take, and refresh how often a list is read anew.
	patience = time.Minute
	refresh  = 12 * time.Hour
	// againMin and againMax are between two attempts to follow a list.
	againMin = time.Minute
	againMax = time.Hour
	// tick is how often it is asked which lists are wanted, and homeless while no address is at home on this node.
	tick     = time.Minute
	homeless = time.Second
	// changesAtOnce is how many entries are stored in one step.
	changesAtOnce = 500

	entryVersion = 1
)

// A list is one that is followed.
type list struct {
	l      *Lists
	source Source
	again  chan struct{} // the subscription is gone
	// stop ends the goroutine that follows; nil: there is none, since this node has no address yet. It closes ended.
	// Both are Run's alone.
	stop  context.CancelFunc
	ended chan struct{}
	told  string // the fault that the log has heard of last; of the goroutine that follows

	mu    sync.Mutex       // held over changes, with l.mu below it
	items map[sum]struct{} // guarded by l.mu for those who only read
	// fresh is what the pages that are being read have, with what events have said since; nil: none are being read.
	// retracted is what events have taken off the list meanwhile.
	fresh, retracted map[sum]struct{}
	full             bool // which the log has heard
}

func (one *list) has(s sum) bool { _, has := one.items[s]; return has }

// key is that of an entry: it says of which list it is.
func (s Source) key(of sum) string { return s.prefix() + hex.EncodeToString(of[:]) }

func (s Source) prefix() string { return s.Service.String() + "\x00" + s.Node + "\x00" }

// Run follows the lists until ctx ends.
func (l *Lists) Run(ctx context.Context) {
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer func() {
		for _, one := range l.all() {
			one.rest()
		}
	}()
	if !l.o.Router.Alone() {
		keeping.Go(func() { l.keep(ctx) })
	}
	for ctx.Err() == nil {
		next := tick
		switch err := l.settle(ctx); {
		case errors.Is(err, errHomeless):
			next = homeless
		case err != nil && ctx.Err() == nil:
			l.o.Log.Warn("block lists cannot be read from storage", "error", err)
		}
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

func (l *Lists) all() []*list {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Collect(maps.Values(l.lists))
}

// settle begins to follow what is wanted, and ends what is not. What is known holds on a node that has no address yet.
func (l *Lists) settle(ctx context.Context) error {
	wanted := l.wanted()
	if len(wanted) == 0 && len(l.all()) == 0 && l.read {
		return nil
	}
	other, homeless := l.settleAddress()
	if homeless != nil && !errors.Is(homeless, errHomeless) {
		return homeless
	}
	ended := false
	for _, one := range l.all() {
		if !slices.Contains(wanted, one.source) {
			one.end()
			ended = true
		} else if other {
			one.rest()
		}
	}
	var kept map[Source]map[sum]struct{}
	if !l.read || ended || len(l.all()) < len(wanted) {
		var err error
		if kept, err = l.load(ctx, wanted); err != nil {
			return err
		}
		l.read = true
	}
	for _, source := range wanted {
		l.mu.Lock()
		one, has := l.lists[source]
		if !has {
			one = &list{l: l, source: source, again: make(chan struct{}, 1), items: kept[source]}
			if one.items == nil {
				one.items = map[sum]struct{}{}
			}
			l.lists[source] = one
			l.entries.Add(int64(len(one.items)))
		}
		l.mu.Unlock()
		if one.stop == nil && homeless == nil {
			var own context.Context
			own, one.stop = context.WithCancel(ctx)
			one.ended = make(chan struct{})
			go one.follow(own, one.ended)
		}
	}
	if other && !l.o.Router.Alone() {
		return l.adopt(ctx)
	}
	return homeless
}

// errHomeless is that of a node that has no slots yet, or none any more.
var errHomeless = errors.New("no address for block lists is at home on this node")

// settleAddress finds an address that is at home on this node, and says whether it is another one than before.
func (l *Lists) settleAddress() (other bool, err error) {
	now, host := l.address.Load(), l.o.Host()
	for i := range 26 {
		address, err := jid.Parse(l.o.Address(i) + "@" + host)
		if err != nil {
			return false, err
		}
		if !l.o.Router.Here(address.String()) {
			continue
		}
		l.address.Store(&address)
		return now == nil || *now != address, nil
	}
	return false, errHomeless
}

// inCommon owns what several nodes keep of lists. It is at home nowhere, so that each of them writes it and reads it
// when it starts, whichever addresses are at home there then.
const inCommon = "lists"

// owner is where entries are kept.
func (l *Lists) owner() string {
	if l.o.Router.Alone() {
		return l.address.Load().String()
	}
	return inCommon
}

// adopt takes over what a server that was alone, or a node of an earlier version, has kept under an address that is at
// home here.
func (l *Lists) adopt(ctx context.Context) error {
	old := l.address.Load().String()
	entries, _, err := l.o.Kept.List(ctx, old)
	if err != nil || len(entries) == 0 {
		return err
	}
	for _, one := range l.all() {
		var c change
		for _, e := range entries {
			var s sum
			text, its := strings.CutPrefix(e.Key, one.source.prefix())
			if _, err := hex.Decode(s[:], []byte(text)); its && err == nil {
				c.on = append(c.on, s)
			}
		}
		one.mu.Lock()
		err = errors.Join(err, one.change(ctx, c))
		one.mu.Unlock()
	}
	if err == nil {
		_, err = l.o.Kept.DeleteOwner(ctx, old)
	}
	return err
}

// load reads the entries of lists, and removes those of lists that nobody wants.
func (l *Lists) load(ctx context.Context, wanted []Source) (map[Source]map[sum]struct{}, error) {
	entries, _, err := l.o.Kept.List(ctx, l.owner())
	if err != nil {
		return nil, err
	}
	kept := map[Source]map[sum]struct{}{}
	var old []storage.Change
	for _, e := range entries {
		i := slices.IndexFunc(wanted, func(s Source) bool { return strings.HasPrefix(e.Key, s.prefix()) })
		var s sum
		if i < 0 {
			old = append(old, storage.Change{Key: e.Key, Delete: true})
			continue
		}
		_, err := hex.Decode(s[:], []byte(e.Key[len(wanted[i].prefix()):]))
		if err != nil || len(kept[wanted[i]]) >= mostEntries {
			continue
		}
		if kept[wanted[i]] == nil {
			kept[wanted[i]] = map[sum]struct{}{}
		}
		kept[wanted[i]][s] = struct{}{}
	}
	return kept, l.store(ctx, old)
}

// store changes what is kept. Of several nodes it leaves that to keep: whoever tells what happens to a list does not
// wait until all of them can know.
func (l *Lists) store(ctx context.Context, changes []storage.Change) error {
	if l.o.Router.Alone() {
		return l.update(ctx, changes)
	}
	l.mu.Lock()
	l.unkept = append(l.unkept, changes...)
	l.mu.Unlock()
	select {
	case l.kept <- struct{}{}:
	default:
	}
	return nil
}

func (l *Lists) update(ctx context.Context, changes []storage.Change) error {
	for some := range slices.Chunk(changes, changesAtOnce) {
		if _, _, err := l.o.Kept.Update(ctx, l.owner(), storage.AnyVersion, some...); err != nil {
			return err
		}
	}
	return nil
}

// lastWord is how long a server that ends waits for what is not kept yet.
const lastWord = 2 * time.Second

// keep stores what store has left to it, until ctx ends.
func (l *Lists) keep(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-l.kept:
		case <-ctx.Done():
		}
		l.mu.Lock()
		changes := l.unkept
		l.unkept = nil
		l.mu.Unlock()
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWord)
		if err := l.update(limited, changes); err != nil {
			l.o.Log.Warn("what block lists say is not stored", "error", err)
		}
		cancel()
	}
}

// rest stops following a list.
func (one *list) rest() {
	if one.stop == nil {
		return
	}
	one.stop()
	<-one.ended
	one.stop = nil
}

// end stops following a list that nobody wants any more, and forgets it.
func (one *list) end() {
	l, followed := one.l, one.stop != nil
	one.rest()
	l.mu.Lock()
	delete(l.lists, one.source)
	l.entries.Add(-int64(len(one.items)))
	l.mu.Unlock()
	if !followed {
		return
	}
	from := *l.address.Load()
	// XEP-0060 §6.2. Nobody waits for the answer; an event that comes all the same is refused.
	l.o.Router.Route(&router.Envelope{Quiet: true, Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: xmpp.TypeSet, ID: rand.Text(),
		From: from, To: one.source.Service, Payload: request("unsubscribe", one.source.Node, from, nil)}})
}

// follow keeps a list up to date until ctx ends, and closes ended.
func (one *list) follow(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	wait := againMin
	for ctx.Err() == nil {
		err := one.sync(ctx)
		next := refresh
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if next = wait; one.told != err.Error() {
				one.told = err.Error()
				one.l.o.Log.Warn("a block list cannot be followed; what was known of it holds", "list", one.source, "error", err,
					"do", "see whether modules.blocklists.lists names it rightly, and whether listen.s2s is open")
			}
			wait = min(2*wait, againMax)
		default:
			one.told, wait = "", againMin
			one.l.o.Log.Info("block list followed", "list", one.source, "entries", one.size())
		}
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-one.again:
			select { // not at once, so that a service that says so all the time is not asked all the time
			case <-ctx.Done():
			case <-time.After(againMin):
			}
		case <-t.C:
		}
		t.Stop()
	}
}

func (one *list) size() int {
	one.l.mu.RLock()
	defer one.l.mu.RUnlock()
	return len(one.items)
}

// sync subscribes to a list (XEP-0060 §6.1) and reads all of it (§6.5.2).
func (one *list) sync(ctx context.Context) error {
	l := one.l
	answer, err := l.ask(ctx, one.source.Service, xmpp.TypeSet, request("subscribe", one.source.Node,
		*l.address.Load(), nil))
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if s := answer.ChildLocal("subscription"); s != nil {
		if how := s.Attr("subscription"); how != "" && how != "subscribed" {
			return fmt.Errorf("subscribe: the subscription is %q", how)
		}
	}
	one.mu.Lock()
	one.fresh, one.retracted = map[sum]struct{}{}, map[sum]struct{}{}
	one.mu.Unlock()
	defer func() {
		one.mu.Lock()
		one.fresh, one.retracted = nil, nil
		one.mu.Unlock()
	}()
	after := ""
	for range mostPages {
		set := xmpp.NewWriter(nil).Start(xmpp.NSRSM, "set").Leaf("", "max", fmt.Sprint(pageItems))
		if after != "" {
			set.Leaf("", "after", after)
		}
		payload := request("items", one.source.Node, jid.JID{}, set.End().Bytes())
		answer, err := l.ask(ctx, one.source.Service, xmpp.TypeGet, payload)
		if err != nil {
			return fmt.Errorf("read the items: %w", err)
		}
		items := answer.ChildLocal("items")
		if items == nil || items.Attr("node") != one.source.Node {
			return errors.New("read the items: the answer has none")
		}
		on, _ := readItems(items)
		one.page(on)
		last := ""
		if s := answer.Child(rsm.Name); s != nil && len(items.Children()) > 0 {
			if el := s.ChildLocal("last"); el != nil {
				last = el.Text()
			}
		}
		if last == "" || last == after { // all of it, also where a service knows no pages
			return one.done(ctx)
		}
		after = last
	}
	return errors.New("read the items: there is no end of pages")
}

// page notes what a page has.
func (one *list) page(on []sum) {
	one.mu.Lock()
	defer one.mu.Unlock()
	for _, s := range on {
		if _, gone := one.retracted[s]; !gone && len(one.fresh) < mostEntries {
			one.fresh[s] = struct{}{}
		}
	}
}

// done makes the list what the pages have.
func (one *list) done(ctx context.Context) error {
	one.mu.Lock()
	defer one.mu.Unlock()
	var c change
	for s := range one.items {
		if _, has := one.fresh[s]; !has {
			c.off = append(c.off, s)
		}
	}
	for s := range one.fresh {
		c.on = append(c.on, s)
	}
	return one.change(ctx, c)
}

// apply does what an event says.
func (one *list) apply(ctx context.Context, c change) {
	one.mu.Lock()
	defer one.mu.Unlock()
	if c.all {
		clear(one.fresh)
		for s := range one.items {
			c.off = append(c.off, s)
		}
	}
	if one.fresh != nil {
		for _, s := range c.off {
			delete(one.fresh, s)
			one.retracted[s] = struct{}{}
		}
		for _, s := range c.on {
			delete(one.retracted, s)
			if len(one.fresh) < mostEntries {
				one.fresh[s] = struct{}{}
			}
		}
	}
	if err := one.change(ctx, c); err != nil {
		one.l.o.Log.Warn("what a block list says is not stored", "list", one.source, "error", err)
	}
	if c.ended {
		select {
		case one.again <- struct{}{}:
		default:
		}
	}
}

// change takes entries off a list and puts others on it. The caller holds mu. What cannot be stored holds until the
// server ends.
func (one *list) change(ctx context.Context, c change) error {
	l, before := one.l, len(one.items)
	var changes []storage.Change
	l.mu.Lock()
	for _, s := range c.off {
		if one.has(s) {
			delete(one.items, s)
			changes = append(changes, storage.Change{Key: one.source.key(s), Delete: true})
		}
	}
	over := false
	for _, s := range c.on {
		if one.has(s) {
			continue
		}
		if len(one.items) >= mostEntries {
			over = true
			break
		}
		one.items[s] = struct{}{}
		changes = append(changes, storage.Change{Key: one.source.key(s), Value: []byte{entryVersion}})
	}
	l.entries.Add(int64(len(one.items) - before))
	l.mu.Unlock()
	if over && !one.full {
		l.o.Log.Warn("a block list is too long; the rest of it is not taken", "list", one.source, "entries", mostEntries)
	}
	one.full = over
	return l.store(ctx, changes)
}

// request is what is asked of a service about a node, with more behind it.
func request(verb, node string, subscriber jid.JID, more []byte) []byte {
	w := xmpp.NewWriter(nil).Start(xmpp.NSPubSub, "pubsub").Start("", verb).Attr("node", node)
	if !subscriber.IsZero() {
		w.Attr("jid", subscriber.String())
	}
	w.End()
	if more != nil {
		w.Raw(more)
	}
	return w.End().Bytes()
}

// A question waits for its answer.
type question struct {
	of     jid.JID
	answer chan *xmpp.Stanza // has room for it
}

// ask asks a service and returns the <pubsub/> of its answer, an empty one if there is none.
func (l *Lists) ask(ctx context.Context, of jid.JID, typ xmpp.Type, payload []byte) (*xmpp.Element, error) {
	id, q := rand.Text(), question{of, make(chan *xmpp.Stanza, 1)}
	l.mu.Lock()
	l.asked[id] = q
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.asked, id)
		l.mu.Unlock()
	}()
	e := &router.Envelope{Quiet: true, Stanza: &xmpp.Stanza{Kind: xmpp.IQ, Type: typ, ID: id, From: *l.address.Load(),
		To: of, Payload: payload}}
	l.o.Router.Route(e)
	if e.Outcome == router.Refused && e.Err != nil {
		return nil, e.Err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the service does not answer"))
	defer cancel()
	select {
	case s := <-q.answer:
		if s.Type == xmpp.TypeError {
			return nil, s.Err()
		}
		if el := s.Child(xmpp.Name{Space: xmpp.NSPubSub, Local: "pubsub"}); el != nil {
			return el, nil
		}
		return &xmpp.Element{Name: xmpp.Name{Space: xmpp.NSPubSub, Local: "pubsub"}}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// answered takes the answers to questions. One that comes from elsewhere, or that nobody waits for, is dropped.
func (l *Lists) answered(e *router.Envelope) {
	s := e.Stanza
	if !s.IsAnswer() || !l.own(s.To) {
		return
	}
	e.Settle(router.Dropped)
	l.mu.RLock()
	q, asked := l.asked[s.ID]
	l.mu.RUnlock()
	if !asked || q.of != s.From {
		return
	}
	own := s.Clone()
	select {
	case q.answer <- &own:
	default:
	}
}
