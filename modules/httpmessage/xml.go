package httpmessage

import (
	"bytes"
	"errors"
	"slices"
	"strconv"

	"jackdaw/xmpp"
	"jackdaw/xmpp/jid"
	"jackdaw/xmpp/stream"
)

const (
	textRoot = "the payload must be an XMPP message element."
	textXML  = "XML parsing failed: "
)

// parse reads the body into p.stanza.
func (p *post) parse() *refusal {
	if p.isJSON {
		return p.parseJSON()
	}
	return p.parseXML(p.body)
}

// parseXML reads one message.
func (p *post) parseXML(b []byte) *refusal {
	st, err := stream.ParseStanza(b, p.set.Stanza)
	if err != nil {
		var x *refusal
		if st, x = p.parseAgain(b, err); st == nil {
			return x
		}
	}
	if st.Kind != xmpp.Message {
		return badRequest(textRoot)
	}
	p.stanza = *st
	return nil
}

// parseAgain looks closer at what the scanner refused. With a stanza it is all right; with
// neither stanza nor refusal the head has been read and says enough.
func (p *post) parseAgain(b []byte, err error) (*xmpp.Stanza, *refusal) {
	var bad *stream.SyntaxError
	switch {
	case errors.Is(err, stream.ErrNotStanza):
		return nil, badRequest(textRoot)
	case errors.As(err, &bad) && bad.Condition == stream.ImproperAddressing:
		head, ok := rootOf(b)
		if !ok {
			break
		}
		if p.api != direct { // the gateway does not look at the sender
			head.Attrs = slices.DeleteFunc(head.Attrs, func(a xmpp.Attr) bool { return a.Name == xmpp.Name{Local: "from"} })
			if st, err := stream.ParseStanza(head.Append(nil), p.set.Stanza); err == nil {
				return st, nil
			}
		}
		return nil, p.badAddress(head)
	case errors.As(err, &bad) && bad.Condition == stream.PolicyViolation:
		// The addresses of a large multicast are more elements than a message may have.
		limits := p.set.Stanza
		limits.Elements += p.set.MaxRecipients + 1
		wide, again := stream.ParseStanza(b, limits)
		if again == nil && p.isMulticast(wide.To) {
			if _, again = stream.ParseContent(wide.WithoutFunc(isAddresses), p.set.Stanza); again == nil {
				return wide, nil
			}
		}
	}
	return nil, badRequest(textXML + err.Error() + ".")
}

// rootOf reads a document that the scanner found well-formed, as a tree.
func rootOf(b []byte) (*xmpp.Element, bool) {
	b = bytes.TrimSpace(bytes.TrimPrefix(b, []byte("\xEF\xBB\xBF")))
	if bytes.HasPrefix(b, []byte("<?")) {
		_, b, _ = bytes.Cut(b, []byte("?>"))
	}
	e, err := xmpp.ParseElement(bytes.TrimSpace(b))
	return e, err == nil && xmpp.KindOf(e.Name.Local) != 0
}

// badAddress goes on with a message whose 'to' or 'from' is no address, so that
// the checks answer in their order.
func (p *post) badAddress(head *xmpp.Element) *refusal {
	if head.Name.Local != xmpp.Message.String() {
		return badRequest(textRoot)
	}
	p.stanza = xmpp.Stanza{Kind: xmpp.Message}
	if from := head.Attr("from"); from != "" {
		j, err := jid.Parse(from)
		if err != nil {
			return badRequest("'from' is " + quoted(from) + ", which is not an address: " + err.Error() + ".")
		}
		p.stanza.From = j
	}
	to := head.Attr("to")
	if _, err := jid.Parse(to); err == nil { // then it is the sender, and the message must not go on without its payload
		return badRequest("'from' is " + quoted(head.Attr("from")) + ", which is not an address.")
	}
	p.badTo = to // said in its turn
	return nil
}

// isAddresses finds the list of a multicast, in its namespace (XEP-0033 §3) or in none.
func isAddresses(c xmpp.Child, _ []byte) bool {
	return c.Name.Local == "addresses" && (c.Name.Space == xmpp.NSClient || c.Name.Space == xmpp.NSAddress)
}

// isMulticast says that the address is not a recipient but stands for a list of them.
func (p *post) isMulticast(to jid.JID) bool {
	const name = "multicast"
	d := to.Domain()
	if !to.IsDomain() || len(d) < len(name) || d[:len(name)] != name {
		return false
	}
	rest := d[len(name):]
	return rest == "" || rest[0] == '.' && p.s.o.Router.Serves(rest[1:])
}

const textMulticast = "multicast requires addresses; see XEP-0033. This module treats all addresses as BCC."

// listing reads the list of a multicast and takes it out of the payload.
func (p *post) listing() ([]string, *refusal) {
	var list []byte
	n := 0
	rest := p.stanza.WithoutFunc(func(c xmpp.Child, raw []byte) bool {
		if !isAddresses(c, raw) {
			return false
		}
		n++
		list = raw
		return true
	})
	if n > 1 {
		return nil, badRequest("there is more than one <addresses/>.")
	}
	p.setPayload(rest)
	if p.hasList { // what stands in the payload as well goes nowhere
		return p.list, nil
	}
	if n == 0 {
		return nil, badRequest(textMulticast)
	}
	e, err := xmpp.ParseElement(list)
	if err != nil { // not for what the scanner has seen
		return nil, badRequest(textXML + err.Error() + ".")
	}
	var all []string
	var offending offenders
	for i, a := range e.Children() {
		at := "address " + strconv.Itoa(i+1)
		switch kind := a.Attr("type"); {
		case a.Name.Local != "address" || a.Name.Space != xmpp.NSAddress && a.Name.Space != xmpp.NSClient:
			offending.add("element " + strconv.Itoa(i+1) + " of <addresses/> is not an <address/>")
		case a.Attr("jid") == "":
			offending.add(at + " has no jid")
		case kind != "" && kind != "to" && kind != "cc" && kind != "bcc", a.HasAttr("delivered"):
			// XEP-0033 §4: these name others than those who are to get it.
			offending.add(at + ", " + quoted(a.Attr("jid")) + ", is not one to deliver to")
		default:
			all = append(all, a.Attr("jid"))
		}
	}
	return all, offending.refusal()
}

// setPayload replaces the payload, with its index, which many copies will use.
func (p *post) setPayload(b []byte) {
	p.stanza.Payload, p.stanza.Children = b, xmpp.Index(b)
}

// offenders collects what is wrong with addresses, for one line.
type offenders struct {
	text []byte
	n    int
}

func (o *offenders) add(what string) {
	if o.n++; o.n > listed {
		return
	}
	if o.n > 1 {
		o.text = append(o.text, "; "...)
	}
	o.text = append(o.text, what...)
}

func (o *offenders) refusal() *refusal {
	if o.n == 0 {
		return nil
	}
	if o.n > listed {
		o.text = append(o.text, "; and "...)
		o.text = strconv.AppendInt(o.text, int64(o.n-listed), 10)
		o.text = append(o.text, " more"...)
	}
	return badRequest(string(o.text) + ".")
}

// address finds the recipients.
func (p *post) address() *refusal {
	p.recipients = p.recipients[:0]
	if !p.hasList && !p.isMulticast(p.stanza.To) {
		switch {
		case p.badTo != "":
			return badRequest("'to' is " + quoted(p.badTo) + ", which is not an address.")
		case p.stanza.To.IsZero():
			return badRequest("the message has no recipient: 'to' is missing.")
		}
		p.recipients = append(p.recipients, recipient{to: p.stanza.To})
		return nil
	}
	if p.rights == nil || !p.rights.Has("multicast") {
		return forbidden("the authenticated user does not have permission to multicast.")
	}
	list, x := p.listing()
	if x != nil {
		return x
	}
	return p.recipientsOf(list)
}

// recipientsOf normalises a list and leaves out what comes again.
func (p *post) recipientsOf(list []string) *refusal {
	if len(list) == 0 {
		return badRequest(textMulticast)
	}
	seen := make(map[jid.JID]struct{}, len(list))
	var offending offenders
	for i, one := range list {
		j, err := jid.Parse(one)
		if err != nil {
			offending.add("address " + strconv.Itoa(i+1) + ", " + quoted(one) + ", is not valid: " + err.Error())
			continue
		}
		if _, again := seen[j]; again {
			continue
		}
		seen[j] = struct{}{}
		if len(seen) > p.set.MaxRecipients {
			offending.add(quoted(one) + " and what follows are more than the " + strconv.Itoa(p.set.MaxRecipients) + " recipients that are allowed")
			break
		}
		p.recipients = append(p.recipients, recipient{to: j})
	}
	return offending.refusal()
}
