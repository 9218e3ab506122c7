package scenes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

func TestFilesAreUploadedAndFetched(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/curl", "curl")
	for _, place := range harness.Places {
		t.Run(place.String(), func(t *testing.T) {
			t.Parallel()
			listen, config, addr := componentListener()
			s := harness.Start(t, harness.Options{Place: place, Listen: listen, Config: config})
			first, err := os.ReadFile(s.Config)
			if err != nil {
				t.Fatal(err)
			}
			// The listeners of the harness are not where a client looks for localhost; the configuration says where
			// they are.
			set := func(upload string) {
				text := string(first) + "\nmodules: {upload: {" + strings.ReplaceAll(upload, "URL", fmt.Sprintf("url: %q", "http://"+s.HTTP+"/upload")) + "}}\n"
				if err := os.WriteFile(s.Config, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				s.Command("", "reload")
			}
			perform(t, nil, "upload", stageOf(s), func(l line) answer {
				switch l.Ask {
				case "listener":
					return answer{Out: addr}
				case "set": // modules.upload from now on
					set(l.Stdin)
					return answer{}
				case "files": // that are on disk, but for those that go with the end of their hour
					list, err := filepath.Glob(filepath.Join(s.Dir, "data", "upload", "*", "*"))
					if err != nil {
						t.Fatal(err)
					}
					list = slices.DeleteFunc(list, func(path string) bool {
						return strings.HasPrefix(filepath.Base(filepath.Dir(path)), "until-")
					})
					return answer{Code: len(list)}
				}
				return help(t, s, l)
			})
		})
	}
}
