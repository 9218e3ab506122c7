package httpmessage

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/modules/internal/posting"
	"jackdaw/router"
	"jackdaw/router/accounts"
	"jackdaw/router/budget"
	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
)

// drafted is a draft of andy, as a hook would make it.
func drafted(to ...string) posting.Draft {
	d := posting.Draft{Account: jid.MustParse("andy@" + host), By: "hook ops",
		Stanza: xmpp.Stanza{Kind: xmpp.Message, Type: xmpp.TypeChat, Payload: []byte("<body>down</body>")}}
	for _, one := range to {
		d.To = append(d.To, jid.MustParse(one))
	}
	return d
}

func TestADraftIsSentAsAPostIs(t *testing.T) {
	h := newHouse(t)
	bob := h.online("bob@" + host + "/phone")
	d := drafted("bob@"+host, "skel@"+host, "nobody@"+host, "bob@"+host)
	d.From = jid.MustParse("alerts@" + host)
	report, err := h.Post(t.Context(), d)
	must(t, err)
	want := []posting.Recipient{{To: d.To[0], Outcome: router.Delivered}, {To: d.To[1], Outcome: router.Stored},
		{To: d.To[2], Outcome: router.Refused, Reason: "service-unavailable"}}
	if !strings.HasPrefix(report.ID, "m-") || report.Replayed || !slices.Equal(report.Recipients, want) {
		t.Errorf("report %+v", report)
	}
	if got := bob.received(); len(got) != 1 {
		t.Fatalf("bob got %q", got)
	} else {
		moduletest.Same(t, got[0], `<message from='alerts@im.example.org' to='bob@im.example.org' type='chat'><body>down</body></message>`)
	}
	for _, one := range []string{"msg=post", "status=200", "account=andy@" + host, "sender=alerts@" + host, "id=" + report.ID,
		`by="hook ops"`, "delivered=bob@" + host, "stored=skel@" + host, "refused=nobody@" + host} {
		if !strings.Contains(h.log.String(), one) {
			t.Errorf("no %s in %s", one, h.log)
		}
	}
	if h.Stats.Recipients[router.Delivered].Load() != 1 || h.Stats.Answers[0].Load() != 0 {
		t.Errorf("counted %+v", &h.Stats)
	}
}

func TestADraftWithoutSenderIsTheAccounts(t *testing.T) {
	h := newHouse(t)
	d := drafted("bob@" + host)
	d.Account = jid.MustParse("skel@" + host)
	_, err := h.Post(t.Context(), d)
	must(t, err)
	moduletest.Same(t, h.stored("bob@" + host)[0], `<message from='skel@im.example.org' to='bob@im.example.org' type='chat'><body>down</body></message>`)
}

func TestADraftWithAKeyIsSentOnce(t *testing.T) {
	h := newHouse(t)
	d := drafted("bob@"+host, "nobody@"+host)
	d.Key = "hook/7"
	first, err := h.Post(t.Context(), d)
	must(t, err)
	h.open() // also after a restart
	again, err := h.Post(t.Context(), d)
	must(t, err)
	if !again.Replayed || again.ID != first.ID || !slices.Equal(again.Recipients, first.Recipients) {
		t.Errorf("first %+v, again %+v", first, again)
	}
	other := drafted("skel@" + host)
	other.Key = d.Key
	var refused *posting.Refusal
	if _, err := h.Post(t.Context(), other); !errors.As(err, &refused) || refused.Status != 422 {
		t.Errorf("another draft with the key: %v", err)
	}
	if got := h.stored("bob@" + host); len(got) != 1 || len(h.stored("skel@"+host)) != 0 {
		t.Errorf("bob has %q", got)
	}
}

func TestADraftIsRefusedAsAPostIs(t *testing.T) {
	h := newHouse(t)
	must(t, h.who.SetDisabled(t.Context(), jid.MustParse("juliet@"+host), true))
	for name, c := range map[string]struct {
		change func(d *posting.Draft)
		status int
		text   string
	}{
		"no account":     {func(d *posting.Draft) { d.Account = jid.JID{} }, 400, "Bad request: a draft is posted for an account."},
		"a resource":     {func(d *posting.Draft) { d.Account = jid.MustParse("andy@" + host + "/x") }, 400, ""},
		"gone":           {func(d *posting.Draft) { d.Account = jid.MustParse("gone@" + host) }, 403, (&delivery{}).mayNotUse().text},
		"disabled":       {func(d *posting.Draft) { d.Account = jid.MustParse("juliet@" + host) }, 403, (&delivery{}).mayNotUse().text},
		"no recipient":   {func(d *posting.Draft) { d.To = nil }, 400, "Bad request: the message has no recipient."},
		"zero recipient": {func(d *posting.Draft) { d.To = []jid.JID{{}} }, 400, "Bad request: address 1 is empty."},
		"forged": {func(d *posting.Draft) {
			d.Account, d.From = jid.MustParse("skel@"+host), jid.MustParse("bob@"+host)
		}, 403, "Forbidden: the authenticated user does not have permission to forge senders."},
		"many": {func(d *posting.Draft) {
			d.Account, d.To = jid.MustParse("skel@"+host), append(d.To, jid.MustParse("juliet@"+host))
		}, 403, "Forbidden: the authenticated user does not have permission to multicast."},
		"too many":   {func(d *posting.Draft) { d.To = append(d.To, crowd(DefaultMaxRecipients)...) }, 400, ""},
		"a long one": {func(d *posting.Draft) { d.Stanza.Payload = make([]byte, DefaultMaxBody+1) }, 413, ""},
		"no message": {func(d *posting.Draft) { d.Stanza.Kind = xmpp.IQ }, 400, "Bad request: " + textRoot},
		"a bad key":  {func(d *posting.Draft) { d.Key = "a b" }, 400, "Bad request: the key must be 1 to 255 visible characters."},
		"nowhere":    {func(d *posting.Draft) { d.To = []jid.JID{jid.MustParse("bob@nowhere")} }, 403, "Forbidden: the message may not go to bob@nowhere (remote-server-not-found)."},
		"nobody":     {func(d *posting.Draft) { d.To = []jid.JID{jid.MustParse("nobody@" + host)} }, 403, ""},
		"not allowed": {func(d *posting.Draft) {
			d.From, d.To = jid.MustParse("x@trac"), []jid.JID{jid.MustParse("x@example.net")}
		}, 403, ""},
	} {
		d := drafted("bob@" + host)
		c.change(&d)
		report, err := h.Post(t.Context(), d)
		var refused *posting.Refusal
		if !errors.As(err, &refused) || refused.Status != c.status || c.text != "" && refused.Error() != c.text {
			t.Errorf("%s: %v", name, err)
		}
		if report.ID != "" {
			t.Errorf("%s: report %+v", name, report)
		}
		if about := name == "nowhere" || name == "nobody" || name == "not allowed"; about != (len(refused.Recipients) == 1) {
			t.Errorf("%s: recipients %+v", name, refused.Recipients)
		}
	}
	h.nothingStored()
}

// crowd are so many addresses.
func crowd(n int) (all []jid.JID) {
	for i := range n {
		j, _ := jid.New(strings.Repeat("u", i%50+1)+strings.Repeat("v", i/50), host, "")
		all = append(all, j)
	}
	return all
}

func TestADraftIsPaidFromTheBudgetOfItsAccount(t *testing.T) {
	h := newHouse(t)
	h.o.Budgets = budget.New(func() budget.Rate { return budget.Rate{PerSecond: 10, Burst: 100} })
	d := drafted("bob@" + host)
	d.Stanza.Payload = []byte("<body>" + strings.Repeat("x", 1000) + "</body>")
	_, err := h.Post(t.Context(), d)
	must(t, err)
	var refused *posting.Refusal
	if _, err := h.Post(t.Context(), d); !errors.As(err, &refused) || refused.Status != 429 || refused.Retry == 0 {
		t.Errorf("the second: %v", err)
	}
	d.Source = accounts.Source{Exempt: true}
	if _, err := h.Post(t.Context(), d); err != nil {
		t.Errorf("from this machine: %v", err)
	}
}

func TestADraftThatCannotBeKeptIsNotAcknowledged(t *testing.T) {
	h := newHouse(t)
	h.engine.Store.Fail(errors.New("the disk is gone"))
	var refused *posting.Refusal
	_, err := h.Post(t.Context(), drafted("bob@"+host))
	if !errors.As(err, &refused) || refused.Status != 503 || refused.Retry == 0 {
		t.Errorf("got %v", err)
	}
}
