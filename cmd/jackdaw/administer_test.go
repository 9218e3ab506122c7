package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"jackdaw/admin"
)

func TestRoomsFilesAndAnnouncementsWithoutAServer(t *testing.T) {
	s := newShell(t)
	for _, args := range [][]string{{"rooms"}, {"rooms", "show", "a@rooms.localhost"}, {"uploads"},
		{"uploads", "a@localhost"}, {"announce", "--list"}, {"announce", "x"}} {
		if code, out, errOut := s.try("", args...); code != 1 || out != "" || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%q without data: exit code %d: %s%s", args, code, out, errOut)
		}
	}
	if _, err := os.Stat(s.data); err == nil {
		t.Fatal("a command that reads made a data directory")
	}
	s.do("x", "user", "add", "romeo@localhost", "--password-stdin")
	for _, args := range [][]string{{"rooms"}, {"rooms", "localhost"}, {"uploads"}, {"uploads", "romeo@localhost"},
		{"announce", "--list"}} {
		if got := s.do("", args...); got != "" {
			t.Errorf("%q: %q", args, got)
		}
		if got := s.do("", append(args, "--json")...); got != "[]\n" {
			t.Errorf("%q as JSON: %q", args, got)
		}
	}
	if got := s.do("line one\nline two\n", "announce", "--days", "1"); got != "reached by now: 0 users\n" {
		t.Errorf("announced: %q", got)
	}
	var list []admin.AnnouncementInfo
	if err := json.Unmarshal([]byte(s.do("", "announce", "--list", "--json")), &list); err != nil || len(list) != 1 ||
		list[0].Text != "line one\nline two" || list[0].Host != "localhost" {
		t.Fatalf("kept: %+v, %v", list, err)
	}
	if got := s.do("", "announce", "--list"); !strings.HasPrefix(got, list[0].ID+"\tlocalhost\t") || !strings.HasSuffix(got, "\tline one\n") {
		t.Errorf("kept: %q", got)
	}
	if got := s.do("", "announce", "--withdraw", list[0].ID, "--json"); got != "{}\n" {
		t.Errorf("withdrawn: %q", got)
	}
	for want, args := range map[string][]string{
		"no server runs":             {"announce", "--days", "0", "x"},
		"not served here":            {"announce", "--host", "b.example", "x"},
		"1 to 8192 bytes":            {"announce", " "},
		"no such announcement":       {"announce", "--withdraw", "x"},
		"no such room":               {"rooms", "destroy", "a@rooms.localhost", "--reason", "x"},
		"rooms are at rooms":         {"rooms", "own", "a@rooms.b.example", "romeo@localhost"},
		"there is no such file":      {"uploads", "remove", "romeo@localhost", "x"},
		"nobody@localhost: there is": {"uploads", "nobody@localhost"},
	} {
		if code, _, errOut := s.try("", args...); code != 1 || !strings.Contains(errOut, want) {
			t.Errorf("%q: exit code %d: %s", args, code, errOut)
		}
	}
	for _, args := range [][]string{{"announce", "--days", "91", "x"}, {"announce", "--list", "x"}, {"announce", "a", "b"},
		{"announce", "--list", "--withdraw", "x"}, {"rooms", "own", "a@rooms.localhost", "b"}, {"uploads", "b"},
		{"uploads", "remove", "romeo@localhost"}, {"uploads", "remove", "romeo@localhost", "x", "--all"}} {
		if code, _, errOut := s.try("", args...); code != 2 {
			t.Errorf("%q: exit code %d: %s", args, code, errOut)
		}
	}
}
