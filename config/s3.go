package config

import (
	"net"
	"net/url"
	"regexp"
	"strings"
)

// S3 says in which bucket of an object store that speaks S3 the files of users lie.
type S3 struct {
	Endpoint      string `yaml:"endpoint"` // a URL without a path; "": files lie in the data directory
	Bucket        string `yaml:"bucket"`
	Region        string `yaml:"region"`
	AccessKey     string `yaml:"access_key"`
	SecretKey     string `yaml:"secret_key"`
	SecretKeyFile string `yaml:"secret_key_file"`
	Prefix        string `yaml:"prefix"`  // of the names of objects; with a slash at its end after Validate, or ""
	Style         string `yaml:"style"`   // S3Auto, S3Path or S3Host
	CAFile        string `yaml:"ca_file"` // PEM; "": the authorities of the system
	// AllowPlaintext is for an endpoint with http beyond loopback.
	AllowPlaintext bool `yaml:"allow_plaintext"`
}

// Where the name of a bucket is in the URLs of its objects.
const (
	S3Auto = "auto" // as those want it whose endpoint is known, else S3Path
	S3Path = "path"
	S3Host = "host"
)

// On says whether files lie in a bucket.
func (s *S3) On() bool { return s.Endpoint != "" }

// Place is where the object store is; it is valid after Validate.
func (s *S3) Place() (host string, tls bool) {
	scheme, host, _ := strings.Cut(s.Endpoint, "://")
	return host, scheme == "https"
}

// Secret returns the secret key, from SecretKeyFile if that is set.
func (s *S3) Secret() (string, error) {
	if s.SecretKeyFile == "" {
		return s.SecretKey, nil
	}
	return ReadSecret("modules.upload.s3.secret_key_file", s.SecretKeyFile)
}

var (
	// bucketName is what all who speak S3 take.
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	prefixName = regexp.MustCompile(`^([A-Za-z0-9_.-]+/)*$`)
)

// maxS3File is what fits into one object that is sent in one request, with what is kept beside the bytes of a file.
const maxS3File = 5<<30 - 1<<20

func (s *S3) check(k *checker, u *Upload) {
	const key = "modules.upload.s3."
	if !s.On() {
		if s.Bucket != "" || s.AccessKey != "" || s.SecretKey != "" || s.SecretKeyFile != "" {
			k.add(key+"endpoint", "expected where the object store is, such as https://s3.example.org")
		}
		return
	}
	at, err := url.Parse(s.Endpoint)
	switch {
	case err != nil || at.Host == "" || at.User != nil || at.Scheme != "https" && at.Scheme != "http" ||
		strings.TrimSuffix(s.Endpoint, "/") != at.Scheme+"://"+at.Host:
		// What is there is not quoted: it may hold a secret.
		k.add(key+"endpoint", "expected a URL without a path, such as https://s3.example.org; the bucket is a key of its own")
	case at.Scheme == "http" && !s.AllowPlaintext && !Loopback(net.JoinHostPort(at.Hostname(), "80")):
		k.add(key+"endpoint", "expected https, or %sallow_plaintext: true: files would go there in the clear", key)
	default:
		s.Endpoint = at.Scheme + "://" + at.Host
	}
	if !bucketName.MatchString(s.Bucket) || strings.Contains(s.Bucket, "..") {
		k.add(key+"bucket", "expected the name of a bucket: 3 to 63 of a-z, 0-9, dots and hyphens")
	}
	if !regionName.MatchString(s.Region) {
		k.add(key+"region", "expected the region of the bucket; most object stores but Amazon's take us-east-1")
	}
	if s.AccessKey == "" {
		k.add(key+"access_key", "expected the access key, of which the policy allows GetObject, PutObject, DeleteObject and "+
			"ListBucket")
	}
	switch {
	case s.SecretKey != "" && s.SecretKeyFile != "":
		k.add(key+"secret_key_file", "given beside secret_key; expected one of the two")
	case s.SecretKey == "" && s.SecretKeyFile == "":
		k.add(key+"secret_key_file", "expected a file with the secret key, or secret_key")
	}
	if s.Prefix != "" {
		s.Prefix = strings.TrimRight(s.Prefix, "/") + "/"
	}
	if !prefixName.MatchString(s.Prefix) || len(s.Prefix) > 512 {
		k.add(key+"prefix", "expected words of letters, digits, dots, hyphens and underscores, with slashes between")
	}
	k.oneOf(key+"style", s.Style, S3Auto, S3Path, S3Host)
	if u.MaxSize > maxS3File {
		k.add("modules.upload.max_size", "expected %d or less with modules.upload.s3: a file is sent there in one request",
			maxS3File)
	}
	if u.Shared {
		k.add("modules.upload.shared", "given beside modules.upload.s3, which all servers reach; expected one of the two")
	}
}
