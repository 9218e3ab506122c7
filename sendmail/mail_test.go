package sendmail

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"jackdaw/xmpp"
)

func TestMailsAreRead(t *testing.T) {
	lines := func(l ...string) string { return strings.Join(l, "\n") }
	for name, c := range map[string]struct {
		mail string
		dots bool
		want string // of Body
		to   string
	}{
		"of cron": {mail: lines("From: root (Cron Daemon)", "To: root", "Subject: Cron <root@db1> /usr/local/bin/backup",
			"MIME-Version: 1.0", "Content-Type: text/plain; charset=UTF-8", "Content-Transfer-Encoding: 8bit",
			"X-Cron-Env: <SHELL=/bin/sh>", "X-Cron-Env: <TOKEN=secret>", "", "disk full — no backup", ""),
			want: "Cron <root@db1> /usr/local/bin/backup\ndisk full — no backup", to: "root"},
		"without a header":             {mail: "hello\nyou\n", want: "hello\nyou"},
		"without a header, a line":     {mail: "\nnote: this\n", want: "note: this"},
		"a subject alone":              {mail: "Subject: it is down\n", want: "it is down"},
		"a subject without a line end": {mail: "Subject: it is down", want: "it is down"},
		"of a mailbox":                 {mail: lines("From ann Sat Nov 28 12:00:00 2026", "Subject: a", "", "From here"), want: "a\nFrom here"},
		"with lines of mail":           {mail: "Subject: a\r\n\r\nb\r\nc\r\n", want: "a\nb\nc"},
		"folded":                       {mail: lines("Subject: one", "\ttwo", " three", "", "x"), want: "one two three\nx"},
		"an encoded subject":           {mail: lines("Subject: =?UTF-8?B?4pqgIERpc2s=?= =?iso-8859-1?q?_voll_l=E4uft?=", "", "x"), want: "⚠ Disk voll läuft\nx"},
		"a subject that is no code":    {mail: lines("Subject: =?x-nope?q?a?=", "", "x"), want: "=?x-nope?q?a?=\nx"},
		"a subject that lies":          {mail: lines("Subject: =?utf-8?q?a=0Ab=07c?=", "", "x"), want: "a b\uFFFDc\nx"},
		"until a dot":                  {mail: lines("Subject: a", "", "b", ".", "c"), want: "a\nb"},
		"with a dot":                   {mail: lines("Subject: a", "", "b", ".", "c"), dots: true, want: "a\nb\n.\nc"},
		"in quoted-printable": {mail: lines("Subject: a", "Content-Type: text/plain; charset=windows-1252",
			"Content-Transfer-Encoding: quoted-printable", "", "caf=E9 =80 5=", " each"), want: "a\ncafé € 5 each"},
		"in base64": {mail: lines("Subject: a", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: base64", "",
			"w6R0c2NoCg=="), want: "a\nätsch"},
		"in an unknown set": {mail: lines("Subject: a", "Content-Type: text/plain; charset=klingon", "", "b\xff"), want: "a\nb\uFFFD"},
		"of parts": {mail: lines("Subject: a", "MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=x", "", "--x",
			"Content-Type: text/plain", "Content-Disposition: attachment; filename=log.txt", "", "the log", "--x",
			"Content-Type: multipart/alternative; boundary=y", "", "--y", "Content-Type: text/html", "", "<p>no</p>", "--y",
			"Content-Type: text/plain", "", "yes", "--y--", "--x--"), want: "a\nyes"},
		"of a page": {mail: lines("Subject: a", "Content-Type: text/html; charset=utf-8", "",
			"<html><head><title>t</title><style>p{}</style></head><body><h1>Disk</h1><p>full &amp; <b>hot</b></p><script>x()</script></body>"),
			want: "a\nDisk\n\nfull & hot"},
		"to many": {mail: lines("To: Ann <ann@im.example.org>, bob", "Cc: root", "Bcc: \"Eve, E.\" <eve@im.example.org>", "Subject: a", "", "x"),
			want: "a\nx", to: "ann@im.example.org bob root eve@im.example.org"},
		"cut off in its parts": {mail: lines("Subject: a", "Content-Type: multipart/mixed; boundary=x", "", "--x",
			"Content-Type: text/plain", "", "begun"), want: "a\nbegun"},
		"colours of a terminal": {mail: lines("Subject: a", "", "\x1b[31mred\x1b[0m"), want: "a\n\uFFFD[31mred\uFFFD[0m"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, in := range []string{"whole", "byte by byte"} {
				r := strings.NewReader(c.mail)
				m, err := Read(r, c.dots)
				if in == "byte by byte" {
					m, err = Read(iotest.OneByteReader(strings.NewReader(c.mail)), c.dots)
				}
				if err != nil {
					t.Fatal(err)
				}
				if m.Body() != c.want || strings.Join(m.To, " ") != c.to {
					t.Errorf("%s: %q for %q, want %q for %q", in, m.Body(), m.To, c.want, c.to)
				}
				if r.Len() > 0 && in == "whole" {
					t.Error("the caller is left with a broken pipe")
				}
			}
		})
	}
	for _, nothing := range []string{"", "\n", "To: root\n\n  \n", "Subject:\n\n.\n"} {
		_, err := Read(strings.NewReader(nothing), false)
		if Code(err) != ExitData {
			t.Errorf("%q: %v", nothing, err)
		}
	}
	if _, err := Read(iotest.ErrReader(errors.New("gone")), false); Code(err) != ExitTemporary {
		t.Errorf("an input that breaks off: %v", err)
	}
}

func TestLongMailsAreCut(t *testing.T) {
	long := "Subject: a\n\n" + strings.Repeat("fünfzehn Zeichen\n", 3000)
	m, err := Read(strings.NewReader(long), true)
	if err != nil {
		t.Fatal(err)
	}
	if n := utf8.RuneCountInString(m.Text); n > MaxText+40 || n < MaxText-40 || !strings.HasSuffix(m.Text, "Zeichen\n… (2530 more lines)") {
		t.Errorf("%d characters, with the end %q", n, m.Text[len(m.Text)-60:])
	}
	for name, huge := range map[string]string{
		"a line":   "Subject: a\n\n" + strings.Repeat("x", 3<<20),
		"a field":  "Subject: " + strings.Repeat("x", 3<<20) + "\n\nb",
		"fields":   strings.Repeat("X: y\n", 100_000) + "Subject: a\n\nb",
		"brackets": "Subject: a\nContent-Type: text/html\n\n" + strings.Repeat("<div>", 300_000),
	} {
		m, err := Read(strings.NewReader(huge), true)
		if err == nil && len(m.Body()) > maxHeader+4*MaxText {
			t.Errorf("%s: %d bytes", name, len(m.Body()))
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{"Subject: =?utf-8?b?YQ==?=\n\nx", "From a\nTo: b\n\n.\n", "Content-Type: multipart/mixed; boundary=x\n\n--x\n\na\n--x--",
		"Content-Type: text/html\n\n<p>a<script>b", "a\n\tb: c\n"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, dots bool) {
		m, err := Read(strings.NewReader(s), dots)
		if err != nil {
			if Code(err) != ExitData {
				t.Errorf("%v", err)
			}
			return
		}
		if !xmpp.ValidText(m.Body()) || strings.Contains(m.Subject, "\n") {
			t.Errorf("%q cannot be posted", m.Body())
		}
	})
}
