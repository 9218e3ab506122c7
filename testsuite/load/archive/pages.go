package main

import (
	"fmt"
	"strings"
	"time"

	"jackdaw/testsuite/harness"
	"jackdaw/testsuite/load/stage"
)

const contacts = 20

// measurePages fills a short and a long archive, each by talks with twenty contacts, and pages in both in turns.
func measurePages(s *stage.Stage, program string, short, long, pages int) (figures []figure) {
	users := []string{"short", "long"}
	for i := range contacts {
		users = append(users, fmt.Sprintf("contact%d", i))
	}
	server := serve(s, program, "0", users...)
	// The contacts take turns, as contacts do: a page of one is gathered from all over the archive.
	for range 10 {
		for owner, n := range map[string]int{"short": short, "long": long} {
			var talks [][2]string
			for i := range contacts {
				talks = append(talks, [2]string{fmt.Sprintf("contact%d", i), owner})
			}
			converge(s, server, owner, talks, n/10/contacts)
		}
	}
	s.Logf("archive: two archives are filled")
	var owners []*owner
	for _, name := range users[:2] {
		c := online(s, server, name)
		owners = append(owners, &owner{client: c, domain: server.Domain, middle: middle(s, c)})
	}
	for _, kind := range []struct{ what, fields, rsm string }{
		{"the newest page", "", "<max>50</max><before/>"},
		{"a page from the middle", "", "<max>50</max><after>MIDDLE</after>"},
		{"a page of one contact", field("with", "contact7@"+server.Domain), "<max>50</max><before/>"},
	} {
		times := make([][]float64, 2)
		for range pages {
			for i, o := range owners {
				took, got, err := o.page(kind.fields, strings.Replace(kind.rsm, "MIDDLE", o.middle, 1))
				if err != nil || got != 50 {
					s.Fatalf("%s: %d messages, %v", kind.what, got, err)
				}
				times[i] = append(times[i], took.Seconds()*1000)
			}
		}
		base, then := stage.Median(times[0]), stage.Median(times[1])
		figures = append(figures, figure{What: fmt.Sprintf("%s of 50, of %s messages beside %s", kind.what,
			stage.Thousands(float64(long)), stage.Thousands(float64(short))),
			Base: base, Then: then, Ratio: then / base, Bar: 2})
	}
	for _, o := range owners {
		o.client.Close()
	}
	server.Stop()
	return figures
}

// converge is fill for talks that have one recipient.
func converge(s *stage.Stage, server *harness.Server, to string, talks [][2]string, n int) {
	c := online(s, server, to)
	defer c.Conn.Close()
	heard := make(chan error, 1)
	go func() { heard <- count(c, n*len(talks)) }()
	for _, talk := range talks {
		from := online(s, server, talk[0])
		said := strings.Repeat(chat("f", to+"@"+server.Domain), n)
		if err := from.Send(said); err != nil {
			s.Fatal(err)
		}
		if _, err := from.Ask("end", "<iq type='get' id='end' to='"+server.Domain+"'><ping xmlns='urn:xmpp:ping'/></iq>"); err != nil {
			s.Fatal(err)
		}
		from.Conn.Close()
	}
	if err := <-heard; err != nil {
		s.Fatal(err)
	}
}

// An owner pages in the archive that is its own.
type owner struct {
	client *harness.Client
	domain string
	middle string // id of a message in the middle
	asked  int
}

func field(name, value string) string {
	return "<field var='" + name + "'><value>" + value + "</value></field>"
}

// page asks for one (XEP-0313 §4) and says how long it took until the last byte, and how many messages it has.
func (o *owner) page(fields, rsm string) (took time.Duration, messages int, err error) {
	o.asked++
	id := fmt.Sprintf("page-%d", o.asked)
	query := "<iq type='set' id='" + id + "'><query xmlns='urn:xmpp:mam:2' queryid='" + id + "'><x xmlns='jabber:x:data' type='submit'>" +
		"<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>" + fields + "</x>" +
		"<set xmlns='http://jabber.org/protocol/rsm'>" + rsm + "</set></query></iq>"
	began := time.Now()
	if err := o.client.Send(query); err != nil {
		return 0, 0, err
	}
	answer, err := o.client.Until(func(el string) bool {
		if strings.HasPrefix(el, "<message") && strings.Contains(el, "queryid='"+id+"'") {
			messages++
		}
		return strings.HasPrefix(el, "<iq") && harness.Attr(el, "id") == id
	})
	if took = time.Since(began); err == nil && harness.Attr(answer, "type") != "result" {
		err = fmt.Errorf("the answer is %s", answer)
	}
	return took, messages, err
}

// middle finds the message at the middle of the time that an archive spans (XEP-0313 §5).
func middle(s *stage.Stage, c *harness.Client) string {
	el, err := c.Ask("meta", "<iq type='get' id='meta'><metadata xmlns='urn:xmpp:mam:2'/></iq>")
	if err != nil {
		s.Fatal(err)
	}
	var at [2]time.Time
	for i, name := range []string{"<start ", "<end "} {
		_, after, _ := strings.Cut(el, name)
		if at[i], err = time.Parse(time.RFC3339Nano, harness.Attr("<x "+after, "timestamp")); err != nil {
			s.Fatalf("%s: %v", el, err)
		}
	}
	half := at[0].Add(at[1].Sub(at[0]) / 2).UTC().Format("2006-01-02T15:04:05.000000Z")
	if err := c.Send("<iq type='set' id='half'><query xmlns='urn:xmpp:mam:2' queryid='half'><x xmlns='jabber:x:data' type='submit'>" +
		"<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>" + field("start", half) + "</x>" +
		"<set xmlns='http://jabber.org/protocol/rsm'><max>1</max></set></query></iq>"); err != nil {
		s.Fatal(err)
	}
	el, err = c.Until(func(el string) bool { return strings.HasPrefix(el, "<iq") && harness.Attr(el, "id") == "half" })
	if err != nil {
		s.Fatal(err)
	}
	_, after, _ := strings.Cut(el, "<last>")
	id, _, found := strings.Cut(after, "</last>")
	if !found {
		s.Fatalf("no message after %s: %s", half, el)
	}
	return id
}
