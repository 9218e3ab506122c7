package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"jackdaw/admin"
)

// A Client asks for the operations of a Control, wherever that runs. It is safe
// for concurrent use.
type Client struct {
	http    *http.Client
	close   func() error
	running bool
}

// Dial connects to the server that runs on the data directory. When none answers and
// open is not nil, it has open bring up a Control of this process (on the store
// itself), and close let go of it.
func Dial(ctx context.Context, data string,
	open func(context.Context) (c *Control, close func() error, err error)) (*Client, error) {
	conn, err := dialControl(ctx, data)
	switch {
	case err == nil:
		conn.Close() // the HTTP client makes its own
		dial := func(ctx context.Context) (net.Conn, error) { return dialControl(ctx, data) }
		return &Client{running: true, close: func() error { return nil }, http: httpClient(dial)}, nil
	case !errors.Is(err, errNoServer):
		return nil, err
	case open == nil:
		return nil, admin.ErrNotRunning
	}
	control, closeStore, err := open(ctx)
	if err != nil {
		return nil, err
	}
	l := newPipeListener()
	s := control.serve(l, func() {})
	return &Client{http: httpClient(l.dial), close: sync.OnceValue(func() error {
		return errors.Join(s.Close(), closeStore())
	})}, nil
}

func httpClient(dial func(context.Context) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxIdleConns:    1,
		IdleConnTimeout: time.Minute,
	}}
}

// Running says whether a server answers, not this process itself.
func (c *Client) Running() bool { return c.running }

// Close lets go of the server, or of the store.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return c.close()
}

func (c *Client) post(ctx context.Context, operation string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control/"+operation, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		resp.Body.Close()
		return nil, fmt.Errorf("ask the server: %s: %s (is it another version of jackdaw?)", resp.Status,
			bytes.TrimSpace(text))
	}
	return resp, nil
}

// ask posts in as JSON. The body of the answer is the caller's to close.
func ask[In any](ctx context.Context, c *Client, operation string, in In) (*http.Response, error) {
	b, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	return c.post(ctx, operation, bytes.NewReader(b))
}

// pieceSize is how many bytes of data go together in an answer that has lines of JSON and data behind them.
const pieceSize = 256 << 10

// next reads a line of such an answer.
func next[Piece any](r *bufio.Reader) (p Piece, err error) {
	line, err := r.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &p)
	}
	if err != nil {
		err = fmt.Errorf("read the server's answer: %w", noEOF(err))
	}
	return p, err
}

// noEOF tells an end that comes too early from one that is expected.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// call is one operation. An error that the operation returned has its text.
func call[Out, In any](ctx context.Context, c *Client, operation string, in In) (Out, error) {
	var out reply[Out]
	resp, err := ask(ctx, c, operation, in)
	if err != nil {
		return out.Result, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out.Result, fmt.Errorf("read the server's answer: %w", err)
	}
	if out.Error != "" {
		return out.Result, errors.New(out.Error)
	}
	return out.Result, nil
}

func do[In any](ctx context.Context, c *Client, operation string, in In) error {
	_, err := call[nothing](ctx, c, operation, in)
	return err
}

// AddUser creates an account of a domain that is served here.
func (c *Client) AddUser(ctx context.Context, user, password string) error {
	return do(ctx, c, "user.add", admin.Login{Name: user, Password: password})
}

// SetPassword replaces a password and ends the live sessions.
func (c *Client) SetPassword(ctx context.Context, user, password string) error {
	return do(ctx, c, "user.passwd", admin.Login{Name: user, Password: password})
}

// DeleteUser removes an account and all that is kept of it.
func (c *Client) DeleteUser(ctx context.Context, user string) error {
	return do(ctx, c, "user.del", name{user})
}

// Users lists the accounts of a domain, or all.
func (c *Client) Users(ctx context.Context, domain string) ([]admin.UserInfo, error) {
	return call[[]admin.UserInfo](ctx, c, "user.list", name{domain})
}

// User shows one account.
func (c *Client) User(ctx context.Context, user string) (admin.UserInfo, error) {
	return call[admin.UserInfo](ctx, c, "user.show", name{user})
}

// Disable keeps an account from logging in and ends its live sessions.
func (c *Client) Disable(ctx context.Context, user string) error {
	return do(ctx, c, "user.switch", switched{user, "off"})
}

// Enable lets the account log in again.
func (c *Client) Enable(ctx context.Context, user string) error {
	return do(ctx, c, "user.switch", switched{user, "on"})
}

// SetKeep says how long the messages of an account stay; see admin.Service.
func (c *Client) SetKeep(ctx context.Context, user, keep string) error {
	return do(ctx, c, "user.keep", switched{user, keep})
}

// Grant gives permissions.
func (c *Client) Grant(ctx context.Context, user string, list []string) error {
	return do(ctx, c, "user.grant", permissions{user, list})
}

// Revoke takes permissions back.
func (c *Client) Revoke(ctx context.Context, user string, list []string) error {
	return do(ctx, c, "user.revoke", permissions{user, list})
}

// AddAPIAccount creates an account of the gateway for some domains.
func (c *Client) AddAPIAccount(ctx context.Context, account, password string, domains []string) error {
	return do(ctx, c, "api-account.add", admin.Login{Name: account, Password: password, Domains: domains})
}

// DeleteAPIAccount removes an API account.
func (c *Client) DeleteAPIAccount(ctx context.Context, account string) error {
	return do(ctx, c, "api-account.del", name{account})
}

// APIAccounts lists all API accounts.
func (c *Client) APIAccounts(ctx context.Context) ([]admin.APIAccountInfo, error) {
	return call[[]admin.APIAccountInfo](ctx, c, "api-account.list", nothing{})
}

// Peers lists the streams of other servers and what waits for them. Without a running server the error has the text of
// admin.ErrNotRunning.
func (c *Client) Peers(ctx context.Context) (admin.PeersInfo, error) {
	return call[admin.PeersInfo](ctx, c, "peers", nothing{})
}

// Sessions lists the sessions of clients. Without a running server the error has the text of admin.ErrNotRunning.
func (c *Client) Sessions(ctx context.Context) ([]admin.SessionInfo, error) {
	return call[[]admin.SessionInfo](ctx, c, "sessions", nothing{})
}

// Kick ends the sessions of an account, or the one of a full address, and says how many.
func (c *Client) Kick(ctx context.Context, address string) (int, error) {
	return call[int](ctx, c, "sessions.kick", name{address})
}

// Reload has the server read its configuration and certificates again, and
// returns the warnings. Only with dropHost may a host go that has accounts or sessions.
func (c *Client) Reload(ctx context.Context, dropHost bool) ([]string, error) {
	return call[[]string](ctx, c, "reload", reloading{dropHost})
}

// batchSize is how many accounts go into one request.
const batchSize = 5000

// AddUsers creates many accounts and calls done with each outcome, in no promised
// order. The error says that the rest was not settled.
func (c *Client) AddUsers(ctx context.Context, list []admin.Login, done func(BatchOutcome)) error {
	for start := 0; start < len(list); start += batchSize {
		part := list[start:min(start+batchSize, len(list))]
		var body bytes.Buffer
		enc := json.NewEncoder(&body)
		for _, l := range part {
			if err := enc.Encode(l); err != nil {
				return err
			}
		}
		if err := c.batch(ctx, &body, len(part), func(o BatchOutcome) {
			o.Index += start
			done(o)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) batch(ctx context.Context, body io.Reader, n int, done func(BatchOutcome)) error {
	resp, err := c.post(ctx, "user.batch", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(bufio.NewReader(resp.Body))
	for range n {
		var o BatchOutcome
		if err := d.Decode(&o); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		if o.Index == wholeBatch {
			return errors.New(o.Error)
		}
		done(o)
	}
	return nil
}

// UserDevices lists the devices of an account.
func (c *Client) UserDevices(ctx context.Context, user string) ([]admin.DeviceInfo, error) {
	return call[[]admin.DeviceInfo](ctx, c, "user.devices", name{user})
}

// RevokeDevice takes the right to log in by token from a device of an account, and ends its sessions. knows says that
// it has shown the password, and can come back with it.
func (c *Client) RevokeDevice(ctx context.Context, user, device string) (knows bool, err error) {
	return call[bool](ctx, c, "user.devices.revoke", deviceOf{user, device})
}
