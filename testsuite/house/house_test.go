package house

import (
	"flag"
	"os"
	"slices"
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
	docs, err := ReadDocuments("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range append(Check(files, docs), docs.Check()...) {
		t.Error(problem)
	}
}

// samples break one rule each, and no other.
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
	{"imports go down only", "modules/a/b/b.go", "package b\nimport \"jackdaw/router\"\n",
		"modules/a/b must not import router"},
	{"imports go down only", "modules/a/b/b_test.go", "package b\nimport \"jackdaw/modules/c\"\n",
		"modules/a/b must not import modules/c"},
	{"imports go down only", "modules/a/b/b.go", "package b\nimport \"jackdaw/storage\"\n",
		"modules/a/b must not import storage"},
	{"imports go down only", "server/a.go", "package server\nimport \"jackdaw/modules/a/b\"\n",
		"server must not import modules/a/b"},
	{"imports go down only", "modules/a/a.go", "package a\nimport \"jackdaw/admin\"\n",
		"modules/a must not import admin"},
	{"imports go down only", "admin/a.go", "package admin\nimport \"jackdaw/server\"\n",
		"admin must not import server"},
	{"imports go down only", "c2s/a.go", "package c2s\nimport \"jackdaw/modules/roster\"\n",
		"c2s must not import modules/roster"},
	{"imports go down only", "wire/a.go", "package wire\nimport \"jackdaw/router\"\n",
		"wire must not import router"},
	{"imports go down only", "router/gate/a.go", "package gate\nimport \"jackdaw/wire\"\n",
		"router/gate must not import wire"},
	{"imports go down only", "storage/redis/a.go", "package redis\nimport \"jackdaw/storage/embedded\"\n",
		"storage/redis must not import storage/embedded"},
	{"imports go down only", "cluster/a.go", "package cluster\nimport \"jackdaw/router\"\n",
		"cluster must not import router"},
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
	{"a line is read without moving the window", "xmpp/a.go", "package xmpp\n\n// " + strings.Repeat("ü", 118) + "\n",
		"xmpp/a.go:3: 121 columns; 120 at most"},
	{"a line is read without moving the window", "xmpp/a.go", "package xmpp\n\nvar a = \"" + strings.Repeat("a", 120) + "\"\n",
		"xmpp/a.go:3: 130 columns"},
	{"a line is read without moving the window", "xmpp/a_test.go", "package xmpp\n\nvar a = \"\" // " + strings.Repeat("a", 120) + "\n",
		"xmpp/a_test.go:3: 132 columns"},
	{"a comment starts with the name it documents", "xmpp/a.go", "// xmpp is words.\npackage xmpp\n", "xmpp/a.go:1: the comment of Package xmpp"},
	{"a comment starts with the name it documents", "cmd/jackdaw/a.go", "// Package main is a program.\npackage main\n",
		"cmd/jackdaw/a.go:1: the comment of Command jackdaw"},
	{"a comment starts with the name it documents", "xmpp/a.go", "package xmpp\n// Gives up.\nfunc give() {}\n",
		"xmpp/a.go:2: the comment of give starts with another word"},
	{"a comment starts with the name it documents", "xmpp/a.go", "package xmpp\n// Ending ends.\nfunc (t T) End() {}\ntype T struct{}\n", "the comment of End"},
	{"a comment starts with the name it documents", "xmpp/a.go", "package xmpp\n// Things.\ntype T struct{}\n", "the comment of T"},
	{"a comment starts with the name it documents", "xmpp/a.go", "package xmpp\n// Numbers.\nconst (\n\t// The first.\n\ta = 1\n)\n",
		"xmpp/a.go:4: the comment of a"},
	{"a comment starts with the name it documents", "xmpp/a_test.go", "package xmpp\n// Says it.\nfunc say() {}\n", "the comment of say"},
	{"what is cited is there", "xmpp/a.go", "package xmpp\n\n// a is told in docs/c.md.\nvar a int\n", "xmpp/a.go:3: docs/c.md is cited and not there"},
	{"what is cited is there", "xmpp/a.go", "package xmpp\n\nfunc a() {\n\t// a.md says so.\n}\n", "xmpp/a.go:4: a.md is cited"},
	{"what is cited is there", "xmpp/a.go", "package xmpp\n\nvar a int // docs/more/c.yaml\n", "docs/more/c.yaml is cited"},
	{"what is cited is there", "xmpp/a.go", "package xmpp\n\nvar a int // docs/a.md §2\n",
		"docs/a.md is cited for a section that it does not have: 2"},
	{"what is cited is there", "xmpp/a.go", "package xmpp\n\n// a is as in docs/a.md, \"Far\n// off\".\nvar a int\n", "does not have: Far off"},
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
		"package router\n// Route is to come. TODO: later\nfunc Route() {}\n", "router/a.go:2: TODO"},
	{"what came in stays as it came", "modules/a/a.go",
		"package a\nfunc handle(e *router.Envelope) { e.Quiet = true }\n", "modules/a/a.go:2: assigns to e.Quiet"},
}

// pages are what the samples can cite.
var pages = Documents{"docs/a.md": {Sections: []string{"A", "1. First", "Far away"}}, "docs/more/b.yaml": {}}

func TestEveryRuleCatchesItsBadSample(t *testing.T) {
	caught := map[string]bool{}
	for _, s := range samples {
		f, err := Parse(s.path, []byte(s.source))
		if err != nil {
			t.Fatal(err)
		}
		found := Check([]*File{f}, pages)
		if len(found) != 1 || !strings.Contains(found[0], s.want) || !strings.HasSuffix(found[0], "("+s.rule+")") {
			t.Errorf("%s: found %q, want one with %q", s.rule, found, s.want)
		}
		caught[s.rule] = true
	}
	for _, r := range Rules(pages) {
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
		{"xmpp/a.go", "// Package xmpp has words.\npackage xmpp\n// Give gives.\nfunc Give() {}\n// A T is one.\ntype T int\n"},
		{"xmpp/a.go", "package xmpp\n// Numbers.\nconst (\n\ta = 1\n\t// c and b are more.\n\tb, c = 2, 3\n)\n// COMPAT(x 1): why.\nvar a int\n"},
		{"xmpp/a_test.go", "// Package xmpp_test is outside.\npackage xmpp_test\n// Once it failed.\nfunc TestA(t *testing.T) {}\n"},
		{"xmpp/a.go", "package xmpp\n// " + strings.Repeat("ü", 117) + "\n\nvar a = `" + strings.Repeat("a", 200) + "\n" + strings.Repeat("b", 200) + "`\n"},
		{"xmpp/a_test.go", "package xmpp\nvar a = \"" + strings.Repeat("a", 200) + "\"\n"},
		{"xmpp/a.go", "package xmpp\n// See docs/a.md §1, and docs/a.md, \"Far\n// away\"; files are in docs/more, such as docs/more/b.yaml.\n"},
		{"xmpp/a_test.go", "package xmpp\nfunc TestA(t *testing.T) { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }\n"},
		{"xmpp/a.go", "package xmpp\ntype T struct{}\nfunc (T) init() {}\nfunc (T) Skip() {}\nfunc use(x T) { x.Skip() }\n"},
	} {
		f, err := Parse(s.path, []byte(s.source))
		if err != nil {
			t.Fatal(err)
		}
		if found := Check([]*File{f}, pages); len(found) != 0 {
			t.Errorf("%s: %q", s.path, found)
		}
	}
}

func TestPagesCiteWhatIsThere(t *testing.T) {
	docs := Documents{}
	docs.Add("README.md", "# A\n\nSee docs/a.md §1 and\n`docs/c.md`.\n")
	docs.Add("docs/a.md", "## 1. First\n\nSee b.md, \"Second\".\n")
	docs.Add("docs/b.md", "## First\n\nSee [a](a.md) and docs/a.md §1.\n")
	want := []string{"README.md: docs/c.md is cited and not there", "docs/a.md: b.md is cited for a section that it does not have: Second"}
	if found := docs.Check(); !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
}

var update = flag.Bool("update", false, "draw the imports in docs/ARCHITECTURE.md anew")

func TestTheDrawingOfImportsIsTrue(t *testing.T) {
	const name = "../../docs/ARCHITECTURE.md"
	files, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), "<!-- imports -->\n\n")
	drawn, after, ok2 := strings.Cut(rest, "\n<!-- end -->")
	if !ok || !ok2 {
		t.Fatal("docs/ARCHITECTURE.md has no place for the drawing")
	}
	want := Drawing(files)
	if drawn == want {
		return
	}
	if !*update {
		t.Fatal("the drawing in docs/ARCHITECTURE.md is not what is imported: run go test ./testsuite/house -update")
	}
	text := before + "<!-- imports -->\n\n" + want + "\n<!-- end -->" + after
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDrawingShowsWhoImportsWhom(t *testing.T) {
	var files []*File
	for name, source := range map[string]string{
		"cmd/jackdaw/a.go":          "package main\nimport _ \"jackdaw/server\"\nimport _ \"fmt\"\n",
		"server/a.go":               "package server\nimport _ \"jackdaw/modules/ping\"\nimport _ \"jackdaw/xmpp/jid\"\nimport _ \"jackdaw/router\"\n",
		"server/a_test.go":          "package server\nimport _ \"jackdaw/storage/storetest\"\n",
		"modules/ping/a.go":         "package ping\nimport _ \"jackdaw/modules/internal/forms\"\n",
		"modules/muc/a.go":          "package muc\nimport _ \"jackdaw/modules/muc/room\"\n",
		"modules/muc/room/a.go":     "package room\nimport _ \"jackdaw/xmpp\"\n",
		"modules/internal/mam/a.go": "package mam\nimport _ \"jackdaw/modules/internal/forms\"\n",
		"testsuite/kill/a.go":       "package kill\nimport _ \"jackdaw/server\"\n",
	} {
		f, err := Parse(name, []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	const want = "    cmd/jackdaw       → server\n    server            → modules/NAME router xmpp\n" +
		"    modules/NAME      → modules/internal modules/NAME/PART\n    modules/internal\n" +
		"    modules/NAME/PART → xmpp\n"
	if got := Drawing(files); got != want {
		t.Errorf("drawn\n%swant\n%s", got, want)
	}
}
