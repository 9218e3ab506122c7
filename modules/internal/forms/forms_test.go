package forms

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"jackdaw/xmpp"
)

func parse(t *testing.T, in string) (*Form, *xmpp.Error) {
	t.Helper()
	el, err := xmpp.ParseElement([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	return Parse(el)
}

func TestFormIsReadAsItWasWritten(t *testing.T) {
	want := &Form{Kind: Ask, Type: "urn:x", Title: "A & B", Instructions: "Do < it", Fields: []Field{
		{Var: "a", Type: "text-single", Label: "An 'a'", Required: true, Values: []string{"<1>"}},
		{Var: "b", Type: "list-multi", Values: []string{"x", "y"}, Options: []Option{{"X", "x"}, {"", "y"}}},
		{Var: "c", Type: "boolean", Values: []string{"true"}},
	}}
	w := xmpp.NewWriter(nil)
	want.Write(w)
	got, bad := parse(t, string(w.Bytes()))
	if bad != nil {
		t.Fatal(bad)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if on, ok := got.Field("c").Bool(); !on || !ok {
		t.Error("true is not true")
	}
	if _, ok := got.Field("a").Bool(); ok {
		t.Error("<1> is a boolean")
	}
	if got.Field("a").Name() != "An 'a'" || got.Field("b").Name() != "b" {
		t.Error("a field is not called as it should be")
	}
	if b := got.Field("b"); !b.Offers([]string{"y", "x"}) || b.Offers([]string{"x", "z"}) || !b.Offers(nil) {
		t.Error("a list does not know what it offers")
	}
	if got.Field("d") != nil {
		t.Error("there is a field d")
	}
}

func TestAnOpenListSaysSo(t *testing.T) {
	w := xmpp.NewWriter(nil)
	(&Form{Kind: Ask, Fields: []Field{{Var: "ids", Type: "list-multi", Open: true}}}).Write(w)
	want := `<x xmlns='jabber:x:data' type='form'><field var='ids' type='list-multi'>` +
		`<validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:string'><open/></validate></field></x>`
	if got := string(w.Bytes()); got != want {
		t.Error(got)
	}
}

func TestFormsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, in := range []string{
		`<x xmlns='jabber:x:data'/>`,
		`<x xmlns='jabber:x:data' type='other'/>`,
		`<x xmlns='jabber:x:data' type='submit'><field var='a'/><field var='a'/></x>`,
		`<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'/><field var='FORM_TYPE'/></x>`,
	} {
		if _, bad := parse(t, in); bad == nil || bad.Condition != xmpp.CondBadRequest {
			t.Errorf("%s: %v", in, bad)
		}
	}
}
