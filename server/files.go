package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"jackdaw/config"
	"jackdaw/modules/upload"
	"jackdaw/server/doctor"
)

// bucketTime is how long a bucket may take to show that it does what is asked of it.
const bucketTime = 20 * time.Second

// filesDir is the local directory of files: of all, or of those on their way into a bucket.
func filesDir(cfg *config.Config) string { return filepath.Join(cfg.Data, "upload") }

// fileStore is where files lie, nil for filesDir.
func fileStore(cfg *config.Config) (upload.Store, error) {
	if !cfg.Modules.Upload.S3.On() {
		return nil, nil
	}
	b, err := fileBucket(cfg)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// fileBucket is the bucket that a configuration names.
func fileBucket(cfg *config.Config) (*upload.Bucket, error) {
	s := &cfg.Modules.Upload.S3
	host, secure := s.Place()
	o := upload.BucketOptions{Host: host, TLS: secure, Bucket: s.Bucket, Region: s.Region, AccessKey: s.AccessKey,
		Prefix: s.Prefix, Style: s.Style}
	var err error
	if o.SecretKey, err = s.Secret(); err != nil {
		return nil, err
	}
	if o.SecretKey == "" {
		return nil, errors.New("modules.upload.s3.secret_key_file: the file is empty; expected the secret key")
	}
	if o.Roots, err = config.ReadRoots("modules.upload.s3.ca_file", s.CAFile); err != nil {
		return nil, err
	}
	b, err := upload.NewBucket(o)
	if err != nil {
		return nil, fmt.Errorf("modules.upload.s3: %w", err)
	}
	return b, nil
}

// checkBucket tries what is done with the bucket of files.
func checkBucket(ctx context.Context, cfg *config.Config) (notes []string, err error) {
	b, err := fileBucket(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, bucketTime)
	defer cancel()
	return b.Check(ctx)
}

// remedyOf is what to do about an error of a bucket, and whether there is no use in waiting.
func remedyOf(err error) (do string, refused bool) {
	var known *upload.BucketError
	if errors.As(err, &known) {
		return known.Remedy(), known.Refused()
	}
	return "look at what modules.upload.s3 says", !errors.Is(err, context.DeadlineExceeded)
}

// lookAtFiles tries the bucket of files, if there is one. It fails on what does not go away by waiting: a server whose
// object store is away has messages to carry meanwhile.
func lookAtFiles(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	if !cfg.Modules.Upload.S3.On() || !cfg.Modules.Enabled("upload") {
		return nil
	}
	notes, err := checkBucket(ctx, cfg)
	if err != nil {
		do, refused := remedyOf(err)
		if refused {
			return fmt.Errorf("files of users: %w; %s", err, do)
		}
		log.Error("the bucket for files cannot be used now", "error", err,
			"do", do+"; files are taken and served when it is there")
		return nil
	}
	for _, note := range notes {
		log.Warn("the bucket for files", "note", note)
	}
	if left := filesLeft(cfg); left {
		log.Warn("files are in the data directory, where they are not served",
			"do", "run `jackdaw uploads move`, which puts them into the bucket")
	}
	log.Info("files lie in a bucket")
	return nil
}

// filesLeft says whether there are files in the data directory, beside those that are being written.
func filesLeft(cfg *config.Config) bool {
	list, err := os.ReadDir(filesDir(cfg))
	if err != nil {
		return false // none were ever there
	}
	for _, e := range list {
		if e.IsDir() && e.Name() != "unfinished" {
			return true
		}
	}
	return false
}

// CheckFiles tries the bucket for files of users, if a configuration names one. It fails on what a start refuses.
func CheckFiles(ctx context.Context, cfg *config.Config) (warnings []string, err error) {
	if !cfg.Modules.Upload.S3.On() || !cfg.Modules.Enabled("upload") {
		return nil, nil
	}
	if warnings, err = checkBucket(ctx, cfg); err == nil {
		return warnings, nil
	}
	do, refused := remedyOf(err)
	if refused {
		return nil, fmt.Errorf("files of users: %w; %s", err, do)
	}
	return []string{fmt.Sprintf("files of users: %v; %s", err, do)}, nil
}

// bucketFindings are what the bucket of files shows, where there is one.
func bucketFindings(ctx context.Context, cfg *config.Config) (found []doctor.Finding) {
	if !cfg.Modules.Upload.S3.On() || !cfg.Modules.Enabled("upload") {
		return nil
	}
	notes, err := checkBucket(ctx, cfg)
	if err != nil {
		do, _ := remedyOf(err)
		return []doctor.Finding{{Level: doctor.Wrong, What: "files of users: " + err.Error(),
			Why: "nobody can send or fetch one", Do: do}}
	}
	for _, note := range notes {
		found = append(found, doctor.Finding{Level: doctor.Warning, What: note})
	}
	return append(found, doctor.Finding{Level: doctor.Good, What: "the bucket takes, gives and removes files"})
}

// MoveFiles puts the files in the data directory into the bucket that the configuration names; with keep they stay in
// the directory as well. A server may run.
func MoveFiles(ctx context.Context, cfg *config.Config, keep bool) (upload.Moved, error) {
	if !cfg.Modules.Upload.S3.On() {
		return upload.Moved{}, errors.New("modules.upload.s3 names no bucket; say in the configuration where files are to go")
	}
	if _, err := checkBucket(ctx, cfg); err != nil {
		do, _ := remedyOf(err)
		return upload.Moved{}, fmt.Errorf("%w; %s", err, do)
	}
	b, err := fileBucket(cfg)
	if err != nil {
		return upload.Moved{}, err
	}
	return upload.Move(ctx, filesDir(cfg), b, keep)
}
