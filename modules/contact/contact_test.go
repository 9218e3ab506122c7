package contact_test

import (
	"testing"

	"jackdaw/config"
	"jackdaw/modules/contact"
	"jackdaw/modules/internal/moduletest"
)

func TestFormListsTheRolesThatHaveAddresses(t *testing.T) {
	form := contact.Form(&config.Contact{
		Abuse:   []string{"mailto:abuse@example.org", "xmpp:abuse@example.org"},
		Support: []string{"https://example.org/?a=1&b=2"},
	}, "")
	moduletest.Same(t, string(form.Append(nil)), `<x xmlns='jabber:x:data' type='result'>
		<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/network/serverinfo</value></field>
		<field var='abuse-addresses' type='list-multi'><value>mailto:abuse@example.org</value><value>xmpp:abuse@example.org</value></field>
		<field var='support-addresses' type='list-multi'><value>https://example.org/?a=1&amp;b=2</value></field></x>`)
}

func TestEveryRoleOfTheConfigurationIsShown(t *testing.T) {
	one := []string{"xmpp:a@example.org"}
	form := contact.Form(&config.Contact{Abuse: one, Admin: one, Feedback: one, Sales: one, Security: one,
		Status: one, Support: one}, "")
	if n := len(form.Children()); n != 8 {
		t.Errorf("%d fields, want FORM_TYPE and one for each of seven roles", n)
	}
}

func TestClientsAreToldWhereToReadOfOutages(t *testing.T) {
	form := contact.OutageForm([]string{"https://a.example/o.json", "https://b.example/?a=1&b=2"})
	moduletest.Same(t, string(form.Append(nil)), `<x xmlns='jabber:x:data' type='result'>
		<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:sos:0</value></field>
		<field var='external-status-addresses' type='list-multi'><value>https://a.example/o.json</value><value>https://b.example/?a=1&amp;b=2</value></field></x>`)
	if f := contact.OutageForm(nil); f != nil {
		t.Errorf("a form without addresses: %s", f.Append(nil))
	}
}

func TestNoAddressesMakeNoForm(t *testing.T) {
	if f := contact.Form(&config.Contact{}, ""); f != nil {
		t.Errorf("a form without addresses: %s", f.Append(nil))
	}
	if f := contact.Form(nil, ""); f != nil {
		t.Errorf("a form of an unknown host: %s", f.Append(nil))
	}
}

func TestTheFormSaysWhereAHostPublishesMore(t *testing.T) {
	form := contact.Form(&config.Contact{}, "xmpp:pubsub.example.org?;node=serverinfo")
	moduletest.Same(t, string(form.Append(nil)), `<x xmlns='jabber:x:data' type='result'>
		<field type='hidden' var='FORM_TYPE'><value>http://jabber.org/network/serverinfo</value></field>
		<field type='text-single' var='serverinfo-pubsub-node'><value>xmpp:pubsub.example.org?;node=serverinfo</value></field></x>`)
}
