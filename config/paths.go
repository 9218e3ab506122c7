package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// place makes the relative paths of a configuration from a file absolute: they are relative to the directory of the
// file, so that the server and its commands mean the same files wherever they are started.
//
// COMPAT(earlier jackdaw): they were relative to the working directory. What is found there and not beside the file is
// used there, and a data directory in use there even if there is another beside the file; a warning names both.
func (c *Config) place(file string) error {
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("find the directory of the configuration: %w", err)
	}
	working, err := os.Getwd()
	if err != nil { // it was removed, so nothing is relative to it
		working = dir
	}
	p := placer{config: c, dir: dir, working: working}
	p.data()
	for i := range c.Hosts {
		h := &c.Hosts[i]
		p.file(fmt.Sprintf("hosts[%d].cert", i), &h.Cert)
		p.file(fmt.Sprintf("hosts[%d].key", i), &h.Key)
		p.file(fmt.Sprintf("hosts[%d].page", i), &h.Page)
	}
	p.file("acme.ca_file", &c.ACME.CAFile)
	p.file("acme.external_account.mac_key_file", &c.ACME.ExternalAccount.MACKeyFile)
	p.file("accounts.ldap.ca_file", &c.Accounts.LDAP.CAFile)
	p.file("accounts.ldap.bind_password_file", &c.Accounts.LDAP.BindPasswordFile)
	p.file("accounts.http.token_file", &c.Accounts.HTTP.TokenFile)
	p.file("accounts.http.ca_file", &c.Accounts.HTTP.CAFile)
	p.file("modules.upload.s3.secret_key_file", &c.Modules.Upload.S3.SecretKeyFile)
	p.file("modules.upload.s3.ca_file", &c.Modules.Upload.S3.CAFile)
	p.file("web.languages", &c.Web.Languages)
	p.file("storage.redis.password_file", &c.Storage.Redis.PasswordFile)
	for key, file := range c.Storage.Redis.TLS.files() {
		p.file("storage.redis.tls."+key, file)
	}
	for domain, secret := range c.Component.Secrets {
		if path, ok := strings.CutPrefix(secret, "file:"); ok {
			p.file("component.secrets["+domain+"]", &path)
			c.Component.Secrets[domain] = "file:" + path
		}
	}
	for i := range c.Calls.External {
		if path, ok := strings.CutPrefix(c.Calls.External[i].Secret, "file:"); ok {
			p.file(fmt.Sprintf("calls.external[%d].secret", i), &path)
			c.Calls.External[i].Secret = "file:" + path
		}
	}
	for i, addr := range c.Listen.HTTP {
		// Nothing has to be there before the server starts: a socket is made beside the file.
		if path, ok := strings.CutPrefix(addr, "unix:"); ok && !filepath.IsAbs(path) {
			c.Listen.HTTP[i] = "unix:" + filepath.Join(dir, path)
			if dir != working {
				p.warn(fmt.Sprintf("listen.http[%d]", i), path, filepath.Join(dir, path))
			}
		}
	}
	return nil
}

// A placer knows the two directories that a path may be relative to.
type placer struct {
	config       *Config
	dir, working string
}

func (p *placer) warn(key, path, taken string) {
	p.config.Warnings = append(p.config.Warnings,
		fmt.Sprintf("%s: %s is taken as %s; write the whole path", key, path, taken))
}

// file places what the server reads.
func (p *placer) file(key string, path *string) {
	if *path == "" || filepath.IsAbs(*path) {
		return
	}
	beside, working := filepath.Join(p.dir, *path), filepath.Join(p.working, *path)
	if beside == working || exists(beside) || !exists(working) {
		*path = beside
		return
	}
	p.warn(key, *path, working)
	*path = working
}

func (p *placer) data() {
	path := p.config.Data
	if filepath.IsAbs(path) {
		return
	}
	beside, working := filepath.Join(p.dir, path), filepath.Join(p.working, path)
	p.config.Data = beside
	if beside != working && isData(working) {
		p.config.Data = working
		p.warn("data", path, working)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// isData says whether a directory is one that this server has used.
func isData(dir string) bool {
	return slices.ContainsFunc([]string{"store", "certs", "upload", "control.sock"}, func(name string) bool {
		return exists(filepath.Join(dir, name))
	})
}
