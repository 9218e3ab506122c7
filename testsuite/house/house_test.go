package house

import (
	"strings"
	"testing"
)

func TestTheHouseKeepsItsRules(t *testing.T) {
	files, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found %d files only; the root is elsewhere", len(files))
	}
	for _, problem := range Check(files) {
		t.Error(problem)
	}
}

// Each sample breaks one rule, and no other.
var samples = []struct{ rule, path, source, want string }{
	{"imports go down only", "xmpp/a.go", "package xmpp\nimport \"jackdaw/router\"\n",
		"xmpp/a.go:2: xmpp must not import router"},
	{"imports go down only", "router/a.go", "package router\nimport \"jackdaw/storage/embedded\"\n",
		"router must not import storage/embedded"},
	{"imports go down only", "router/accounts/a.go", "package accounts\nimport \"jackdaw/c2s\"\n",
		"router/accounts must not import c2s"},
	{"imports go down only", "modules/a/a.go", "package a\nimport \"jackdaw/modules/b\"\n",
		"modules/a must not import modules/b"},
	{"imports go down only", "modules/a/a_test.go", "package a\nimport \"jackdaw/modules/b\"\n",
		"modules/a must not import modules/b"},
	{"imports go down only", "modules/internal/p/p.go", "package p\nimport \"jackdaw/modules/b\"\n",
		"modules/internal/p must not import modules/b"},
	{"imports go down only", "modules/a/a.go", "package a\nimport \"jackdaw/modules\"\n",
		"modules/a must not import modules"},
	{"imports go down only", "c2s/a.go", "package c2s\nimport \"jackdaw/modules/roster\"\n",
		"c2s must not import modules/roster"},
	{"imports go down only", "wire/a.go", "package wire\nimport \"jackdaw/router\"\n",
		"wire must not import router"},
	{"imports go down only", "router/gate/a.go", "package gate\nimport \"jackdaw/wire\"\n",
		"router/gate must not import wire"},
	{"imports go down only", "storage/redis/a.go", "package redis\nimport \"jackdaw/storage/embedded\"\n",
		"storage/redis must not import storage/embedded"},
	{"imports go down only", "storage/a.go", "package storage\nimport \"jackdaw/config\"\n",
		"storage must not import config"},
	{"imports go down only", "cmd/jackdaw/a.go", "package main\nimport \"jackdaw/testsuite\"\n",
		"cmd/jackdaw must not import testsuite"},
	{"imports go down only", "server/a_test.go", "package server\nimport \"jackdaw/testsuite/drive\"\n",
		"server must not import testsuite/drive"},
	{"imports go down only", "attic/a.go", "package attic\nimport \"jackdaw/xmpp\"\n",
		"attic must not import xmpp"},
	{"a file is read to its end", "xmpp/a.go", "package xmpp\n" + strings.Repeat("\n", 800),
		"xmpp/a.go: 801 lines; 800 at most"},
	{"nothing runs by being imported", "xmpp/a.go", "package xmpp\nfunc init() {}\n", "xmpp/a.go:2: func init"},
	{"a package is named by what it does", "xmpp/util/a.go", "package util\n", "package util in xmpp/util"},
	{"a package is named by what it does", "xmpp/helpers/a_test.go", "package helpers_test\n", "package helpers in"},
	{"XML is read by xmpp/stream", "xmpp/a.go", "package xmpp\nimport \"encoding/xml\"\nvar _ xml.Name\n",
		"xmpp/a.go:2: encoding/xml"},
	{"no test is skipped", "xmpp/a_test.go",
		"package xmpp\nimport \"testing\"\nfunc TestA(t *testing.T) { t.Skip() }\n", "xmpp/a_test.go:3: Skip"},
	{"no test is skipped", "xmpp/a_test.go",
		"package xmpp\nimport \"testing\"\nfunc TestA(t *testing.T) { t.Skipf(\"%d\", 1) }\n", "Skipf"},
	{"no test sleeps", "xmpp/a_test.go",
		"package xmpp\nimport \"time\"\nfunc wait() { time.Sleep(1) }\n", "xmpp/a_test.go:3: Sleep"},
	{"no test sleeps", "testsuite/drive/a.go",
		"package drive\nimport \"time\"\nfunc wait() { time.Sleep(1) }\n", "testsuite/drive/a.go:3: Sleep"},
	{"panic is for mistakes of the program, at start", "router/a.go",
		"package router\nfunc Route() { panic(1) }\n", "router/a.go:2: panic in Route"},
	{"what is not done is not announced", "router/a.go",
		"package router\n// TODO: later\nfunc Route() {}\n", "router/a.go:2: TODO"},
	{"what came in stays as it came", "modules/a/a.go",
		"package a\nfunc handle(e *router.Envelope) { e.Quiet = true }\n", "modules/a/a.go:2: assigns to e.Quiet"},
}

func TestEveryRuleCatchesItsBadSample(t *testing.T) {
	caught := map[string]bool{}
	for _, s := range samples {
		f, err := Parse(s.path, []byte(s.source))
		if err != nil {
			t.Fatal(err)
		}
		found := Check([]*File{f})
		if len(found) != 1 || !strings.Contains(found[0], s.want) || !strings.HasSuffix(found[0], "("+s.rule+")") {
			t.Errorf("%s: found %q, want one with %q", s.rule, found, s.want)
		}
		caught[s.rule] = true
	}
	for _, r := range Rules {
		if !caught[r.Name] {
			t.Errorf("rule %q has no bad sample", r.Name)
		}
	}
}

func TestGoodFilesPass(t *testing.T) {
	for _, s := range []struct{ path, source string }{
		{"cmd/jackdaw/a.go", "package main\nimport _ \"jackdaw/server\"\nimport _ \"jackdaw/storage/embedded\"\n"},
		{"server/a.go", "package server\nimport _ \"jackdaw/c2s\"\nimport _ \"jackdaw/modules\"\nimport _ \"jackdaw/storage/redis\"\n"},
		{"c2s/a.go", "package c2s\nimport _ \"jackdaw/wire\"\nimport _ \"jackdaw/router\"\n"},
		{"wire/a.go", "package wire\nimport _ \"jackdaw/router/gate\"\nimport _ \"jackdaw/xmpp/stream\"\n"},
		{"modules/modules.go", "package modules\nimport _ \"jackdaw/modules/roster\"\nimport _ \"jackdaw/router\"\n"},
		{"modules/modules_test.go", "package modules\nimport _ \"jackdaw/modules/internal/moduletest\"\n"},
		{"modules/pep/a.go", "package pep\nimport _ \"jackdaw/modules/internal/pubsub\"\n"},
		{"router/a.go", "package router\nimport _ \"jackdaw/router/accounts\"\nimport _ \"jackdaw/storage\"\n"},
		{"router/a_test.go", "package router\nimport _ \"jackdaw/storage/storetest\"\n"},
		{"storage/embedded/a.go", "package embedded\nimport _ \"jackdaw/storage\"\n"},
		{"storage/embedded/a_test.go", "package embedded\nimport _ \"jackdaw/storage/storetest\"\n"},
		{"testsuite/kill/a.go", "package kill\nimport _ \"jackdaw/testsuite/drive\"\nimport _ \"encoding/xml\"\n"},
		{"modules/a/a.go", "package a\nfunc anew(e *router.Envelope) { e.Reset(); e.Quiet = true }\nfunc read(e *router.Envelope) { q := e.Quiet; _ = q }\n"},
		{"xmpp/jid/a.go", "package jid\nfunc MustParse() { panic(1) }\n// Take panics on a wrong index.\nfunc Take() { panic(1) }\n"},
		{"xmpp/a_test.go", "package xmpp\nfunc TestA(t *testing.T) { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }\n"},
		{"xmpp/a.go", "package xmpp\ntype T struct{}\nfunc (T) init() {}\nfunc (T) Skip() {}\nfunc use(x T) { x.Skip() }\n"},
	} {
		f, err := Parse(s.path, []byte(s.source))
		if err != nil {
			t.Fatal(err)
		}
		if found := Check([]*File{f}); len(found) != 0 {
			t.Errorf("%s: %q", s.path, found)
		}
	}
}
