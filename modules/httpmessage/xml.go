package httpmessage

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"

	"jackdaw/modules/internal/addresses"
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
	switch {
	case p.media == mediaJSON:
		return p.take(readForm(p.body))
	case p.isForm():
		return p.parseForm()
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

// parseAgain looks closer at what the scanner refused. With a stanza it is all right; with neither stanza nor refusal
// the head has been read and says enough.
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
			rest := wide.WithoutFunc(func(c xmpp.Child, _ []byte) bool { return addresses.IsList(c) })
			if _, again = stream.ParseContent(rest, p.set.Stanza); again == nil {
				return wide, nil
			}
		}
	}
	text := textXML + err.Error() + "."
	if start(b) == '{' {
		text += " JSON needs the header Content-Type: application/json."
	}
	return nil, badRequest(text)
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

// badAddress goes on with a message whose 'to' or 'from' is no address, so that the checks answer in their order.
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

// isMulticast says that the address is not a recipient but stands for a list of them.
func (p *post) isMulticast(to jid.JID) bool {
	const name = addresses.Name
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
	list, rest, err := addresses.Take(&p.stanza)
	if errors.Is(err, addresses.ErrTwice) {
		return nil, badRequest(err.Error() + ".")
	}
	if err != nil { // not for what the scanner has seen
		return nil, badRequest(textXML + err.Error() + ".")
	}
	p.setPayload(rest)
	if p.hasList { // what stands in the payload as well goes nowhere
		return p.list, nil
	}
	if list == nil {
		return nil, badRequest(textMulticast)
	}
	bad := addresses.Offenders{Most: listed}
	all := addresses.All(list, &bad)
	return all, offending(&bad)
}

func offending(bad *addresses.Offenders) *refusal {
	if bad.None() {
		return nil
	}
	return badRequest(bad.String() + ".")
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
		if full, known := p.completed(p.stanza.To.String()); !known {
			return badRequest("'to' is " + quoted(p.stanza.To.String()) + ", which has no domain.")
		} else if p.stanza.To.IsDomain() {
			j, err := jid.Parse(full)
			if err != nil {
				return badRequest("'to' is " + quoted(full) + ", which is not an address: " + err.Error() + ".")
			}
			p.stanza.To = j
		}
		p.recipients = append(p.recipients, recipient{to: p.stanza.To})
		return nil
	}
	if x := p.many(); x != nil {
		return x
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
	bad := addresses.Offenders{Most: listed}
	for i, one := range list {
		full, known := p.completed(one)
		if !known {
			bad.Add("address " + strconv.Itoa(i+1) + ", " + quoted(one) + ", has no domain")
			continue
		}
		list[i] = full
	}
	all, _ := addresses.Normalise(list, p.set.MaxRecipients, &bad)
	for _, j := range all {
		p.recipients = append(p.recipients, recipient{to: j})
	}
	return offending(&bad)
}

// completed is a word alone with the domain that completes a user name, too, unless it is a domain itself; known is
// false if there is none that does.
func (p *post) completed(word string) (full string, known bool) {
	if strings.ContainsAny(word, "@/.:") || word == addresses.Name {
		return word, true
	}
	if j, err := jid.Parse(word); err != nil || !p.leadsNowhere(j) {
		return word, true
	}
	_, domain := p.domains()
	return word + "@" + domain, domain != ""
}

// leadsNowhere says whether an address is at a domain without a dot that nobody serves. No peer can be found by it.
func (d *delivery) leadsNowhere(j jid.JID) bool {
	domain := j.Domain()
	if strings.IndexByte(domain, '.') >= 0 || strings.IndexByte(domain, ':') >= 0 || d.s.o.Router.Owns(domain) {
		return false
	}
	_, named := d.set.Resolve[domain]
	return !named
}
