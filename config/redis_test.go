package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheURLOfRedisSaysWhereItIs(t *testing.T) {
	for url, want := range map[string]RedisPlace{
		"redis://a":                        {Addrs: []string{"a:6379"}},
		"redis://a/":                       {Addrs: []string{"a:6379"}},
		"rediss://u:p%40%2F@a:1/3":         {Addrs: []string{"a:1"}, TLS: true, Username: "u", password: "p@/", DB: 3},
		"rediss://:p@[::1]:2,b,10.0.0.1:3": {Addrs: []string{"[::1]:2", "b:6379", "10.0.0.1:3"}, TLS: true, password: "p"},
		"unix:///run/redis.sock":           {Addrs: []string{"/run/redis.sock"}, Unix: true},
		"unix://u:p@/run/redis.sock?db=2":  {Addrs: []string{"/run/redis.sock"}, Unix: true, Username: "u", password: "p", DB: 2},
	} {
		got, err := Redis{URL: url}.Place()
		if err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(RedisPlace{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", url, diff)
		}
		if secret, err := (Redis{URL: url}).Secret(); err != nil || secret != want.password {
			t.Errorf("%s: %q, %v", url, secret, err)
		}
	}
}

func TestAURLThatIsNoneIsRefusedAndNotQuoted(t *testing.T) {
	for _, url := range []string{
		"secret", "redis:", "redis://", "redis://:secret@", "redis://a:secret", "redis://a/secret", "redis://a/-1", "redis://a/1/2",
		"redis://a?secret=1", "redis://a#secret", "redis://a,/1", "http://u:secret@a", "unix://", "unix:///",
		"unix://secret/s", "unix:///s?db=secret", "unix:///s?secret=1", "redis://u:%zzsecret@a", "redis://a b:secret@c",
	} {
		if p, err := (Redis{URL: url}).Place(); err == nil {
			t.Errorf("%s: %+v", url, p)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
