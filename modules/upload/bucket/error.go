package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"syscall"

	"github.com/minio/minio-go/v7"
)

// ErrAway is what all errors are that say that the object store does nothing for us now.
var ErrAway = errors.New("the object store is away")

// An Error says what an object store has answered, or why there is no answer, in our words: it names neither the bucket
// nor anything in it.
type Error struct {
	What string
	Do   string // for an administrator

	refused bool // it answers, and will not do it as long as nobody changes something
	broken  bool // on the way: it may go well the next time
	missing bool
	damaged bool
}

// Error says what is wrong.
func (e *Error) Error() string { return e.What }

// Refused says that it is no use to wait: somebody has to correct something.
func (e *Error) Refused() bool { return e.refused }

// Remedy is what an administrator can do.
func (e *Error) Remedy() string { return e.Do }

// Is implements what errors.Is asks for.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.missing
	case ErrAway:
		return !e.missing && !e.damaged
	}
	return false
}

// interrupted says whether it is worth asking again at once.
func interrupted(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.broken
}

// What is done with a bucket, for those who may not.
const (
	toWrite  = "put files into it (s3:PutObject)"
	toRead   = "read the files in it (s3:GetObject)"
	toRemove = "remove files from it (s3:DeleteObject)"
	toList   = "list what is in it (s3:ListBucket)"
)

const (
	comeBack = "bring it back, or the way to it; what modules.upload.s3.endpoint says is where it is looked for"
	keysDo   = "correct modules.upload.s3.access_key and secret_key (or secret_key_file)"
)

var (
	silent = &Error{What: "the object store does not answer in time", Do: comeBack, broken: true}
	cut    = &Error{What: "the connection to the object store broke", Do: comeBack, broken: true}
	// strange is what no object store says.
	strange = &Error{What: "the object store answers in a way that is not that of S3", refused: true,
		Do: "look at what answers at modules.upload.s3.endpoint"}
)

// known are errors by their codes in S3.
var known = map[string]*Error{
	"NoSuchKey": {What: "there is no such object", missing: true},
	"NoSuchBucket": {What: "the object store has no such bucket", refused: true,
		Do: "make the bucket, or correct modules.upload.s3.bucket"},
	"InvalidBucketName": {What: "the object store takes this for no name of a bucket", refused: true,
		Do: "correct modules.upload.s3.bucket"},
	"InvalidAccessKeyId":    {What: "the object store does not know the access key", Do: keysDo, refused: true},
	"SignatureDoesNotMatch": {What: "the secret key is not that of the access key", Do: keysDo, refused: true},
	"RequestTimeTooSkewed": {What: "the clocks of the object store and of this machine differ", refused: true,
		Do: "have the clock of both machines kept right (NTP)"},
	"AuthorizationHeaderMalformed": wrongRegion,
	"InvalidRegion":                wrongRegion,
	"PermanentRedirect":            wrongRegion,
	"XAmzContentSHA256Mismatch": {What: "the object store got other bytes than were sent", broken: true,
		Do: "look at what is between this server and the object store"},
	"InvalidRange": {What: "the object is empty", damaged: true},
	"QuotaExceeded": {What: "the object store has no more room for us", refused: true,
		Do: "have it give more room, or keep less: modules.upload.keep"},
	"XMinioStorageFull": {What: "the object store is full", Do: "make room there, or keep less: modules.upload.keep"},
}

var wrongRegion = &Error{What: "the bucket is in another region", refused: true,
	Do: "correct modules.upload.s3.region, and the endpoint if it has the region in its name"}

// plainCode is a code that can be shown.
var plainCode = regexp.MustCompile(`^[A-Za-z0-9.]{1,64}$`)

// explain puts an error of the client into our words; ctx is that of whoever asked.
func explain(ctx context.Context, what string, err error) error {
	var ours *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours):
		return ours
	case ctx.Err() != nil:
		return ctx.Err()
	}
	var answer minio.ErrorResponse
	if errors.As(err, &answer) {
		return answered(what, answer)
	}
	var path *fs.PathError
	if errors.As(err, &path) { // of the local file
		return err
	}
	return unanswered(err)
}

// answered is an error that the store has sent.
func answered(what string, answer minio.ErrorResponse) error {
	if e := known[answer.Code]; e != nil {
		return e
	}
	code := answer.Code
	if !plainCode.MatchString(code) {
		code = "no code"
	}
	e := &Error{What: fmt.Sprintf("the object store answers %d, %s", answer.StatusCode, code), Do: comeBack}
	switch s := answer.StatusCode; {
	case s == http.StatusForbidden, s == http.StatusUnauthorized:
		e.What = "the access key may not " + what
		e.Do, e.refused = "allow it in the policy of the bucket or of the key, or correct the keys and the bucket of "+
			"modules.upload.s3", true
	case s >= 300 && s < 400:
		return wrongRegion
	case s >= 400 && s < 500 && s != http.StatusRequestTimeout && s != http.StatusTooManyRequests && s != 499:
		e.Do, e.refused = "look into the log of the object store, and at modules.upload.s3", true
	}
	return e
}

// unanswered is why there is no answer.
func unanswered(err error) error {
	var (
		timeout interface{ Timeout() bool }
		name    *net.DNSError
		number  syscall.Errno
		record  tls.RecordHeaderError
		request *url.Error
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	const noTLS = "http: server gave HTTP response to HTTPS client" // net/http has no name for it
	const caDo = "have it show a certificate for its name that has not expired; modules.upload.s3.ca_file is for an " +
		"authority of your own"
	switch {
	case errors.As(err, &name):
		return &Error{What: "the name of the object store is not found in the DNS",
			Do: "correct modules.upload.s3.endpoint, or set style: path if the bucket should not be part of the name"}
	case errors.As(err, &unknown):
		return &Error{What: "nobody who is known signed the certificate of the object store", Do: caDo, refused: true}
	case errors.As(err, &host):
		return &Error{What: "the certificate of the object store is for another name", Do: caDo, refused: true}
	case errors.As(err, &invalid):
		return &Error{What: "the certificate of the object store is not valid", Do: caDo, refused: true}
	case errors.As(err, &record), errors.As(err, &request) && request.Err.Error() == noTLS:
		return &Error{What: "the object store does not speak TLS there", refused: true,
			Do: "correct modules.upload.s3.endpoint: http:// or the port of TLS"}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return silent
	case errors.As(err, &number):
		return &Error{What: "the object store is not reached: " + number.Error(), Do: comeBack, broken: true}
	}
	return cut
}
