package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"jackdaw/admin"
	"jackdaw/cluster"
	"jackdaw/cluster/link"
	"jackdaw/modules/announcements"
	"jackdaw/modules/bots"
	"jackdaw/modules/hooks"
	"jackdaw/modules/muc"
	"jackdaw/modules/upload"
	"jackdaw/router/accounts"
	"jackdaw/xmpp/jid"
)

// What one node asks of another for an administrator goes over streams of a kind of its own, which only nodes can open,
// to a server of its own. So nothing that comes in over HTTP can get there, whatever path it names.

// headerBy says for whom a node asks, as admin.By has it.
const headerBy = "Jackdaw-By"

const (
	askTime   = 30 * time.Second // for what another node is asked to do
	maxAnswer = 64 << 20         // bytes of an answer
)

// bySomebody is in the context of operations, with who asks.
type bySomebody struct{}

// by is who asks for an operation.
func by(ctx context.Context) admin.By {
	if who, ok := ctx.Value(bySomebody{}).(admin.By); ok {
		return who
	}
	return admin.Command
}

// ofNodes serves operations that other nodes ask for.
func ofNodes(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), carried{}, "")
		if who := r.Header.Get(headerBy); who != "" {
			ctx = context.WithValue(ctx, bySomebody{}, admin.By(who))
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// offices are the ways to what other nodes do for administrators. It implements admin.Elsewhere.
type offices struct {
	n    *nodes
	http *http.Client
}

func newOffices(n *nodes) *offices {
	return &offices{n, &http.Client{Transport: &http.Transport{IdleConnTimeout: time.Minute,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			node, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return n.links.Open(ctx, node, link.Control)
		}}}}
}

// errMoves is the answer of a node that is asked about what is at home elsewhere: nothing was done.
var errMoves = fmt.Errorf("it is at home nowhere for now: %w; try again in a moment", accounts.ErrUnavailable)

// Pass implements admin.Elsewhere. While the owner moves, nodes may not agree where it is.
func (o *offices) Pass(ctx context.Context, who admin.By, owner jid.JID, operation string, in, out any,
) (passed bool, err error) {
	bare := owner.Bare().String()
	moving, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		if o.n.settledHere(moving, bare, ctx.Value(carried{}) != nil) {
			return false, nil
		}
		err = errMoves
		home, ok := o.n.Home(cluster.SlotOf(bare))
		switch {
		case ctx.Value(carried{}) != nil:
			return true, fmt.Errorf("%s: %w", bare, err)
		case ok && home.Node != o.n.ID():
			if err = o.askInTime(ctx, who, home.Node, operation, in, out); !errors.Is(err, errMoves) {
				return true, err
			}
		}
		if !again(moving) {
			return true, fmt.Errorf("%s: %w", bare, errMoves)
		}
		o.n.Refresh(moving)
	}
}

// again waits a little, and says whether there is time left.
func again(ctx context.Context) bool {
	select {
	case <-time.After(settlePause):
		return true
	case <-ctx.Done():
		return false
	}
}

// askInTime is ask for what is done.
func (o *offices) askInTime(ctx context.Context, who admin.By, node, operation string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return o.ask(ctx, who, node, operation, in, out)
}

// ask has another node do something.
func (o *offices) ask(ctx context.Context, who admin.By, node, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+node+":0/"+operation, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set(headerBy, string(who))
	resp, err := o.http.Do(r)
	if err != nil {
		return fmt.Errorf("node %s does not answer: %w", node, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("node %s answers %s (is it another version of jackdaw?)", node, resp.Status)
	}
	var answer reply[json.RawMessage]
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return fmt.Errorf("read the answer of node %s: %w", node, err)
	}
	if out != nil && len(answer.Result) > 0 {
		if err := json.Unmarshal(answer.Result, out); err != nil {
			return fmt.Errorf("read the answer of node %s: %w", node, err)
		}
	}
	return told(answer.Error)
}

// known are the errors that faces of administrators tell apart.
var known = []error{errMoves, accounts.ErrUser, accounts.ErrNotFound, accounts.ErrExists, accounts.ErrPassword,
	accounts.ErrUnavailable, accounts.ErrNotWaiting, bots.ErrNone, hooks.ErrNoHook, muc.ErrNoRoom, upload.ErrNoFile,
	announcements.ErrNone, announcements.ErrText, announcements.ErrTooMany, announcements.ErrOff}

// A farError is one that another node has told of.
type farError struct {
	text string
	is   error
}

func (e *farError) Error() string { return e.text }
func (e *farError) Unwrap() error { return e.is }

// told makes an error of what another node has said of it.
func told(text string) error {
	if text == "" {
		return nil
	}
	for _, err := range known {
		if strings.Contains(text, err.Error()) {
			return &farError{text, err}
		}
	}
	return errors.New(text)
}

// Everywhere implements admin.Elsewhere.
func (o *offices) Everywhere(ctx context.Context, who admin.By, operation string, in any) (all []admin.Said) {
	answers := make(chan admin.Said)
	asked := 0
	for _, m := range o.n.node.Load().Members() {
		if m.ID == o.n.ID() {
			continue
		}
		asked++
		go func() {
			said := admin.Said{Node: m.ID}
			said.Err = o.ask(ctx, who, m.ID, operation, in, &said.Result)
			answers <- said
		}()
	}
	for range asked {
		all = append(all, <-answers)
	}
	return all
}

// Operations that nodes ask of each other.

type (
	names    admin.NamesRequest
	stopping admin.StopRequest
)

func (c *Control) roomsHere(_ context.Context, in name) ([]muc.Loaded, error) {
	return c.Admin.RoomsHere(in.Name)
}

func (c *Control) botsHere(ctx context.Context, _ nothing) ([]admin.BotInfo, error) {
	return c.Admin.BotsHere(ctx)
}

func (c *Control) sessionsHere(context.Context, nothing) ([]admin.SessionInfo, error) {
	return c.Admin.SessionsHere()
}

func (c *Control) sessionsOfHere(_ context.Context, in name) ([]admin.SessionInfo, error) {
	return c.Admin.SessionsOfHere(in.Name)
}

func (c *Control) countsHere(_ context.Context, in names) (map[string]int, error) {
	return c.Admin.CountsHere(in.Names), nil
}

func (c *Control) peersHere(context.Context, nothing) (admin.PeersInfo, error) {
	return c.Admin.PeersHere()
}

func (c *Control) tokensHere(ctx context.Context, _ nothing) ([]admin.TokenInfo, error) {
	return c.Admin.TokensHere(ctx, "")
}

func (c *Control) reloadHere(ctx context.Context, in reloading) ([]string, error) {
	return c.Admin.ReloadHere(by(ctx), in.DropHost)
}

func (c *Control) stopHere(ctx context.Context, in stopping) (nothing, error) {
	return nothing{}, c.Admin.StopHere(by(ctx), in.After)
}

func (c *Control) greetHere(_ context.Context, in name) (nothing, error) {
	if c.present != nil {
		c.present(in.Name)
	}
	return nothing{}, nil
}

// greet has all other nodes tell a component that has connected here who is at home there.
func (n *nodes) greet(component string) {
	ctx, cancel := context.WithTimeout(n.ctx, askTime)
	defer cancel()
	for _, said := range n.offices.Everywhere(ctx, admin.Command, "node.component", admin.NameRequest{Name: component}) {
		if said.Err != nil {
			n.o.Log.Warn("a component is not told who is at another node", "component", component, "node", said.Node,
				"error", said.Err)
		}
	}
}

func (c *Control) kickHere(ctx context.Context, in name) (int, error) {
	return c.Admin.KickHere(by(ctx), in.Name)
}
