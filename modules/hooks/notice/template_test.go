package notice

import (
	"strings"
	"testing"
	"time"
)

func TestTemplates(t *testing.T) {
	data, err := ParseJSON([]byte(`{"title":"Disk","n":7,"f":1.5,"big":` + `"` + strings.Repeat("x", 50_000) + `"` +
		`,"list":["a","b",3],"deep":{"a":{"b":"c"}},"empty":"","yes":true}`))
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"{{.title}}: {{.deep.a.b}} {{.n}} {{.f}}":                      "Disk: c 7 1.5",
		"{{range $i, $v := .list}}{{$i}}={{$v}} {{end}}":               "0=a 1=b 2=3",
		"{{range .none}}x{{else}}nothing{{end}}":                       "nothing",
		"{{if gt .n 5}}many{{end}}{{with .none}}x{{end}}":              "many",
		"{{join \", \" .list}} {{default \"-\" .empty}}":               "a, b, 3 -",
		"{{upper .title}} {{lower .title}} {{len .list}}":              "DISK disk 3",
		"{{printf \"%s-%02d\" .title .n}} {{print .n .title}}":         "Disk-07 7Disk",
		"{{.none}}{{.deep.none}}x":                                     "x",
		"{{range .list}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}": "a",
	} {
		if got, err := Fill(in, data); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestTemplatesThatWantTooMuch(t *testing.T) {
	data, err := ParseJSON([]byte(`{"big":"` + strings.Repeat("%s", 500_000) + `","list":[` +
		strings.Repeat("1,", 5000) + `1],"s":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	nest := func(n int) string {
		return strings.Repeat("{{range $.list}}", n) + strings.Repeat("{{end}}", n)
	}
	for name, in := range map[string]string{
		"define":                `{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`,
		"define, not used":      `{{define "x"}}y{{end}}z`,
		"block":                 `{{block "x" .}}y{{end}}`,
		"template":              `{{template "template" .}}`,
		"call":                  `{{call .s}}`,
		"call in a pipe":        `{{.s | call}}`,
		"call in brackets":      `{{if (call .s)}}x{{end}}`,
		"its own":               `{{tick}}`,
		"not a template":        `{{`,
		"empty":                 ``,
		"long":                  strings.Repeat("x", MaxTemplate+1),
		"loops":                 nest(3),
		"many":                  `{{range 1000000000}}{{end}}`,
		"loops in else":         `{{if false}}{{else}}` + nest(3) + `{{end}}`,
		"loops in with":         `{{with 1}}` + nest(3) + `{{end}}`,
		"loops in loops":        `{{range .none}}{{else}}` + nest(3) + `{{end}}`,
		"writes":                `{{range .list}}` + strings.Repeat("0123456789", 10) + `{{end}}`,
		"doubles":               `{{$x := "0123456789"}}{{range .list}}{{$x = print $x $x}}{{end}}{{$x}}{{$x}}{{$x}}{{$x}}{{$x}}{{$x}}{{$x}}{{$x}}{{$x}}`,
		"big":                   `{{.big}}`,
		"all":                   `{{.}}`,
		"wide":                  `{{printf "%1000000d" 1}}`,
		"wide by an argument":   `{{printf "%*d" 1000000 1}}`,
		"one many times":        `{{printf "%[1]s%[1]s" .big}}`,
		"a format from outside": `{{printf .big .s}}`,
		"out of range":          `{{index .list 9999}}`,
		"no method":             `{{.s.x.y}}`,
		"no number":             `{{gt .s 1}}`,
		"no function":           `{{env "HOME"}}`,
	} {
		begin := time.Now()
		got, err := Fill(in, data)
		if err == nil {
			t.Errorf("%s: filled with %d bytes: %.50q", name, len(got), got)
		} else if strings.Contains(err.Error(), "\n") || len(err.Error()) > 4*maxTitle {
			t.Errorf("%s: the error is %q", name, err)
		}
		if took := time.Since(begin); took > 20*maxFillTime { // on a machine that is busy
			t.Errorf("%s: it took %v", name, took)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add(`{{range .list}}{{.}}{{end}}{{printf "%5s" .s}}`, `{"list":[1,2,"x"],"s":{"a":[]}}`)
	f.Add(`{{with $x := .s}}{{$x | upper | join ","}}{{end}}`, `{"s":"x"}`)
	f.Add(`{{range $i, $e := .}}{{slice $e 1}}{{end}}`, `["abc"]`)
	f.Fuzz(func(t *testing.T, source, document string) {
		if len(source) > 2000 {
			return
		}
		data, err := ParseJSON([]byte(document))
		if err != nil {
			return
		}
		if got, err := Fill(source, data); err == nil && len(got) > maxFilled {
			t.Fatalf("%d bytes", len(got))
		}
	})
}
