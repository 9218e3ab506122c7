package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// referenceFile is the file that administrators copy from.
const referenceFile = "../docs/jackdaw.yaml"

func TestReferenceFileSaysTheDefaults(t *testing.T) {
	c, err := Load(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
	want := Default()
	if want.Data, err = filepath.Abs(filepath.Join(filepath.Dir(referenceFile), want.Data)); err != nil {
		t.Fatal(err) // relative to the file
	}
	// Default turns off what it names, and the file names each.
	for name, off := range c.Modules.Off {
		if off != offByDefault[name] {
			t.Errorf("module %s is off: %v", name, off)
		}
	}
	c.Modules.Off = want.Modules.Off
	if diff := cmp.Diff(want, c, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the file differs (-default +file):\n%s", diff)
	}
}

func TestReferenceFileNamesEveryKey(t *testing.T) {
	b, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	given := keysOf(string(b))
	keys := yamlKeys("", reflect.TypeFor[Config]())
	if len(keys) < 90 {
		t.Fatalf("only %d keys were found in Config: %q", len(keys), keys)
	}
	for _, m := range moduleNames {
		keys = append(keys, "modules."+m)
	}
	keys = append(keys, yamlKeys("modules.offline.", reflect.TypeFor[Offline]())...)
	keys = append(keys, yamlKeys("modules.push.", reflect.TypeFor[Push]())...)
	keys = append(keys, yamlKeys("modules.hostmeta.", reflect.TypeFor[HostMeta]())...)
	keys = append(keys, yamlKeys("modules.strangers.", reflect.TypeFor[Strangers]())...)
	keys = append(keys, yamlKeys("modules.reports.", reflect.TypeFor[Reports]())...)
	keys = append(keys, "modules.blocklists.lists", "modules.blocklists.policy")
	keys = append(keys, yamlKeys("modules.invitations.", reflect.TypeFor[Invitations]())...)
	keys = append(keys, yamlKeys("modules.pubsub.", reflect.TypeFor[PubSub]())...)
	keys = append(keys, yamlKeys("modules.upload.", reflect.TypeFor[Upload]())...)
	keys = append(keys, yamlKeys("modules.bytestreams.", reflect.TypeFor[Bytestreams]())...)
	for _, k := range keys {
		if !given[k] {
			t.Errorf("%s is not in the file", k)
		}
	}
	for alias := range limitAliases {
		if !strings.Contains(string(b), " "+alias+" = "+limitAliases[alias]) {
			t.Errorf("limits.%s is not said to be another name", alias)
		}
	}
}

// yamlKeys lists the keys of a struct with their paths; those of modules are not fields.
func yamlKeys(path string, t reflect.Type) (keys []string) {
	for f := range t.Fields() {
		name, ft := f.Tag.Get("yaml"), f.Type
		if name == "-" || name == "" {
			continue
		}
		keys = append(keys, path+name)
		if ft.Kind() == reflect.Slice {
			ft = ft.Elem()
		}
		switch ft {
		case reflect.TypeFor[Group](), reflect.TypeFor[ExternalService](): // there is none by default; the comment shows one
			continue
		}
		if ft.Kind() == reflect.Struct && ft.PkgPath() == t.PkgPath() && ft != modulesType {
			keys = append(keys, yamlKeys(path+name+".", ft)...)
		}
	}
	return keys
}

var keyLine = regexp.MustCompile(`^( *(?:- )?)([a-z0-9_]+):`)

// keysOf lists the keys of a file in block style with their paths, by indentation alone: what
// the decoder has read tells no key that was left out from one at its default.
func keysOf(text string) map[string]bool {
	type level struct {
		indent int
		path   string
	}
	found := map[string]bool{}
	var above []level
	for line := range strings.Lines(text) {
		m := keyLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		for len(above) > 0 && above[len(above)-1].indent >= len(m[1]) {
			above = above[:len(above)-1]
		}
		path := m[2]
		if len(above) > 0 {
			path = above[len(above)-1].path + "." + path
		}
		found[path] = true
		above = append(above, level{len(m[1]), path})
	}
	return found
}

// securityKeys are the keys in the second column of the tables of docs/security.md; one without a dot is below limits.
func securityKeys(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for row := range strings.Lines(string(b)) {
		cells := strings.Split(row, "|")
		if len(cells) < 4 {
			continue
		}
		for i, word := range strings.Split(cells[2], "`") {
			switch {
			case i%2 == 0:
			case strings.Contains(word, "."):
				named[word] = true
			default:
				named["limits."+word] = true
			}
		}
	}
	return named
}

func TestTheSecurityPageNamesKeysThatThereAre(t *testing.T) {
	b, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	keys := keysOf(string(b))
	for alias := range limitAliases {
		keys["limits."+alias] = true
	}
	for key := range securityKeys(t) {
		if !keys[key] {
			t.Errorf("there is no key %s", key)
		}
	}
}

func TestTheSecurityPageNamesEveryLimit(t *testing.T) {
	named := securityKeys(t)
	for _, key := range yamlKeys("limits.", limitsType) {
		if !named[key] {
			t.Errorf("docs/security.md does not say what %s bounds", key)
		}
	}
}
