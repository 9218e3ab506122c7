package scenes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jackdaw/storage/s3test"
	"jackdaw/testsuite/harness"
)

func TestFilesAreUploadedAndFetched(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/curl", "curl")
	type where struct {
		harness.Place
		bucket bool
	}
	places := []where{{harness.Places[0], true}}
	for _, place := range harness.Places {
		places = append(places, where{place, false})
	}
	for _, place := range places {
		name := place.String()
		if place.bucket {
			name = "bucket"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listen, config, addr := componentListener()
			var store *s3test.Server
			bucket, modules := "", ""
			if place.bucket {
				store = s3test.Start(t)
				bucket = fmt.Sprintf(", s3: {endpoint: %q, bucket: %q, region: %q, access_key: %q, secret_key: %q, prefix: a/b}",
					store.URL, s3test.Bucket, s3test.Region, s3test.AccessKey, s3test.SecretKey)
				modules = "\nmodules: {upload: {enabled: true" + bucket + "}}\n"
			}
			s := harness.Start(t, harness.Options{Place: place.Place, Listen: listen, Config: config + modules})
			shared := ""
			if len(s.Nodes) > 0 && bucket == "" {
				shared = "shared: true, "
			}
			first := map[string]string{} // the rest of the configuration, of each node
			for _, n := range append([]*harness.Server{s}, s.Nodes...) {
				whole, err := os.ReadFile(n.Config)
				if err != nil {
					t.Fatal(err)
				}
				first[n.Config] = strings.Replace(strings.Replace(string(whole), modules, "\n", 1), "modules: {upload: {shared: true}}", "", 1)
			}
			// The listeners of the harness are not where a client looks for localhost; the configuration says where
			// they are.
			set := func(upload string) {
				at := fmt.Sprintf("url: %q", "http://"+s.HTTP+"/upload")
				for file, text := range first {
					text += "\nmodules: {upload: {" + shared + strings.ReplaceAll(upload, "URL", at) + bucket + "}}\n"
					if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				s.Reload()
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
					if store != nil { // and nothing lies elsewhere
						list = append(list, store.Objects()...)
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
