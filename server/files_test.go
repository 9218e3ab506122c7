package server

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jackdaw/config"
	"jackdaw/server/doctor"
	"jackdaw/storage/s3test"
)

// inBucket is a configuration whose files lie in a bucket.
func inBucket(t *testing.T, s *s3test.Server) *config.Config {
	t.Helper()
	cfg := controlConfig(t)
	at := &cfg.Modules.Upload.S3
	at.Endpoint, at.Bucket, at.Region, at.AccessKey = s.URL, s3test.Bucket, s3test.Region, s3test.AccessKey
	at.SecretKeyFile = filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(at.SecretKeyFile, []byte(s3test.SecretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.CA != nil {
		at.CAFile = filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(at.CAFile, s.CA, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

func TestTheBucketForFilesIsTriedAtTheStart(t *testing.T) {
	s := s3test.StartTLS(t)
	fault := func(status int, code string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			s3test.Refuse(w, status, code)
			return true
		}
	}
	for name, row := range map[string]struct {
		change  func(cfg *config.Config)
		fault   func(http.ResponseWriter, *http.Request) bool
		refused string // "": the server starts
		logged  string
		finding doctor.Level
	}{
		"all is well": {logged: "files lie in a bucket", finding: doctor.Good},
		"files are left in the directory": {change: func(cfg *config.Config) {
			if err := os.MkdirAll(filepath.Join(cfg.Data, "upload", "7"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, logged: "jackdaw uploads move", finding: doctor.Good},
		"it keeps versions": {fault: func(http.ResponseWriter, *http.Request) bool {
			s.Versioned(true)
			return false
		}, logged: "keeps versions", finding: doctor.Warning},
		"it is away":         {fault: fault(503, "ServiceUnavailable"), logged: "cannot be used now", finding: doctor.Wrong},
		"it is no bucket":    {fault: fault(404, "NoSuchBucket"), refused: "make the bucket, or correct modules.upload.s3.bucket", finding: doctor.Wrong},
		"it may not be used": {fault: fault(403, "AccessDenied"), refused: "s3:ListBucket", finding: doctor.Wrong},
		"another secret": {change: func(cfg *config.Config) {
			cfg.Modules.Upload.S3.SecretKey, cfg.Modules.Upload.S3.SecretKeyFile = "x", ""
		}, refused: "correct modules.upload.s3.access_key", finding: doctor.Wrong},
		"no secret":    {change: func(cfg *config.Config) { cfg.Modules.Upload.S3.SecretKeyFile += "x" }, refused: "modules.upload.s3.secret_key_file", finding: doctor.Wrong},
		"no authority": {change: func(cfg *config.Config) { cfg.Modules.Upload.S3.CAFile = "" }, refused: "ca_file", finding: doctor.Wrong},
		"no uploads":   {change: func(cfg *config.Config) { cfg.Modules.Off = map[string]bool{"upload": true} }, fault: fault(404, "NoSuchBucket")},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := inBucket(t, s)
			if row.change != nil {
				row.change(cfg)
			}
			s.Fault(row.fault)
			s.Versioned(false)
			var log bytes.Buffer
			err := lookAtFiles(t.Context(), cfg, slog.New(slog.NewTextHandler(&log, nil)))
			if row.refused == "" && err != nil || row.refused != "" && (err == nil || !strings.Contains(err.Error(), row.refused)) {
				t.Errorf("start: %v", err)
			}
			if !strings.Contains(log.String(), row.logged) {
				t.Errorf("logged: %s", log.String())
			}
			warnings, bad := CheckFiles(t.Context(), cfg)
			if (bad == nil) != (row.refused == "") {
				t.Errorf("check: %q, %v", warnings, bad)
			}
			found := bucketFindings(t.Context(), cfg)
			if row.finding == "" && len(found) > 0 || row.finding != "" && (len(found) == 0 || found[0].Level != row.finding) {
				t.Errorf("doctor: %+v", found)
			}
			all := log.String()
			for _, e := range []error{err, bad} {
				if e != nil {
					all += e.Error()
				}
			}
			for _, f := range found {
				all += f.What + f.Do
			}
			for _, secret := range []string{s3test.Bucket, s3test.AccessKey, s3test.SecretKey} {
				if strings.Contains(all, secret) {
					t.Errorf("it tells %s: %s", secret, all)
				}
			}
			if left := s.Objects(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestWithoutABucketNothingIsMovedOrTried(t *testing.T) {
	cfg := controlConfig(t)
	if err := lookAtFiles(t.Context(), cfg, nil); err != nil {
		t.Error(err)
	}
	if _, err := MoveFiles(t.Context(), cfg, false); err == nil || !strings.Contains(err.Error(), "modules.upload.s3") {
		t.Errorf("moved: %v", err)
	}
	if where, err := fileStore(cfg); where != nil || err != nil {
		t.Errorf("%v, %v", where, err)
	}
}

func TestAServerWithABucketIsAssembledAndItsCommandsUseIt(t *testing.T) {
	s := s3test.Start(t)
	cfg := inBucket(t, s)
	c, done, err := OpenControl(context.Background(), cfg, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Admin.UploadUsers(t.Context()); err != nil {
		t.Error(err)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
	s.Change("7/x", []byte("x"))
	problems, err := Verify(cfg)
	if err != nil || len(problems) != 1 || !strings.HasPrefix(problems[0], "in the bucket: 7/x") {
		t.Errorf("%q, %v", problems, err)
	}
}
