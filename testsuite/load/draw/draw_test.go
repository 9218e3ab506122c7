package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEachKindOfLineHasItsPage(t *testing.T) {
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw.jsonl")
	if err := os.WriteFile(raw, []byte(`{"what":"growth","axis":"sessions","at":100,"values":{"message_us":20,"message_ratio":1}}
{"what":"growth","axis":"sessions","at":1000,"values":{"message_us":22,"message_ratio":1.1}}
{"what":"growth","axis":"sessions","at":1000,"values":{"message_us":90,"message_ratio":1.3}}
{"what":"growth","axis":"sessions","at":1000,"values":{"message_us":24,"message_ratio":1.2}}
{"what":"growth","axis":"accounts","at":1000,"values":{"session_kib":22}}
{"what":"first-login","axis":"1 accounts","at":0,"values":{"first_login_ms":22}}
{"what":"soak","server":"a.example","values":{"s":10,"rss_mib":40,"cpu_s":1,"acknowledged":100}}
{"what":"soak","server":"b.example","values":{"s":10,"rss_mib":44,"cpu_s":1,"acknowledged":100}}
{"what":"soak","server":"a.example","values":{"s":20,"rss_mib":42,"cpu_s":1.5,"acknowledged":200}}
{"what":"soak","server":"b.example","values":{"s":20,"rss_mib":43,"cpu_s":1.5,"acknowledged":200}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := draw(dir, "somewhere", []string{raw}); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil || len(pages) != 3 {
		t.Fatalf("pages %v, %v", pages, err)
	}
	for name, want := range map[string]string{"growth-sessions": "CPU of a message", "growth-accounts": "Memory of a session at rest",
		"soak": "b.example"} {
		svg, err := os.ReadFile(filepath.Join(dir, name+".svg"))
		if err != nil || !strings.Contains(string(svg), want) || !strings.Contains(string(svg), "somewhere") {
			t.Errorf("%s has no %s, or no note: %v", name, want, err)
		}
	}
	if err := draw(dir, "", []string{filepath.Join(dir, "none")}); err == nil {
		t.Error("a file that is not there is drawn")
	}
}

func TestMeasurementsOfAPointAreDrawnByTheirMedian(t *testing.T) {
	page := growth(axes[0], []line{
		{At: 1000, Values: map[string]float64{"message_us": 22}},
		{At: 100, Values: map[string]float64{"message_us": 20}},
		{At: 1000, Values: map[string]float64{"message_us": 90}},
		{At: 1000, Values: map[string]float64{"message_us": 24}},
	})
	l := page.Charts[0].Lines[0]
	if len(l.X) != 2 || l.X[0] != 100 || l.Y[0] != 20 || l.X[1] != 1000 || l.Y[1] != 24 {
		t.Errorf("the line is %+v", l)
	}
}
