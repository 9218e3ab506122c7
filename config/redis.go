package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// Redis says how to reach the server, sentinels or cluster.
type Redis struct {
	// URL says where Redis is, and may say as whom to log in, instead of Addrs, Username, Password and DB. It may hold a
	// password, so no message quotes it.
	URL          string   `yaml:"url"`
	Addrs        []string `yaml:"addrs"`       // several: cluster; with MasterName: sentinels
	MasterName   string   `yaml:"master_name"` // Sentinel
	Username     string   `yaml:"username"`
	Password     string   `yaml:"password"`
	PasswordFile string   `yaml:"password_file"`
	DB           int      `yaml:"db"`
	Prefix       string   `yaml:"prefix"`        // of every key
	WaitReplicas int      `yaml:"wait_replicas"` // acknowledge after so many replicas have the write
	TLS          RedisTLS `yaml:"tls"`
}

// RedisTLS sets up TLS to Redis, which a URL with rediss turns on.
type RedisTLS struct {
	CA string `yaml:"ca"` // PEM; empty: the authorities of the system
	// Cert and Key are PEM files, both or neither: who we are for Redis.
	Cert       string `yaml:"cert"`
	Key        string `yaml:"key"`
	ServerName string `yaml:"server_name"` // in the certificates of Redis; empty: the host of each address
}

// files are the paths, by key.
func (t *RedisTLS) files() map[string]*string {
	return map[string]*string{"ca": &t.CA, "cert": &t.Cert, "key": &t.Key}
}

// defaultRedis is where Redis is if nobody says.
const defaultRedis = "127.0.0.1:6379"

// Secret returns the password, from PasswordFile if that is set (without the
// newline at its end). "" means none.
func (r Redis) Secret() (string, error) {
	if r.PasswordFile == "" {
		p, err := r.Place()
		return p.password, err
	}
	return ReadSecret("storage.redis.password_file", r.PasswordFile)
}

// A RedisPlace is where Redis is and who we are there, whichever keys have said so.
type RedisPlace struct {
	Addrs    []string // HOST:PORT, or the path of one socket
	Unix     bool
	TLS      bool
	Username string
	DB       int

	password string
}

// errRedisURL quotes nothing of what it is about.
var errRedisURL = errors.New("expected redis://, or rediss:// for TLS, then USER:PASSWORD@HOST:PORT/DB, of which " +
	"only HOST must be there, or several HOST:PORT with commas between; or unix:///PATH?db=N")

// Place returns where Redis is. It fails as Validate does for a URL that says too little or too much.
func (r Redis) Place() (RedisPlace, error) {
	if r.URL == "" {
		return RedisPlace{Addrs: r.Addrs, Username: r.Username, DB: r.DB, password: r.Password}, nil
	}
	scheme, rest, _ := strings.Cut(r.URL, "://")
	authority, path, _ := strings.Cut(rest, "/")
	login, hosts := "", authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		login, hosts = authority[:at+1], authority[at+1:]
	}
	list := strings.Split(hosts, ",") // which net/url takes for one
	u, err := url.Parse(scheme + "://" + login + list[0] + "/" + path)
	if err != nil || u.Fragment != "" || u.Opaque != "" {
		return RedisPlace{}, errRedisURL
	}
	p := RedisPlace{Username: u.User.Username(), TLS: scheme == "rediss", Unix: scheme == "unix"}
	p.password, _ = u.User.Password()
	db := strings.Trim(u.Path, "/")
	switch scheme {
	case "redis", "rediss":
		for _, host := range list {
			one, err := url.Parse("//" + host)
			if err != nil || one.Hostname() == "" || one.Host != host || u.RawQuery != "" {
				return RedisPlace{}, errRedisURL
			}
			port := one.Port()
			if port == "" {
				port = "6379"
			}
			p.Addrs = append(p.Addrs, net.JoinHostPort(one.Hostname(), port))
		}
	case "unix":
		query := u.Query()
		db = query.Get("db")
		if query.Del("db"); hosts != "" || !filepath.IsAbs(u.Path) || len(u.Path) < 2 || len(query) > 0 {
			return RedisPlace{}, errRedisURL
		}
		p.Addrs = []string{u.Path}
	default:
		return RedisPlace{}, errRedisURL
	}
	if db != "" {
		if p.DB, err = strconv.Atoi(db); err != nil || p.DB < 0 {
			return RedisPlace{}, errRedisURL
		}
	}
	return p, nil
}

func (c *Config) checkRedis(k *checker) {
	r := &c.Storage.Redis
	k.atLeast("storage.redis.db", int64(r.DB), 0)
	k.atLeast("storage.redis.wait_replicas", int64(r.WaitReplicas), 0)
	if c.Storage.Engine == EngineRedis && r.URL == "" && len(r.Addrs) == 0 {
		k.add("storage.redis.addrs", "expected at least one address")
	}
	for i, addr := range r.Addrs {
		k.hostPort(fmt.Sprintf("storage.redis.addrs[%d]", i), addr)
	}
	if r.Password != "" && r.PasswordFile != "" {
		k.add("storage.redis.password_file", "given beside password; expected one of the two")
	}
	p, err := r.Place()
	if err != nil {
		k.add("storage.redis.url", "%v", err)
		return
	}
	if r.URL != "" {
		r.checkBesideURL(k, p)
	}
	if len(p.Addrs) > 1 && r.MasterName == "" && p.DB != 0 {
		k.add(keyOf(r.URL != "", "db"), "expected 0: a Redis Cluster has one database")
	}
	t := r.TLS
	if (t.Cert == "") != (t.Key == "") {
		k.add("storage.redis.tls", "expected both cert and key, or neither")
	}
	if t != (RedisTLS{}) && !p.TLS {
		k.add("storage.redis.tls", "given without TLS; expected storage.redis.url to begin with rediss://")
	}
}

// keyOf is the key that said something which a URL may say, too.
func keyOf(url bool, key string) string {
	if url {
		key = "url"
	}
	return "storage.redis." + key
}

// checkBesideURL finds what is said twice.
func (r *Redis) checkBesideURL(k *checker, p RedisPlace) {
	for key, given := range map[string]bool{
		"addrs":         len(r.Addrs) > 1 || len(r.Addrs) == 1 && r.Addrs[0] != defaultRedis,
		"username":      r.Username != "",
		"password":      r.Password != "",
		"password_file": r.PasswordFile != "" && p.password != "",
		"db":            r.DB != 0,
	} {
		if given {
			k.add("storage.redis."+key, "given beside storage.redis.url, which says it; expected one of the two")
		}
	}
	if p.Unix && r.MasterName != "" {
		k.add("storage.redis.url", "expected the addresses of sentinels, since master_name is given")
	}
}
